"""The candidate's vault beside the one in force: promoted in one commit, whatever comes in between."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import attrs
import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from margod import config, trust
from margod import identity as identities
from margod.protocols import ENROLMENT
from margod.protocols.signed.generation import REPORT
from margod.shell import archive, renewal
from margod.shell.actions import Actions
from margod.shell.candidate import NEXT, About, NotRotated, Succession, wish
from margod.shell.disk import Disk as RealDisk
from margod.shell.ground import Ground
from margod.shell.rotation import moment
from margod.vault import ledger
from tests.faults.campaign import room
from tests.faults.recording import TREE, Disk, Killed, lay_out, remains
from tests.vault.conftest import scratch

__all__ = ["scratch"]

NOW = 1.8e9
LAID = 3
"""Trees that are laid out after each operation."""


def ground_in(state: Path, yaml: str = "") -> Ground:
    """Return the ground of a state directory, for a WFM that is never asked."""
    return Ground(config_of(state, "wfm.example", yaml), lambda: NOW)


def config_of(state: Path, host: str, yaml: str = "") -> config.Config:
    """Return a configuration for the WFM on this host, with `yaml` added."""
    loaded = loaded_from(
        f"wfm: {{url: https://{host}}}\ndevice: {{serial_number: SN-1}}\ntrust: {{system: true}}\n{yaml}"
    )
    return attrs.evolve(loaded, state=attrs.evolve(loaded.state, directory=state))


@cache
def loaded_from(yaml: str) -> config.Config:
    """Return the configuration that is written in `yaml`."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "m.yaml"
        file.write_text(yaml)
        return config.load(config.Sources(file), {}, {}).config


def accept(ground: Ground, client_id: str) -> None:
    """Do what is done when the WFM accepts a device and then its report."""
    ground.append(ledger.accepted({ENROLMENT: json.dumps({"clientId": client_id}).encode()}, NOW))
    ground.keep({REPORT: json.dumps({"digest": "d", "form": "device"}).encode()})


def enrolled(state: Path) -> Ground:
    """Return the ground of a device that is enrolled as client-1."""
    ground = ground_in(state)
    assert ground.examine().identity is not None
    accept(ground, "client-1")
    return ground


def who(ground: Ground) -> tuple[str, str | None]:
    """Return fingerprint and client id of what is in force, the key checked against the certificate."""
    assert ground.vault is not None
    return identities.load(ground.vault.records).fingerprint, ground.generation.client_id(ground.vault.records)


def formers(ground: Ground) -> list[tuple[str, str | None]]:
    """Return the same of each former enrolment."""
    assert ground.vault is not None
    return [
        (identities.load(former.records).fingerprint, ground.generation.client_id(former.records))
        for former in archive.formers(ground.vault.records)
    ]


def test_promoted(tmp_path: Path) -> None:
    """Nothing of the old is left in force, all of it is in the archive, and the next look changes nothing."""
    ground = enrolled(tmp_path / "state")
    old = who(ground)
    succession = Succession(ground)
    candidate = succession.begin(archive.ROTATED, 0.0)
    assert candidate.examine().facts.obstacle is None
    succession.settle()
    assert (who(ground), succession.candidate) == (old, candidate)
    accept(candidate, "client-2")
    succession.settle()
    assert who(ground) == (candidate.fingerprint, "client-2")
    assert (formers(ground), succession.candidate) == ([old], None)
    assert ground.vault is not None
    bound, records = ground.vault.binding, dict(ground.vault.records)
    situation = ground.examine()
    assert (situation.client_id, situation.facts.reported) == ("client-2", "d")
    assert (ground.vault.binding, ground.vault.records[REPORT]) == (bound, records[REPORT])
    assert not list((tmp_path / "state").glob("*next*"))


def test_both_generations_have_it(tmp_path: Path) -> None:
    """The newest generation may be damaged right after a promotion: the one before it has the new identity too."""
    ground = enrolled(tmp_path / "state")
    succession = Succession(ground)
    new = succession.begin(archive.ROTATED, 0.0)
    accept(new, "client-2")
    succession.settle()
    ground.close()
    newest = max((tmp_path / "state").glob("gen-*"))
    (newest / "identity.key").write_bytes(b"")
    again = ground_in(tmp_path / "state")
    again.open()
    assert who(again) == (new.fingerprint, "client-2")


