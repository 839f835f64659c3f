"""Root CAs that another one has taken the place of: what remembers them, a disk that fails, who takes one back."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from margod import config, trust
from margod.model import reasons
from margod.model.errors import StateNotWritable
from margod.model.outcome import Kind, Outcome
from margod.model.state import State
from margod.protocols import CA_ANSWER
from margod.shell import archive, first_contact, renewal, retired
from margod.shell.anchoring import FIRST_USE, record, tls_settings
from margod.shell.candidate import Succession
from margod.shell.ground import Ground
from margod.shell.records import ANCHORS, RETIRED, WFM, json_object
from margod.shell.retired import FILE, LIMIT, Roots
from margod.store import files
from margod.vault.generation import _sum
from tests.faults.damage import KINDS
from tests.shell.test_candidate import accept as enrol
from tests.shell.test_renewal import NEW, NOW, OLD, OTHER, START, known, sized, staged

WFM_RECORD = record({"url": "https://wfm.example"}, "signed", "accepted")
ASK = {"trust.first_use": "ask"}


def ground_in(state: Path, **settings: str) -> Ground:
    """Return the ground of a device with these settings, dots in their names."""
    trusted = {name.removeprefix("trust."): value for name, value in settings.items() if name.startswith("trust.")}
    file = state.parent / "m.yaml"
    file.write_text("".join(["trust:\n", *(f"  {name}: {value}\n" for name, value in trusted.items())]))
    overrides = {"state.directory": str(state), "wfm.url": settings.get("wfm.url", "https://wfm.example")}
    return Ground(config.load(config.Sources(file), {}, overrides).config, lambda: NOW)


def accepted(ground: Ground, *roots: trust.Anchor) -> None:
    """A person accepts these, in order; each takes the place of the one before."""
    for root in roots:
        ground.accept(ground.examine(), (root,), root.fingerprint)


def enrolled(state: Path, *roots: trust.Anchor, **trusted: str) -> Ground:
    """Return the ground of an enrolled device whose root CAs were accepted one after the other."""
    ground = ground_in(state, **(trusted or ASK))
    ground.examine()
    accepted(ground, *roots)
    enrol(ground, "client-1")
    return ground


def lines(state: Path) -> list[str]:
    """The fingerprints in the file that need no generation to count."""
    return list(retired.read_file((state / FILE).read_bytes(), 0)[0]) if (state / FILE).exists() else []


def restored(state: Path, copy: Path, *, with_list: bool) -> None:
    """Put the generations of `copy` back, and with `with_list` keep the file of the retired roots as it is now."""
    now = (state / FILE).read_bytes() if with_list else None
    shutil.rmtree(state)
    shutil.copytree(copy, state)
    if now is not None:
        (state / FILE).write_bytes(now)


def test_another_root_retires_the_one_before(tmp_path: Path) -> None:
    """Both know it, a restart too; the first root, a moved WFM and the same root again retire nothing."""
    state = tmp_path / "state"
    ground = enrolled(state, OLD, OLD)
    assert not (state / FILE).exists(), "nothing is written in ordinary life"
    accepted(ground, NEW)
    assert ground.vault is not None
    assert (lines(state), retired.read_record(ground.vault.records[RETIRED])) == (
        [OLD.fingerprint],
        Roots((OLD.fingerprint,)),
    )
    ground.close()
    again = ground_in(state, **ASK)
    assert again.examine().retired == {OLD.fingerprint}
    assert again.examine().anchors == (NEW,)
    again.close()


def after(before: dict[str, bytes], following: dict[str, bytes], *, knew: Roots = Roots(), back: str = "") -> Roots:  # noqa: B008
    """What is known after a commit."""
    return retired.after(knew, before, following, {back} if back else ())


def test_what_retires_and_what_does_not() -> None:
    """Pure: another root in the place of one at the same WFM; forgotten ones when another comes; nothing by moving."""
    one, two = ({ANCHORS: trust.to_pem([root]), WFM: WFM_RECORD} for root in (OLD, NEW))
    both = {ANCHORS: trust.to_pem([OLD, NEW]), WFM: WFM_RECORD}
    none = {WFM: WFM_RECORD}
    gone = Roots((OLD.fingerprint,))
    assert after(one, two) == gone
    assert after(one, both) == Roots()
    assert after(both, two) == gone
    assert after({}, one) == Roots()
    dropped = after(one, none)
    assert dropped == Roots((), (OLD.fingerprint,))
    assert after(none, one, knew=dropped) == Roots(), "the same one came again"
    assert after(none, two, knew=dropped) == gone, "another one took its place"
    elsewhere = {**two, WFM: record({"url": "https://other.example"}, "signed", "accepted")}
    assert after(one, elsewhere) == Roots()
    assert after({}, elsewhere, knew=gone) == gone, "the list is the device's, whatever the WFM"
    assert after(two, one, knew=gone, back=OLD.fingerprint) == Roots((NEW.fingerprint,))
    assert after(two, one, knew=gone).retired == (OLD.fingerprint, NEW.fingerprint), "nobody wanted it back"


def test_bounded() -> None:
    """The last ones are remembered; the file stays far below what is read of it."""
    many = tuple(f"{number:064x}" for number in range(LIMIT + 9))
    roots = after({WFM: WFM_RECORD}, {ANCHORS: trust.to_pem([OLD]), WFM: WFM_RECORD}, knew=Roots(many))
    assert roots.retired == many[-LIMIT:]
    data = retired.encode_file(roots.retired)
    assert len(data) < retired.FILE_LIMIT // 8
    assert retired.read_file(data, 0) == (roots.retired, 0)
    assert retired.read_record(retired.encode_record(roots) or b"") == roots


@pytest.mark.parametrize("with_list", [True, False])
@pytest.mark.parametrize("enrolled_before", [True, False])
def test_a_restored_copy(tmp_path: Path, with_list: bool, enrolled_before: bool) -> None:
    """With the list the old root verifies nothing and nothing is lost; without it nothing can be known."""
    state, copy = tmp_path / "state", tmp_path / "copy"
    ground = enrolled(state, OLD) if enrolled_before else ground_in(state, **{"trust.first_use": "off"})
    if not enrolled_before:
        ground.examine()
        accepted(ground, OLD)
    ground.close()
    shutil.copytree(state, copy)
    ground = ground_in(state, **ASK)
    accepted(ground, NEW)
    ground.close()
    restored(state, copy, with_list=with_list)
    ground = ground_in(state, **{"trust.first_use": "off"})
    situation = ground.examine()
    assert situation.client_id == ("client-1" if enrolled_before else None)
    if not with_list:
        assert (situation.anchors, situation.facts.obstacle) == ((OLD,), None)
        ground.close()
        return
    for _ in range(2):
        situation = ground.examine()
        obstacle = situation.facts.obstacle
        assert obstacle is not None
        assert (obstacle.state, obstacle.reason) == (State.UNTRUSTED, reasons.ROOT_CA_RETIRED)
        assert OLD.fingerprint in obstacle.detail
        assert (situation.anchors, situation.policy, situation.withdrawn) == ((), None, (OLD,))
        assert situation.facts.enrolled is enrolled_before
        assert ground.vault is not None
        ground.keep({"report.json": b"{}"})  # another commit in between brings nothing back
    ground.accept(situation, situation.withdrawn, OLD.fingerprint)
    situation = ground.examine()
    assert (situation.anchors, situation.trust_source, situation.retired) == ((OLD,), "accepted", frozenset())
    assert situation.facts.obstacle is None
    ground.close()
    again = ground_in(state, **{"trust.first_use": "off"})
    assert again.examine().anchors == (OLD,), "and after a restart"
    again.close()


def test_what_is_left_is_trusted(tmp_path: Path) -> None:
    """From a copy of the time when both were anchors the one that was not retired remains."""
    state, copy = tmp_path / "state", tmp_path / "copy"
    ground = enrolled(state, OLD)
    ground.keep({ANCHORS: trust.to_pem([OLD, NEW])})
    ground.close()
    shutil.copytree(state, copy)
    ground = ground_in(state, **ASK)
    ground.open()
    ground.keep({ANCHORS: trust.to_pem([NEW])})
    ground.close()
    restored(state, copy, with_list=True)
    ground = ground_in(state, **ASK)
    situation = ground.examine()
    assert (situation.anchors, situation.withdrawn, situation.facts.obstacle) == ((NEW,), (), None)
    ground.close()


def test_the_generations_know_where_the_file_is_gone(tmp_path: Path) -> None:
    """The record brings the file back; without a record, as in an older copy, the file does the same for the record."""
    state = tmp_path / "state"
    enrolled(state, OLD, NEW).close()
    (state / FILE).unlink()
    ground = ground_in(state, **ASK)
    assert ground.examine().retired == {OLD.fingerprint}
    assert lines(state) == [OLD.fingerprint]
    ground.keep({RETIRED: None})
    assert ground.vault is not None
    assert RETIRED in ground.vault.records, "the next commit carries it again"
    ground.close()


@pytest.mark.parametrize("how", sorted(KINDS))
def test_a_damaged_file_stands_in_nobodys_way(tmp_path: Path, how: str) -> None:
    """The generations make it good; it is set aside and said, but for one that is gone; the device is what it was."""
    state = tmp_path / "state"
    ground = enrolled(state, OLD, NEW)
    before = ground.examine()
    ground.close()
    KINDS[how](state / FILE)
    ground = ground_in(state, **ASK)
    situation = ground.examine()
    assert (situation.anchors, situation.client_id) == (before.anchors, before.client_id)
    assert situation.retired == {OLD.fingerprint}
    assert lines(state) == [OLD.fingerprint]
    warned = [each.reason for each in situation.warnings if each.reason is reasons.STATE_DAMAGED]
    assert warned == ([] if how == "missing" else [reasons.STATE_DAMAGED])
    assert os.path.lexists(state / "quarantine" / FILE) is (how != "missing")
    ground.close()
    again = ground_in(state, **ASK)
    assert not [each for each in again.examine().warnings if each.reason is reasons.STATE_DAMAGED]
    again.close()


def test_damaged_lines() -> None:
    """Each line has its sum: a flipped bit is noticed, the others count."""
    good = retired.encode_file([OLD.fingerprint, NEW.fingerprint], [OTHER.fingerprint], 7)
    assert retired.read_file(good, 7) == ((OLD.fingerprint, NEW.fingerprint, OTHER.fingerprint), 0)
    assert retired.read_file(good, 6) == ((OLD.fingerprint, NEW.fingerprint), 0), "that commit never came"
    for bit in range(8 * len(good)):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        found, damaged = retired.read_file(bytes(flipped), 7)
        assert damaged, bit
        assert set(found) < {OLD.fingerprint, NEW.fingerprint, OTHER.fingerprint}
    for end in range(len(good)):
        found, damaged = retired.read_file(good[:end], 7)
        assert set(found) <= {OLD.fingerprint, NEW.fingerprint, OTHER.fingerprint}


def test_the_file_is_written_before_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the commit begins the file has the root; a generation that is damaged afterwards loses it nothing."""
    state = tmp_path / "state"
    ground = enrolled(state, OLD)
    vault = ground.vault
    assert vault is not None
    commit, seen = vault.commit, []

    def watched(changes: dict[str, bytes | None], binding: str) -> None:
        seen.append((retired.read_file((state / FILE).read_bytes(), vault.newest + 1)[0], lines(state)))
        commit(changes, binding)

    monkeypatch.setattr(vault, "commit", watched)
    with monkeypatch.context() as patch:  # the power goes as soon as the commit is there
        patch.setattr(retired.Retired, "_write", _only_first(retired.Retired._write))
        accepted(ground, NEW)
    assert seen == [((OLD.fingerprint,), [])]
    assert lines(state) == []
    ground.close()
    newest = sorted(state.glob("gen-*"))[-1]
    (newest / "anchors.pem").write_bytes(b"x")
    ground = ground_in(state, **ASK)
    assert ground.examine().retired == {OLD.fingerprint}, "that generation was there, says what is left of it"
    assert lines(state) == [OLD.fingerprint]
    ground.close()


