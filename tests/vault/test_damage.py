"""Damage is noticed at load, survived by the generation before, set aside, shown, and never answered by emptiness."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from margod.model.errors import StateNotWritable, StateUnusable
from margod.model.reasons import STATE_DAMAGED, STATE_NEWER, STATE_NOT_WRITABLE
from margod.vault import Entry, Vault, peek
from margod.vault.answerlog import encode
from margod.vault.generation import _sum
from tests.vault.support import IDENTITY, answer, enrolled, intent, opened, snapshot, unreachable


def _symlink(path: Path) -> None:
    data = path.with_name("elsewhere")
    path.rename(data)
    path.symlink_to(data)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir(mode=0o700)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "empty": lambda path: os.truncate(path, 0),
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "one short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "longer": _longer,
    "huge": lambda path: os.truncate(path, 1 << 30),
    "zeros": _zeros,
    "flipped": _flip,
    "symlink": _symlink,
    "directory": _directory,
    "fifo": _fifo,
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind in DAMAGE
        for name in ("identity.key", "enrolment.json", "manifest.json")
        if (kind, name) != ("one short", "manifest.json")  # that is the newline at its end
    ],
)
def test_a_damaged_generation_falls_back_with_the_accepted_answer(kind: str, name: str, tmp_path: Path) -> None:
    """Whatever happens to one file: the generation is set aside whole, the one before has the answer from the log."""
    directory = tmp_path / "margod"
    enrolled(directory)
    DAMAGE[kind](directory / "gen-000002" / name)
    with opened(directory) as vault:
        assert [finding.reason for finding in vault.findings] == [STATE_DAMAGED]
        assert "gen-000002" in vault.findings[0].message
        assert dict(vault.records) == {**IDENTITY, "enrolment.json": b"client-1"}
        assert vault.entries == (intent(), answer("client-1"))
        assert not vault.damaged
        assert (directory / "quarantine/gen-000002").is_dir()
        vault.append(answer("client-1", 5.0))
        vault.commit({"report.json": b"again"}, "a")
    with opened(directory) as vault:
        assert vault.findings == ()
        assert vault.records["report.json"] == b"again"
    assert (directory / "gen-000003").is_dir(), "a number is never used twice"


def test_every_flipped_bit_of_a_manifest_is_noticed_or_harmless(tmp_path: Path) -> None:
    """No single bit turns the binding, the format or a sum into another one that is believed."""
    directory = tmp_path / "margod"
    enrolled(directory)
    manifest = directory / "gen-000002/manifest.json"
    good = manifest.read_bytes()
    whole = dict(peek(directory))
    for at in range(len(good)):
        flipped = bytearray(good)
        flipped[at] ^= 1 << (at % 8)
        manifest.write_bytes(flipped)
        assert dict(peek(directory)) in (whole, {**IDENTITY, "enrolment.json": b"client-1"})


def test_a_generation_under_another_number_is_damage(tmp_path: Path) -> None:
    """A copy of an old generation that claims to be the newest is not believed."""
    directory = tmp_path / "margod"
    enrolled(directory)
    shutil.copytree(directory / "gen-000001", directory / "gen-000009")
    with opened(directory) as vault:
        assert vault.records["report.json"] == b"report"
        assert [finding.reason for finding in vault.findings] == [STATE_DAMAGED]


def test_records_swapped_between_generations_are_damage(tmp_path: Path) -> None:
    """A file that is right in another generation is wrong in this one."""
    directory = tmp_path / "margod"
    with opened(directory) as vault:
        vault.commit(IDENTITY, "a")
        vault.commit({"identity.key": b"key-2"}, "b")
    shutil.copy(directory / "gen-000001/identity.key", directory / "gen-000002/identity.key")
    with opened(directory) as vault:
        assert (vault.binding, vault.records["identity.key"]) == ("a", b"key-1")


def test_the_generation_below_is_checked_too(tmp_path: Path) -> None:
    """Damage to what one would fall back on is shown while it is still harmless."""
    directory = tmp_path / "margod"
    enrolled(directory)
    (directory / "gen-000001/identity.key").write_bytes(b"")
    with opened(directory) as vault:
        assert vault.records["report.json"] == b"report"
        assert "gen-000001" in vault.findings[0].message
    assert (directory / "quarantine/gen-000001").is_dir()


def test_both_damaged_is_said_and_stays_said(tmp_path: Path) -> None:
    """No records, `damaged`, nothing appended, over restarts; keys are in the quarantine; a commit begins anew."""
    directory = tmp_path / "margod"
    enrolled(directory)
    for number in (1, 2):
        (directory / f"gen-00000{number}/identity.crt").unlink()
    for _ in range(2):
        with opened(directory) as vault:
            assert vault.damaged
            assert (dict(vault.records), vault.entries, vault.binding) == ({}, (), "")
            assert {finding.reason for finding in vault.findings} == {STATE_DAMAGED}
            with pytest.raises(StateUnusable) as caught:
                vault.append(answer("client-2"))
            assert caught.value.reason is STATE_DAMAGED
        assert dict(peek(directory)) == {}
    assert (directory / "quarantine/gen-000002/identity.key").read_bytes() == b"key-1"
    with opened(directory) as vault:
        vault.commit({"identity.key": b"key-2"}, "b")
        assert not vault.damaged
    with opened(directory) as vault:
        assert dict(vault.records) == {"identity.key": b"key-2"}
        assert vault.findings == ()
    assert (directory / "gen-000003").is_dir()


def test_generations_that_vanished_are_damage(tmp_path: Path) -> None:
    """A log that was written on top of a generation tells that there was one."""
    directory = tmp_path / "margod"
    enrolled(directory)
    shutil.rmtree(directory / "gen-000001")
    shutil.rmtree(directory / "gen-000002")
    with opened(directory) as vault:
        assert vault.damaged
        assert dict(vault.records) == {}


@pytest.mark.parametrize("cut", [1, 10, 60, -1])
def test_a_torn_last_line_is_a_power_cut_not_damage(cut: int, tmp_path: Path) -> None:
    """It is dropped without a finding, and gone before the next line is written."""
    directory = tmp_path / "margod"
    with opened(directory) as vault:
        vault.commit(IDENTITY, "a")
        vault.append(intent())
    torn = encode(answer("client-1"), 1, "a").raw[:cut]
    with (directory / "answer.log").open("ab") as log:
        log.write(torn)
    with opened(directory) as vault:
        assert vault.findings == ()
        assert len(vault.entries) == (2 if cut == -1 else 1), "only the newline is missing: the answer counts"
        vault.append(answer("client-2", 9.0))
    with opened(directory) as vault:
        assert vault.findings == ()
        assert vault.entries[0] == intent()
        assert vault.entries[-1] == answer("client-2", 9.0)


def test_zeros_after_the_last_line_are_torn_too(tmp_path: Path) -> None:
    """Some file systems grow the file before the bytes are there."""
    enrolled(tmp_path / "margod")
    with (tmp_path / "margod/answer.log").open("ab") as log:
        log.write(bytes(500))
    with opened(tmp_path / "margod") as vault:
        assert vault.findings == ()
        vault.append(answer("client-2"))
    assert b"\0" not in (tmp_path / "margod/answer.log").read_bytes()


def test_a_damaged_line_in_the_middle_costs_only_itself(tmp_path: Path) -> None:
    """The log is copied to the quarantine, the other lines are used, and the next start is quiet."""
    directory = tmp_path / "margod"
    with opened(directory) as vault:
        vault.commit(IDENTITY, "a")
        for number in range(3):
            vault.append(answer(f"client-{number}", float(number)))
    log = directory / "answer.log"
    damaged = log.read_bytes().replace(b'"at":1.0', b'"at":7.0')
    log.write_bytes(damaged)
    with opened(directory) as vault:
        assert [finding.reason for finding in vault.findings] == [STATE_DAMAGED]
        assert [entry.at for entry in vault.entries] == [0.0, 2.0]
        vault.append(intent(3.0))
    assert (directory / "quarantine/answer.log").read_bytes() == damaged
    with opened(directory) as vault:
        assert vault.findings == ()
        assert [entry.at for entry in vault.entries] == [0.0, 2.0, 3.0]


@pytest.mark.parametrize("kind", ["symlink", "directory", "fifo", "huge"])
def test_a_log_that_is_none_is_set_aside(kind: str, tmp_path: Path) -> None:
    """It is moved, not followed or opened; the generation has what it had, and the next line is kept."""
    directory = tmp_path / "margod"
    enrolled(directory)
    DAMAGE[kind](directory / "answer.log")
    with opened(directory) as vault:
        assert [finding.reason for finding in vault.findings] == [STATE_DAMAGED]
        assert vault.records["enrolment.json"] == b"client-1"
        vault.append(intent(9.0))
    assert os.path.lexists(directory / "quarantine/answer.log")
    with opened(directory) as vault:
        assert vault.findings == ()
        assert vault.entries == (intent(9.0),)


def test_a_generation_that_is_no_directory(tmp_path: Path) -> None:
    """A link to a good generation elsewhere is not followed."""
    directory = tmp_path / "margod"
    enrolled(directory)
    (directory / "gen-000002").rename(tmp_path / "good")
    (directory / "gen-000002").symlink_to(tmp_path / "good")
    with opened(directory) as vault:
        assert "report.json" not in vault.records
    assert (directory / "quarantine/gen-000002").is_symlink()
    assert (tmp_path / "good/report.json").exists()


def test_the_quarantine_cannot_be_used(tmp_path: Path) -> None:
    """That is a finding more; the vault opens, and what is damaged stays where it is, also after commits."""
    directory = tmp_path / "margod"
    enrolled(directory)
    (directory / "quarantine").write_text("in the way")
    (directory / "gen-000002/identity.key").write_bytes(b"")
    with opened(directory) as vault:
        assert [finding.reason for finding in vault.findings] == [STATE_DAMAGED, STATE_NOT_WRITABLE]
        for number in range(3):
            vault.commit({"report.json": b"%d" % number}, "a")
        assert vault.records["enrolment.json"] == b"client-1"
    assert (directory / "gen-000002").is_dir()


def test_a_quarantine_that_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails in that one place is a finding as well, not the end of the start."""
    directory = tmp_path / "margod"
    enrolled(directory)
    (directory / "quarantine").mkdir(mode=0o700)
    (directory / "gen-000002/identity.key").write_bytes(b"")
    unreachable(monkeypatch, "quarantine")
    with opened(directory) as vault:
        assert [finding.reason for finding in vault.findings] == [STATE_DAMAGED, STATE_NOT_WRITABLE]
        assert "quarantine cannot be reached: Input/output error" in vault.findings[1].message
        assert vault.records["enrolment.json"] == b"client-1"