def test_the_same_key_for_a_wfm_that_forgot(tmp_path: Path) -> None:
    """The certificate is another one over the same key, its moment is kept over a restart, a conflict is still open."""
    ground = enrolled(tmp_path / "state")
    old = identities.load(ground.vault.records if ground.vault else {})
    succession = Succession(ground)
    candidate = succession.begin(archive.FORGOTTEN, 1_000.0)
    assert candidate.vault is not None
    fresh = identities.load(candidate.vault.records)
    assert (fresh.signer.key_id, fresh.fingerprint == old.fingerprint) == (old.signer.key_id, False)
    assert not candidate.history().reissued
    candidate.close()
    ground.close()
    again = ground_in(tmp_path / "state")
    resumed = Succession(again)
    resumed.settle()
    assert resumed.candidate is not None
    assert resumed.candidate.about == About("forgotten", again.vault.binding if again.vault else "", NOW, NOW + 1_000.0)


def test_who_it_is_was_settled_at_the_beginning(tmp_path: Path) -> None:
    """Files that are configured, or replaced, while a candidate waits do not change who it is: `rotate` takes them."""
    ground = enrolled(tmp_path / "state")
    candidate = Succession(ground).begin(archive.FORGOTTEN, 0.0)
    was = candidate.fingerprint
    made = identities.mint("gateway", None, 86_400.0, NOW)
    for name in ("identity.key", "identity.crt"):
        (tmp_path / name).write_bytes(made[name])
        (tmp_path / name).chmod(0o600)
    key, certificate = tmp_path / "identity.key", tmp_path / "identity.crt"
    given = f"identity: {{key_file: {key}, certificate_file: {certificate}}}"
    candidate.config = config_of(tmp_path / "state", "wfm.example", given)
    situation = candidate.examine()
    assert candidate.fingerprint == was
    assert [warned.reason.code for warned in situation.warnings] == ["identity-files-ignored"]
    key.unlink()
    assert candidate.examine().facts.obstacle is None
    assert candidate.fingerprint == was


def test_a_root_ca_file_that_cannot_be_read_stops_no_rotation(tmp_path: Path) -> None:
    """The enrolment in force goes on with the root that it has, and so does the one that follows it, with the word."""
    file = tmp_path / "ca.pem"
    file.write_bytes(trustme.CA().cert_pem.bytes())
    ground = ground_in(tmp_path / "state")
    ground.config = attrs.evolve(ground.config, trust=attrs.evolve(ground.config.trust, system=False, ca_file=file))
    assert ground.examine().facts.obstacle is None
    accept(ground, "client-1")
    candidate = Succession(ground).begin(archive.ROTATED, 0.0)
    there = candidate.examine()
    file.unlink()
    for each in (ground, candidate):
        situation = each.examine()
        assert (situation.facts.obstacle, situation.anchors) == (None, there.anchors)
        assert [warned.reason.code for warned in situation.warnings] == ["ca-file-unreadable"]


def test_a_word_about_another_enrolment(tmp_path: Path) -> None:
    """What a WFM said about an enrolment that was replaced meanwhile begins nothing."""
    ground = enrolled(tmp_path / "state")
    with pytest.raises(NotRotated, match="another enrolment"):
        Succession(ground).begin(archive.FORGOTTEN, 0.0, "of another")
    assert not (tmp_path / "state" / NEXT).exists()