def _only_first(write: Callable[..., None]) -> Callable[..., None]:
    calls: list[bytes] = []

    def once(known: retired.Retired, data: bytes, *, again: bool = False) -> None:
        calls.append(data)
        if len(calls) == 1:
            write(known, data, again=again)

    return once


def test_a_commit_that_fails_retires_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes the file and not the generation: the old root stays, now and after a restart."""
    state = tmp_path / "state"
    ground = enrolled(state, OLD)
    with monkeypatch.context() as patch:
        patch.setattr("margod.vault.vault.commit_directory", _full)
        with pytest.raises(StateNotWritable):
            accepted(ground, NEW)
    assert (ground.examine().anchors, ground.examine().retired, lines(state)) == ((OLD,), frozenset(), [])
    ground.keep({"report.json": b"{}"})
    ground.close()
    ground = ground_in(state, **ASK)
    assert (ground.examine().anchors, ground.examine().retired) == ((OLD,), frozenset())
    ground.close()


def test_a_crash_before_the_commit_retires_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names the generation that retires the root; where there never was one, the root is what it was."""
    state = tmp_path / "state"
    ground = enrolled(state, OLD)

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("margod.vault.vault.commit_directory", cut)
        patch.setattr(retired.Retired, "_write", _only_first(retired.Retired._write))
        with pytest.raises(KeyboardInterrupt):
            accepted(ground, NEW)
    ground.close()
    assert b" " in (state / FILE).read_bytes()
    ground = ground_in(state, **ASK)
    assert (ground.examine().anchors, ground.examine().retired) == ((OLD,), frozenset())
    assert (state / FILE).read_bytes() == b""
    ground.close()


