"""Moving from WFM to WFM and being reset, in any order: no enrolment is lost, and none is asked for twice."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Final

import pytest
import trustme
from hypothesis import example, given, settings
from hypothesis import strategies as st

from margod import config
from margod.engine.messages import RecordIntent
from margod.model.errors import MargodError, StateNotWritable
from margod.model.reasons import NOT_RESET, STATE_NOT_WRITABLE
from margod.protocols import ENROLMENT
from margod.shell import archive, moving
from margod.shell.ground import Ground
from margod.shell.records import WFM
from margod.shell.situation import Situation
from margod.vault import ledger
from tests.shell.test_archive import apply, enrolment

NOW: Final = 1.8e9
CAS: Final = [trustme.CA(), trustme.CA()]
PLACES: Final = ["https://a.example", "https://b.example", "https://c.example"]


class Device:
    """The ground of one device, and what a model says it has to be. Places 0 and 1 have one root CA, 2 another."""

    def __init__(self, directory: Path, *, per_wfm: bool) -> None:
        self.directory, self.per_wfm = directory, per_wfm
        for number, ca in enumerate(CAS):
            (directory / f"{number}.pem").write_bytes(ca.cert_pem.bytes())
        self.there: dict[int, tuple[str, str]] = {}
        """Client id and certificate at each place where the device is enrolled, now or when it left."""
        self.ids = 0
        self.place = 0
        self.ground = Ground(self.configuration(), lambda: NOW)
        self.situation = self.look()

    def configuration(self) -> config.Config:
        """Return the configuration of the present place."""
        overrides = {
            "state.directory": str(self.directory / "state"),
            "wfm.url": PLACES[self.place],
            "trust.ca_file": str(self.directory / f"{self.place // 2}.pem"),
        }
        file = self.directory / "m.yaml"
        file.write_text(f"identity: {{per_wfm: {str(self.per_wfm).lower()}}}\n")
        return config.load(config.Sources(file), {}, overrides).config

    def look(self) -> Situation:
        """Look, and compare what is found with the model."""
        self.ground.config = self.configuration()
        before = self.generations()
        situation = self.situation = self.ground.examine()
        assert len(self.generations() - before) <= 1, "one commit: a power cut finds the old or the new"
        assert situation.facts.obstacle is None
        assert situation.identity is not None
        has = None if situation.client_id is None else (situation.client_id, situation.identity.fingerprint)
        assert has == self.there.get(self.place)
        assert situation.facts.enrolled is (has is not None), "ENROL is sent only where nothing is archived"
        return situation

    def generations(self) -> set[str]:
        """Return the names of the generations on disk."""
        return {path.name for path in (self.directory / "state").glob("gen-*")}

    def enrol(self) -> None:
        """Do what follows an accepted request, if one would be sent: by a former id, or for a new one."""
        if self.situation.client_id is not None or self.situation.identity is None:
            return
        if (claim := self.situation.former) is not None:
            self.ground.claim(claim.records)
            client_id = json.loads(claim.records[ENROLMENT])["clientId"]
            fingerprint = claim.identity.fingerprint
        else:
            self.ids += 1
            client_id, fingerprint = f"client-{self.ids}", self.situation.identity.fingerprint
            records = {ENROLMENT: json.dumps({"clientId": client_id}).encode()}
            self.ground.append(ledger.accepted(records, NOW))
        self.there[self.place] = (client_id, fingerprint)

    def reset(self, *, new_identity: bool) -> None:
        """Reset; copies of the same enrolment under another name go with it."""
        self.ground.reset(new_identity=new_identity)
        ended = self.there.pop(self.place, None)
        self.there = {place: has for place, has in self.there.items() if has != ended}

    def restart(self) -> None:
        """End the process and begin another."""
        self.ground.close()
        self.ground = Ground(self.configuration(), lambda: NOW)


@settings(max_examples=30, deadline=None)
@given(
    st.booleans(),
    st.lists(
        st.one_of(
            st.tuples(st.just("go"), st.integers(0, 2)),
            st.tuples(st.sampled_from(["enrol", "reset", "renew", "restart"]), st.just(0)),
        ),
        max_size=14,
    ),
)
@example(False, [("enrol", 0), ("go", 1), ("enrol", 0), ("reset", 0), ("go", 0)])
@example(True, [("enrol", 0), ("go", 1), ("enrol", 0), ("go", 0), ("go", 1), ("renew", 0), ("go", 0), ("go", 2)])
def test_any_sequence(per_wfm: bool, steps: list[tuple[str, int]]) -> None:
    """Wherever the device comes back to, it is who it was there; elsewhere, or after a reset, it starts anew."""
    with tempfile.TemporaryDirectory() as directory:
        device = Device(Path(directory), per_wfm=per_wfm)
        for what, place in steps:
            if what == "go":
                device.place = place
            elif what == "enrol":
                device.enrol()
            elif what == "restart":
                device.restart()
            else:
                before = device.situation.facts.binding
                enrolled = device.place in device.there
                device.reset(new_identity=what == "renew")
                assert device.look().facts.binding != before or not enrolled
            device.look()
        device.ground.close()


def test_who_may_have_moved(tmp_path: Path) -> None:
    """Only a WFM under the same root CA is asked whether it knows the former id."""
    device = Device(tmp_path, per_wfm=True)
    device.enrol()
    device.look()
    device.place = 2
    found = device.look()
    assert (found.facts.former, found.former) == (False, None)
    device.place = 1
    found = device.look()
    assert found.facts.former
    assert found.former is not None
    assert found.identity is not None
    assert found.former.identity.fingerprint == device.there[0][1] != found.identity.fingerprint
    device.place = 0
    assert not device.look().facts.former
    device.ground.close()


@pytest.mark.parametrize("lost", [True, False])
def test_an_answer_that_may_have_been_lost_is_remembered(tmp_path: Path, lost: bool) -> None:
    """What makes a later 409 harmless survives an excursion to another WFM."""
    device = Device(tmp_path, per_wfm=False)
    history = device.ground.history()
    if lost:
        device.ground.append(ledger.intent(RecordIntent("certificate-der", ("certificate-der",), 1, 0), "k", NOW))
    device.place = 2
    assert device.look().history == history
    device.place = 0
    assert device.look().history.unanswered is lost
    device.ground.close()


def test_a_full_disk_moves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the move cannot be stored nothing is sent to the other WFM, least of all the id of this one."""
    device = Device(tmp_path, per_wfm=False)
    device.enrol()
    device.look()
    device.place = 2
    device.ground.config = device.configuration()

    def full(*_: object) -> None:
        raise StateNotWritable(STATE_NOT_WRITABLE)

    with monkeypatch.context() as patch:
        patch.setattr("margod.vault.vault.commit_directory", full)
        assert (obstacle := device.ground.examine().facts.obstacle) is not None
        assert obstacle.reason is STATE_NOT_WRITABLE
        device.place = 0
        assert device.look().facts.enrolled
    device.place = 2
    device.look()
    device.enrol()
    device.look()
    device.place = 0
    device.ground.config = device.configuration()
    with monkeypatch.context() as patch:
        patch.setattr("margod.vault.vault.commit_directory", full)
        assert (obstacle := device.ground.examine().facts.obstacle) is not None, "the archived one is not stored yet"
        assert obstacle.reason is STATE_NOT_WRITABLE
    device.look()
    device.ground.close()