def test_ten_thousand_devices_do_not_ask_at_once() -> None:
    """Forgotten together, they come back over a day: no minute sees more than 0.3 % of them."""
    minutes = Counter(int(moment(random.Random(number)) // 60) for number in range(10_000))
    assert (min(minutes) >= 0, max(minutes) < 1_440, max(minutes.values()) <= 30) == (True, True, True)


def test_files_cannot_be_issued_anew(tmp_path: Path) -> None:
    """A certificate that the operator gave stays the only one: nothing is begun and nothing is left behind."""
    made = identities.mint("gateway", None, 86_400.0, NOW)
    for name in ("identity.key", "identity.crt"):
        (tmp_path / name).write_bytes(made[name])
        (tmp_path / name).chmod(0o600)
    key, certificate = tmp_path / "identity.key", tmp_path / "identity.crt"
    ground = ground_in(tmp_path / "state", f"identity: {{key_file: {key}, certificate_file: {certificate}}}")
    ground.examine()
    accept(ground, "client-1")
    with pytest.raises(NotRotated, match="given as a file"):
        Succession(ground).begin(archive.FORGOTTEN, 0.0)
    assert not (tmp_path / "state" / NEXT).exists()


def test_another_enrolment_came_between(tmp_path: Path) -> None:
    """A candidate for an enrolment that is no longer in force is removed: it was to replace that one alone."""
    ground = enrolled(tmp_path / "state")
    succession = Succession(ground)
    accept(succession.begin(archive.ROTATED, 0.0), "client-2")
    assert ground.vault is not None
    ground.vault.commit({}, "another")
    succession.settle()
    assert (who(ground)[1], succession.candidate) == ("client-1", None)


def test_it_goes_nowhere_by_itself(tmp_path: Path) -> None:
    """Another WFM in the configuration stops the candidate at once; it ends when the one in force has gone there."""
    ground = enrolled(tmp_path / "state")
    succession = Succession(ground)
    candidate = succession.begin(archive.ROTATED, 0.0)
    assert candidate.vault is not None
    bound = candidate.vault.binding
    ground.config = candidate.config = config_of(tmp_path / "state", "other.example")
    obstacle = candidate.examine().facts.obstacle
    assert obstacle is not None
    assert (obstacle.reason.code, candidate.vault.binding) == ("wfm-changed", bound)
    ground.examine()
    succession.settle(promotes=False)
    assert (succession.candidate, (tmp_path / "state" / NEXT).exists()) == (None, False)
    assert ground.generation.client_id(ground.vault.records if ground.vault else {}) is None


@pytest.mark.parametrize("wipe", [False, True])
def test_a_reset_ends_it(tmp_path: Path, wipe: bool) -> None:
    """What is begun for an enrolment goes with it, and does not come back by a late look of its own."""
    ground = enrolled(tmp_path / "state")
    succession = Succession(ground)
    candidate = succession.begin(archive.ROTATED, 0.0)
    accept(candidate, "client-2")
    ground.wipe() if wipe else ground.reset(new_identity=False)
    succession.settle()
    assert succession.candidate is None
    assert candidate.examine().facts.obstacle is not None
    assert not list((tmp_path / "state").glob("*next*"))
    assert ground.generation.client_id(ground.vault.records if ground.vault else {}) is None


def test_nothing_of_a_request_under_way_meets_a_promotion(tmp_path: Path) -> None:
    """While a request of the one in force may be under way nothing is promoted."""
    ground = enrolled(tmp_path / "state")
    succession = Succession(ground)
    accept(succession.begin(archive.ROTATED, 0.0), "client-2")
    succession.settle(promotes=False)
    assert who(ground)[1] == "client-1"
    succession.settle()
    assert who(ground)[1] == "client-2"


def test_damage_is_evidence_of_nothing(tmp_path: Path) -> None:
    """A candidate that cannot be read stays for a person; where the one in force is lost, an accepted one saves it."""
    ground = enrolled(tmp_path / "state")
    succession = Succession(ground)
    candidate = succession.begin(archive.ROTATED, 0.0)
    candidate.close()
    ground.close()
    (max((tmp_path / "state" / NEXT).glob("gen-*")) / "identity.key").write_bytes(b"")
    again = ground_in(tmp_path / "state")
    kept = Succession(again)
    kept.settle()
    assert kept.candidate is not None
    assert kept.candidate.vault is not None
    assert kept.candidate.vault.damaged
    assert kept.candidate.examine().facts.obstacle is not None
    assert who(again)[1] == "client-1"
    assert kept.drop()
    saved = kept.begin(archive.ROTATED, 0.0)
    accept(saved, "client-2")
    saved.close()
    again.close()
    for generation in (tmp_path / "state").glob("gen-*"):
        (generation / "identity.key").write_bytes(b"")
    last = ground_in(tmp_path / "state")
    Succession(last).settle()
    assert who(last) == (saved.fingerprint, "client-2")


class Device:
    """A state directory on a recorded disk, with what its owner knows of who it may be."""

    def __init__(self, state: Path, disk: Disk) -> None:
        self.state, self.disk = state, disk
        self.known: dict[str, str] = {}
        self.start()

    def start(self) -> None:
        """Start the process (again)."""
        self.ground = ground_in(self.state)
        self.succession = Succession(self.ground)
        self.succession.settle()

    def step(self, what: str, client_id: str) -> None:
        """Let one thing happen."""
        candidate = self.succession.candidate
        if what == "begin" and candidate is None:
            self.succession.begin(archive.ROTATED, 0.0)
        elif what == "accept" and candidate is not None and not candidate.accepted:
            accept(candidate, self.known.setdefault(candidate.fingerprint or "", client_id))
        elif what == "drop":
            self.succession.drop()
        elif what == "settle":
            self.succession.settle()


STEPS = st.lists(
    st.tuples(st.sampled_from(["begin", "accept", "settle", "drop"]), st.integers(0, 40)), min_size=1, max_size=8
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_killed_anywhere(steps: list[tuple[str, int]]) -> None:
    """Whatever happens in whatever order, and the process killed at any operation: one whole enrolment is in force.

    Its client id is that of its certificate, every one that went before is in the archive, and nobody's vault is left.
    """
    with device() as (one, disk):
        former = [who(one.ground)]
        for number, (what, kill) in enumerate(steps):
            disk.kill_at = len(disk.operations) + kill if kill else 0
            before = who(one.ground)
            with contextlib.suppress(Killed):
                one.step(what, f"client-{number + 2}")
            killed, disk.kill_at = disk.kill_at, 0
            if killed and len(disk.operations) + 1 >= killed:
                disk.close_all()
                one.start()
            now = who(one.ground)
            assert now[1] == one.known[now[0]]
            if now != before:
                assert what in ("settle", "accept"), what
                former.append(now)
            assert set(formers(one.ground)) == set(former[:-1])
        one.succession.settle()
        one.succession.drop()
        assert not list(one.state.glob("*next*"))


@contextlib.contextmanager
def device() -> Iterator[tuple[Device, Disk]]:
    """Make an enrolled device in a directory of its own, in memory: its syncs are recorded, not waited for."""
    with room() as root, pytest.MonkeyPatch.context() as patch:
        disk = Disk(root)
        disk.install(patch)
        enrolled(root / "state").close()
        one = Device(root / "state", disk)
        fingerprint, client_id = who(one.ground)
        one.known[fingerprint] = str(client_id)
        yield one, disk


def test_power_cut_anywhere(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The power fails after any operation of a rotation, with anything unsynced lost: one whole enrolment is in force.

    From the acceptance on it is promoted at the next start; before that nothing is, and nothing is left half removed.
    """
    with device() as (one, disk):
        old, began = who(one.ground), len(disk.operations)
        one.step("begin", "")
        one.step("accept", "client-2")
        accepted = len(disk.operations)
        one.step("settle", "")
        new, operations, known = who(one.ground), list(disk.operations), dict(one.known)
        disk.close_all()
    assert (new[0] != old[0], new[1]) == (True, "client-2")
    monkeypatch.setattr(os, "fsync", lambda _fd: None)  # what is started on is looked at, and lost for nobody
    chance, seen = random.Random(3), set()
    laid: set[tuple[bool, frozenset[tuple[str, bytes | None]]]] = set()
    for at in range(began, len(operations) + 1):
        for tree in remains(operations[:at], "", chance, LAID):
            if (case := (at >= accepted, frozenset(tree.items()))) not in laid:
                laid.add(case)
                seen.add(came_back(scratch / str(len(laid)), tree, old, known, promoted=at >= accepted))
    assert seen == {"client-1", "client-2"}


def came_back(root: Path, tree: TREE, old: tuple[str, str | None], known: dict[str, str], *, promoted: bool) -> str:
    """Start on what a power cut left, check it, and return the client id in force."""
    lay_out(tree, root)
    ground = ground_in(root / "state")
    succession = Succession(ground)
    succession.settle()
    fingerprint, client_id = who(ground)
    assert client_id == known[fingerprint]
    assert formers(ground) == ([old] if client_id == "client-2" else [])
    assert client_id == "client-2" or not promoted
    succession.settle()
    assert who(ground) == (fingerprint, client_id)
    assert (succession.candidate is not None) == (root / "state" / NEXT).exists()
    if succession.candidate is not None:
        succession.candidate.close()
    ground.close()
    shutil.rmtree(root)
    return str(client_id)


@pytest.mark.parametrize(
    ("about", "said", "wanted"),
    [
        (None, {"forgotten": True}, "begin"),
        (None, {"forgotten": True, "reonboards": False}, ""),
        (None, {"revoked": True}, ""),
        (None, {"accepted": True}, ""),
        ("forgotten", {"forgotten": True}, ""),
        ("forgotten", {}, ""),
        ("forgotten", {"accepted": True}, "drop"),
        ("forgotten", {"revoked": True}, "drop"),
        ("forgotten", {"forgotten": True, "reonboards": False}, "drop"),
        ("rotated", {"forgotten": True}, ""),
        ("rotated", {"accepted": True}, ""),
        ("rotated", {"revoked": True}, ""),
    ],
)
def test_what_the_wfm_says(about: str | None, said: dict[str, bool], wanted: str) -> None:
    """Only a WFM that has forgotten the device has it asked anew, and only until it remembers; a person's is his."""
    known = About(about, "b", NOW, NOW) if about else None
    words = {"reonboards": True, "forgotten": False, "revoked": False, "accepted": False} | said
    assert wish(known, **words) == wanted


def test_a_candidate_leaves_no_key_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promoted or given up, no file of it is unlinked while a key can be read in it; nor is one of the enrolment's."""
    readable, real = [], os.unlink

    def unlink(path: Path) -> None:
        if b"PRIVATE KEY" in path.read_bytes():
            readable.append(str(path))
        real(path)

    monkeypatch.setattr(os, "unlink", unlink)
    ground = enrolled(tmp_path / "state")
    succession = Succession(ground)
    succession.begin(archive.ROTATED, 0.0)
    assert succession.drop()
    accept(succession.begin(archive.ROTATED, 0.0), "client-2")
    succession.settle()
    (tmp_path / "state" / NEXT).mkdir(mode=0o700)
    (tmp_path / "state" / f".{NEXT}.old").mkdir()
    (tmp_path / "state" / f".{NEXT}.old" / "key").write_bytes(b"PRIVATE KEY")
    succession.settle()
    assert not list((tmp_path / "state").glob("*next*"))
    assert readable == []
    ground.close()


def test_who_leaves_does_not_come_back_by_himself(tmp_path: Path) -> None:
    """While the WFM may have unregistered the device nothing is begun because it has forgotten, nor promoted then.

    A person may still rotate, and what takes the place of the enrolment is not on its way out; a reset ends it too.
    """
    ground = enrolled(tmp_path / "state")
    succession = Succession(ground)
    accept(succession.begin(archive.FORGOTTEN, 0.0), "client-2")
    assert ground.vault is not None
    bound = ground.vault.binding
    assert [ground.leave(), ground.leave()] == [True, False]
    assert ground.vault.binding == bound
    situation = ground.examine()
    assert (situation.leaving, [warned.reason.code for warned in situation.warnings]) == (True, ["leaving"])
    succession.settle()
    assert (succession.candidate, who(ground)[1]) == (None, "client-1")
    with pytest.raises(NotRotated, match="unregistered"):
        succession.begin(archive.FORGOTTEN, 0.0)
    ground.stay()
    assert not ground.examine().leaving
    ground.leave()
    accept(succession.begin(archive.ROTATED, 0.0), "client-3")
    succession.settle()
    assert (who(ground)[1], ground.examine().leaving) == ("client-3", False)
    ground.leave()
    ground.reset(new_identity=False)
    assert not ground.examine().leaving
    ground.close()


async def test_a_candidate_asks_the_one_in_force_to_adopt(tmp_path: Path) -> None:
    """Its anchors are those of the enrolment in force: by itself it adopts nothing, and never takes it for done."""
    ground = enrolled(tmp_path / "state")
    candidate = Succession(ground).begin(archive.ROTATED, 0.0)
    situation = candidate.examine()
    (root,) = trust.decode_certificates(trustme.CA().cert_pem.bytes(), 0.0)
    staged = renewal.Staged(root, NOW, 1e9, renewal.Moment("boot", 0.0, NOW))
    disk, asked = RealDisk(), []
    actions = Actions(candidate, disk)
    actions.met_ripe = lambda: asked.append("asked")
    assert not await actions.adopt(situation)
    assert asked == []
    assert not await actions.adopt(replace(situation, staged=(staged,)))
    assert asked == ["asked"]
    assert disk.close(5.0)