def test_a_marker_that_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows then whether a wipe was begun: it is said, nothing is taken for no, the next try finds all there."""
    directory = tmp_path / "margod"
    enrolled(directory)
    with monkeypatch.context() as patch:
        unreachable(patch, "wiping")
        with pytest.raises(StateUnusable, match="cannot be read: Input/output error"):
            Vault.open(directory)
    with opened(directory) as vault:
        assert vault.records["enrolment.json"] == b"client-1"


def test_a_stray_generation_that_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a failed commit left is not taken for gone, and nothing is built beside it, until it can be seen."""
    directory = tmp_path / "margod"
    enrolled(directory)
    with opened(directory) as vault:
        with monkeypatch.context() as patch:
            unreachable(patch, "gen-000003")
            patch.setattr("margod.store.directories.sync_directory", _refuse)
            with pytest.raises(StateNotWritable):
                vault.commit({"report.json": b"new"}, "a")
            with pytest.raises(StateNotWritable, match="gen-000003 cannot be reached: Input/output error"):
                vault.append(answer("client-2"))
        assert (directory / "gen-000003").is_dir()
        vault.append(answer("client-2"))
        assert not (directory / "gen-000003").exists()


def _refuse(path: Path) -> None:
    raise StateNotWritable(STATE_NOT_WRITABLE, str(path))