def test_a_vault_that_cannot_be_read_is_not_reset_by_accident(tmp_path: Path) -> None:
    """A damaged state directory is begun anew only by the word that says that the key is another one."""
    device = Device(tmp_path, per_wfm=False)
    device.enrol()
    device.ground.close()
    for path in (tmp_path / "state").glob("gen-*/manifest.json"):
        path.write_bytes(b"")
    ground = Ground(device.configuration(), lambda: NOW)
    assert ground.examine().facts.obstacle is not None
    with pytest.raises(MargodError) as refused:
        ground.reset(new_identity=False)
    assert refused.value.reason is NOT_RESET
    ground.reset(new_identity=True)
    assert ground.examine().facts.obstacle is None
    ground.close()


def test_a_discovered_wfm_whose_url_was_written_down() -> None:
    """Its archived enrolment is found by the URL too; by another URL, or in another generation, it is not."""
    record = {"url": "https://a.test/x", "urls": ["https://a.test/x"], "instance": "A", "path": "/x", "addresses": []}
    left = {**enrolment("https://a"), WFM: json.dumps(record).encode()}
    away = apply(left, move(left, "https://b", url="https://b"))
    assert ENROLMENT not in away
    back = apply(away, move(away, "https://a.test/x", url="https://a.test/x"))
    assert back == left
    assert ENROLMENT not in apply(away, move(away, "https://c", url="https://c"))
    other = apply(away, move(away, "token https://a.test/x", url="https://a.test/x"))
    assert ENROLMENT not in other
    assert archive.find(other, "discovered\nA\n/x") is not None


def test_the_enrolment_before_the_mistyped_url_may_still_hold() -> None:
    """Several moves without an enrolment in between keep the last one in mind."""
    records: dict[str, bytes] = enrolment("https://a")
    for place in ("https://b", "https://c"):
        records = apply(records, move(records, place, url=place))
        records[WFM] = moving.outlived(records[WFM], json.dumps({"url": place}).encode())
        former = moving.claim(records)
        assert former is not None
        assert former.place == "https://a"
    assert moving.claim(enrolment("https://d")) is None


def move(records: dict[str, bytes], place: str, *, url: str) -> archive.Changes:
    """Move with the same key, at a fixed time."""
    return moving.move(records, place, url=url, begun=ENROLMENT in records, per_wfm=False, at=NOW)