def test_a_file_that_cannot_be_written_holds_up_no_new_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The generation says it then; but a root that a person takes back has to leave the file, or he is told."""
    state = tmp_path / "state"
    ground = enrolled(state, OLD)
    real = files.write_file

    def refused(directory: Path, name: str, data: bytes, mode: int = 0o600) -> None:
        if name == FILE:
            _full()
        real(directory, name, data, mode)

    with monkeypatch.context() as patch:
        patch.setattr(retired, "write_file", refused)
        accepted(ground, NEW)
        assert (ground.examine().anchors, ground.examine().retired) == ((NEW,), frozenset({OLD.fingerprint}))
        assert not (state / FILE).exists()
    ground.keep({"report.json": b"{}"})
    assert lines(state) == [OLD.fingerprint], "the next commit makes it good"
    with monkeypatch.context() as patch:
        patch.setattr(retired, "write_file", refused)
        with pytest.raises(StateNotWritable):
            accepted(ground, OLD)
    assert (ground.examine().anchors, ground.examine().retired) == ((NEW,), frozenset({OLD.fingerprint}))
    ground.close()


def _full(*_: object) -> None:
    raise StateNotWritable(reasons.STATE_NOT_WRITABLE, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("how", ["ca_file", "pin"])
def test_the_configuration_takes_a_root_back(tmp_path: Path, how: str) -> None:
    """Who names it in the YAML wants it, in one commit at most, and it stays when the line goes again."""
    state, copy = tmp_path / "state", tmp_path / "copy"
    enrolled(state, OLD).close()
    shutil.copytree(state, copy)
    ground = ground_in(state, **ASK)
    accepted(ground, NEW)
    ground.close()
    restored(state, copy, with_list=True)
    file = tmp_path / "ca.pem"
    file.write_bytes(trust.to_pem([OLD]))
    named = ground_in(state, **{f"trust.{how}": str(file) if how == "ca_file" else OLD.fingerprint})
    situation = named.examine()
    assert (situation.anchors, situation.trust_source, situation.facts.obstacle) == ((OLD,), how, None)
    assert (named.examine().retired, lines(state)) == (frozenset(), [])
    commits = len(list(state.glob("gen-*"))), named.vault and named.vault.newest
    named.examine()
    assert commits == (len(list(state.glob("gen-*"))), named.vault and named.vault.newest)
    named.close()
    ground = ground_in(state, **ASK)
    assert ground.examine().anchors == (OLD,)
    ground.close()


def test_a_file_that_is_missing_brings_nothing_back(tmp_path: Path) -> None:
    """Where trust.ca_file cannot be read, an enrolled device goes on with what it has: not with a retired root."""
    state, copy = tmp_path / "state", tmp_path / "copy"
    enrolled(state, OLD).close()
    shutil.copytree(state, copy)
    ground = ground_in(state, **ASK)
    accepted(ground, NEW)
    ground.close()
    missing = {"trust.ca_file": str(tmp_path / "missing.pem")}
    ground = ground_in(state, **missing)
    assert ground.examine().anchors == (NEW,)
    ground.close()
    restored(state, copy, with_list=True)
    ground = ground_in(state, **missing)
    situation = ground.examine()
    assert (situation.anchors, situation.withdrawn) == ((), (OLD,))
    ground.close()


def test_with_the_systems_store_it_is_downloaded_anew(tmp_path: Path) -> None:
    """Policy allows it: the root is fetched over the channel that the store verifies; the retired one is shown."""
    state, copy = tmp_path / "state", tmp_path / "copy"
    enrolled(state, OLD).close()
    shutil.copytree(state, copy)
    ground = ground_in(state, **ASK)
    accepted(ground, NEW)
    ground.close()
    restored(state, copy, with_list=True)
    ground = ground_in(state, **{"trust.system": "true"})
    situation = ground.examine()
    assert situation.facts.obstacle is None
    assert (situation.anchors, situation.trust_source, situation.withdrawn) == ((), "system", (OLD,))
    assert situation.policy is not None
    assert situation.policy.anchors is None
    assert situation.facts.enrolled
    assert not situation.facts.trusted
    ground.keep({ANCHORS: trust.to_pem([NEW]), WFM: record({"url": "https://wfm.example"}, "signed", "system")})
    situation = ground.examine()
    assert (situation.anchors, situation.retired, situation.withdrawn) == (
        (NEW,),
        frozenset({OLD.fingerprint}),
        (),
    )
    ground.close()


async def test_first_use_takes_no_retired_root(tmp_path: Path) -> None:
    """Unseen (first_use: accept) it is not taken; for a person to compare it is shown."""
    ground = enrolled(tmp_path / "state", OLD, NEW)
    situation = ground.examine()
    ground.close()
    policy = trust.UnverifiedPolicy(FIRST_USE, (), tls_settings(ground.config.tls))

    async def judged(*roots: trust.Anchor, ask: bool) -> first_contact.Asked:
        document = json.dumps({"certificate": trust.to_pem(roots).decode()}).encode()
        outcome = Outcome(Kind.ACCEPTED, reasons.ENROLLED, records={CA_ANSWER: document})
        return await first_contact.judge(
            policy, outcome, situation, "https://wfm.example", NOW, protocol="signed", ask=ask
        )

    refused = await judged(OLD, ask=False)
    assert (refused.outcome.kind, refused.outcome.reason) == (Kind.UNTRUSTED, reasons.ROOT_CA_RETIRED)
    assert (refused.outcome.records, refused.offered) == ({}, (OLD,))
    taken = await judged(OLD, OTHER, ask=False)
    assert trust.fingerprints(taken.outcome.records[ANCHORS]) == (OTHER.fingerprint,)
    asked = await judged(OLD, ask=True)
    assert (asked.outcome.reason, asked.offered) == (reasons.FIRST_USE_ASKED, (OLD,))


def test_an_offered_one_is_not_staged() -> None:
    """However long the WFM offers a retired root, and whatever an older copy has staged: it is only reported."""
    barred = renewal.Known((NEW,), "system", (), (), 1.0, {OLD.fingerprint})
    heard = renewal.hear(barred, (OLD, NEW, OTHER), START)
    assert [each.anchor for each in heard.staged] == [OTHER]
    assert heard.differing == (OLD,)
    assert renewal.read(renewal.write((staged(),)), NOW, {NEW.fingerprint}) == ()
    assert [each.anchor for each in renewal.hear(known(), (OLD, NEW), START).staged] == [NEW]


def test_an_archived_enrolment_does_not_bring_it_back(tmp_path: Path) -> None:
    """Back at a former WFM, whose root was retired meanwhile: its enrolment is in force, its root verifies nothing."""
    state = tmp_path / "state"
    enrolled(state, OLD).close()
    there = ground_in(state, **{**ASK, "wfm.url": "https://other.example"})
    there.examine()
    accepted(there, OLD, NEW)
    assert there.examine().client_id is None
    assert there.vault is not None
    (former,) = archive.formers(there.vault.records)
    assert RETIRED not in former.records, "the list is the device's"
    there.close()
    back = ground_in(state, **ASK)
    situation = back.examine()
    assert (situation.client_id, situation.anchors, situation.withdrawn) == ("client-1", (), (OLD,))
    assert situation.facts.obstacle is not None
    assert situation.facts.obstacle.reason is reasons.ROOT_CA_RETIRED
    assert situation.retired == {OLD.fingerprint}, "moving itself retires nothing"
    back.accept(situation, situation.withdrawn, OLD.fingerprint)
    assert back.examine().anchors == (OLD,)
    back.close()


def test_a_candidate_trusts_no_more_than_the_enrolment_in_force(tmp_path: Path) -> None:
    """A rotation that was begun before goes by the same list, and keeps none of its own."""
    state, copy = tmp_path / "state", tmp_path / "copy"
    ground = enrolled(state, OLD)
    Succession(ground).begin(archive.ROTATED, 0.0).close()
    ground.close()
    shutil.copytree(state, copy)
    ground = ground_in(state, **ASK)
    accepted(ground, NEW)
    ground.close()
    restored(state, copy, with_list=True)
    ground = ground_in(state, **ASK)
    succession = Succession(ground)
    succession.settle()
    candidate = succession.candidate
    assert candidate is not None
    assert ground.examine().anchors == ()
    assert candidate.examine().anchors == ()
    ground.accept(ground.examine(), (OLD,), OLD.fingerprint)
    assert candidate.examine().anchors == (OLD,)
    assert not (state / "next" / FILE).exists()
    candidate.close()
    ground.close()


def test_a_newer_format_and_a_wiped_directory_are_left_alone(tmp_path: Path) -> None:
    """Nothing is written where nothing may be."""
    state = tmp_path / "state"
    enrolled(state, OLD, NEW).close()
    for manifest in state.glob("gen-*/manifest.json"):
        value = json_object(manifest.read_bytes())
        value["format"] = 99
        value.pop("sum", None)
        manifest.write_bytes(json.dumps({**value, "sum": _sum(value)}).encode())
    (state / FILE).write_bytes(b"damaged\n")
    ground = ground_in(state, **ASK)
    obstacle = ground.examine().facts.obstacle
    assert obstacle is not None
    assert obstacle.reason is reasons.STATE_NEWER
    assert (state / FILE).read_bytes() == b"damaged\n"
    ground.close()
    whole = tmp_path / "whole"
    ground = enrolled(whole, OLD, NEW)
    ground.wipe()
    ground.examine()
    assert [path.name for path in whole.iterdir()] == ["lock"]
    ground.close()


def test_long_lists_of_certificates_have_their_fingerprints() -> None:
    """The cheap way to a fingerprint and the parsing one agree."""
    pem = trust.to_pem([OLD, sized(4_000), NEW])
    assert trust.fingerprints(pem) == tuple(each.fingerprint for each in trust.decode_certificates(pem, NOW))
    assert trust.fingerprints(b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n") == ()