def _newer(directory: Path, number: int) -> None:
    shutil.copytree(directory / "gen-000002", directory / f"gen-{number:06d}")
    path = directory / f"gen-{number:06d}/manifest.json"
    manifest = {**json.loads(path.read_bytes()), "format": 2, "generation": number, "new": [1]}
    manifest["sum"] = _sum(manifest)
    path.write_text(json.dumps(manifest))


def test_a_newer_generation_is_read_only_and_untouched(tmp_path: Path) -> None:
    """After an update was taken back: the older records serve, nothing is written, moved or swept."""
    directory = tmp_path / "margod"
    enrolled(directory)
    _newer(directory, 3)
    (directory / "gen-000001/identity.key").write_bytes(b"damaged as well")
    (directory / ".gen-000004.new").mkdir(mode=0o700)
    before = snapshot(directory)
    with opened(directory) as vault:
        assert vault.read_only
        assert not vault.damaged
        assert STATE_NEWER in {finding.reason for finding in vault.findings}
        assert vault.records["enrolment.json"] == b"client-1"
        with pytest.raises(StateUnusable) as caught:
            vault.commit({}, "a")
        assert caught.value.reason is STATE_NEWER
        with pytest.raises(StateUnusable) as caught:
            vault.append(intent())
        assert caught.value.reason is STATE_NEWER
    assert snapshot(directory) == before


def test_only_a_newer_generation(tmp_path: Path) -> None:
    """Nothing that we can read is not the same as nothing: read-only, not fresh and not damaged."""
    directory = tmp_path / "margod"
    enrolled(directory)
    _newer(directory, 3)
    shutil.rmtree(directory / "gen-000001")
    shutil.rmtree(directory / "gen-000002")
    with opened(directory) as vault:
        assert (vault.read_only, vault.damaged, dict(vault.records)) == (True, False, {})


def test_a_newer_line_in_the_log(tmp_path: Path) -> None:
    """A line with a right sum and a kind that we do not know was written by a newer margod."""
    directory = tmp_path / "margod"
    enrolled(directory)
    line = encode(Entry("intent", 1.0, {}), 2, "a").raw
    body = line[33:-1].replace(b'"intent"', b'"promise"')
    with (directory / "answer.log").open("ab") as log:
        log.write(hashlib.sha256(body).hexdigest()[:32].encode() + b" " + body + b"\n")
    with opened(directory) as vault:
        assert vault.read_only
        assert vault.records["enrolment.json"] == b"client-1"
