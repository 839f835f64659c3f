"""Clearing the state directory: nothing readable is left, an interrupted wipe is finished, nothing is written after."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from margod.model.errors import StateNotWritable, StateUnusable
from margod.model.reasons import STATE_NOT_WRITABLE, WIPED
from margod.store import shred_tree, shredding
from margod.vault import Vault, wiping
from tests.vault.support import answer, enrolled, opened


def test_everything_goes_and_nothing_comes_back(tmp_path: Path) -> None:
    """Every file but the lock is gone, also what is not the vault's own; the open vault is empty and takes nothing."""
    enrolled(tmp_path / "v")
    for name in ("quarantine/gen-000001/identity.key", "config.last-good", "runtime.json", "outbox/x"):
        (tmp_path / "v" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "v" / name).write_text("secret")
    with opened(tmp_path / "v") as vault:
        vault.wipe()
        assert [path.name for path in (tmp_path / "v").iterdir()] == ["lock"]
        assert (dict(vault.records), vault.entries, vault.wiped) == ({}, (), True)
        with pytest.raises(StateUnusable) as refused:
            vault.commit({"a": b""}, "b")
        assert refused.value.reason is WIPED
        with pytest.raises(StateUnusable):
            vault.append(answer("x"))
        assert [path.name for path in (tmp_path / "v").iterdir()] == ["lock"]
    with opened(tmp_path / "v") as vault:
        assert (vault.wiped, vault.damaged) == (False, False), "a new life begins with the next opening"


@pytest.mark.parametrize("left", [0, 1, 2, 3])
def test_an_interrupted_wipe_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int) -> None:
    """Wherever it was cut, the next opening clears the rest, and says so instead of beginning anew at once."""
    enrolled(tmp_path / "v")
    done: list[Path] = []

    def cut(path: Path) -> None:
        if len(done) == left:
            raise KeyboardInterrupt
        done.append(path)
        shred_tree(path)

    with opened(tmp_path / "v") as vault, monkeypatch.context() as patch:
        patch.setattr(wiping, "shred_tree", cut)
        with pytest.raises(KeyboardInterrupt) if left < 3 else pytest.MonkeyPatch.context():
            vault.wipe()
    with opened(tmp_path / "v") as vault:
        assert (vault.wiped, dict(vault.records)) == (left < 3, {})
        assert [path.name for path in (tmp_path / "v").iterdir()] == ["lock"]


def test_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If not even the marker can be written nothing is done; a file that cannot be removed is said, the others go."""
    enrolled(tmp_path / "v")

    def refuse(path: Path, *_: object) -> None:
        raise OSError(30, "Read-only file system", str(path))

    with opened(tmp_path / "v") as vault:
        (tmp_path / "v" / ".wiping.new").mkdir()
        with monkeypatch.context() as patch:
            patch.setattr("margod.store.files.create", refuse)
            with pytest.raises(StateNotWritable):
                vault.wipe()
        wiped = [vault.wiped]
        assert vault.records["enrolment.json"] == b"client-1"
        with monkeypatch.context() as patch:
            patch.setattr(shredding, "remove", lambda path: refuse(path) if path.name == "answer.log" else None)
            with pytest.raises(StateNotWritable, match=r"answer\.log"):
                vault.wipe()
        assert [*wiped, vault.wiped] == [False, True]
        assert not vault.records
    assert wiping.was_begun(tmp_path / "v")


def test_bytes_are_overwritten_where_they_stand(tmp_path: Path) -> None:
    """The very blocks of a file are zeros before its name goes: another name of the same file shows it."""
    (tmp_path / "d").mkdir()
    secret = tmp_path / "d" / "key"
    secret.write_bytes(b"k" * 200_000)
    (tmp_path / "other").hardlink_to(secret)
    (tmp_path / "kept").write_text("kept")
    (tmp_path / "d" / "link").symlink_to(tmp_path / "kept")
    shred_tree(tmp_path / "d")
    assert not (tmp_path / "d").exists()
    assert (tmp_path / "other").read_bytes() == bytes(200_000)
    assert (tmp_path / "kept").read_text() == "kept", "no link is followed"


def test_nothing_there_is_fine(tmp_path: Path) -> None:
    """An empty directory can be wiped, and an unknown path shredded."""
    shred_tree(tmp_path / "nothing")
    vault = Vault.open(tmp_path / "v")
    vault.wipe()
    vault.close()


@pytest.fixture
def readable(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the files that are unlinked while a key can be read in them."""
    found: list[str] = []
    real = os.unlink

    def unlink(path: Path) -> None:
        if path.is_file() and b"key-" in path.read_bytes():
            found.append(str(path))
        real(path)

    monkeypatch.setattr(os, "unlink", unlink)
    return found


def test_no_key_is_left_in_freed_blocks(tmp_path: Path, readable: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever drops a copy of a key in a long life overwrites it: commits, one taken back, a crash's leftovers."""
    state = tmp_path / "v"
    enrolled(state)
    with opened(state) as vault:
        for number in range(2, 6):
            vault.commit({"identity.key": b"key-%d" % number}, "a")
        with monkeypatch.context() as patch:
            patch.setattr("margod.store.directories.sync_directory", _refuse)
            with pytest.raises(StateNotWritable):
                vault.commit({"identity.key": b"key-6"}, "a")
        vault.append(answer("client-2"))
        assert vault.records["identity.key"] == b"key-5"
    for name in (".gen-000009.new", ".gen-000009.old", "gen-000001"):
        shutil.copytree(max(state.glob("gen-*")), state / name)
    shutil.copytree(state / "gen-000001", state / ".gen-000001.old")
    with opened(state) as vault:
        assert (vault.findings, vault.records["identity.key"]) == ((), b"key-5")
        assert sorted(path.name for path in state.glob("*gen-*")) == ["gen-000005", "gen-000006"]
        vault.wipe()
    assert readable == []


def test_no_secret_is_left_where_the_log_was(tmp_path: Path) -> None:
    """The log is replaced when it is compacted; its former blocks are overwritten, an accepted answer is in them."""
    state = tmp_path / "v"
    enrolled(state)
    (tmp_path / "same").hardlink_to(state / "answer.log")
    assert b"enrolment.json" in (tmp_path / "same").read_bytes()
    with opened(state) as vault:
        for number in range(2):
            vault.commit({"report.json": b"%d" % number}, "a")
    assert not (state / "answer.log").read_bytes()
    assert not (tmp_path / "same").read_bytes().strip(b"\0")


def _refuse(path: Path) -> None:
    raise StateNotWritable(STATE_NOT_WRITABLE, str(path))
