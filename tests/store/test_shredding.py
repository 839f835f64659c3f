"""What is dropped is overwritten, synced and only then unlinked; and never while it may come back under its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from margod.model.errors import StateNotWritable
from margod.store import commit_directory, drop_tree, finish_drop, replace_secret
from tests.faults.recording import Disk, Killed, Operation

SECRET = b"-----BEGIN PRIVATE KEY-----"


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Return a recording disk with the directory `d`, in which there is a key."""
    disk = Disk(tmp_path)
    disk.install(monkeypatch)
    commit_directory(tmp_path, "d", {"key": SECRET})
    disk.operations.clear()
    return disk


def done(disk: Disk) -> list[str]:
    """Return what was done, root told from what is below it."""
    return [f"{op.kind}{' root' if op.inode == 1 else ''}" for op in disk.operations]


DROPPED = ["rename root", "fsync root", "write", "fsync", "fsync", "unlink", "rmdir root"]


def test_in_this_order(disk: Disk) -> None:
    """The other name is durable before the first byte is overwritten, and the zeros before the file is unlinked."""
    drop_tree(disk.root, "d")
    assert done(disk) == DROPPED
    assert disk.operations[2].data == bytes(len(SECRET))
    assert not list(disk.root.iterdir())
    drop_tree(disk.root, "d")
    finish_drop(disk.root, "d")
    assert done(disk) == DROPPED, "nothing there is fine"


@pytest.mark.parametrize("at", range(1, len(DROPPED) + 1))
def test_killed_at_any_point(disk: Disk, at: int) -> None:
    """Who comes next finishes it: the name is synced again first, as it may not have been, and zeros are written."""
    disk.kill_at = at
    with pytest.raises(Killed):
        drop_tree(disk.root, "d")
    disk.kill_at = 0
    disk.operations.clear()
    finish_drop(disk.root, "d")
    assert done(disk)[:1] in ([], ["fsync root"])
    if 1 < at <= 5:
        assert bytes(len(SECRET)) in [op.data for op in disk.operations]
    drop_tree(disk.root, "d")
    assert not list(disk.root.iterdir())


def test_a_name_that_is_not_durable_keeps_its_bytes(disk: Disk) -> None:
    """If the directory cannot be synced, nothing is overwritten: a power cut may bring the old name back."""
    disk.fail = lambda op: 5 if op.kind == "fsync" and op.inode == 1 else 0
    for _ in range(2):
        with pytest.raises(StateNotWritable):
            drop_tree(disk.root, "d")
    assert (disk.root / ".d.old" / "key").read_bytes() == SECRET


@pytest.mark.parametrize("left", [False, True])
def test_half_a_commit(disk: Disk, left: bool) -> None:
    """What a commit could not finish is overwritten: by itself, or by the next one if a crash came between."""

    def fail(op: Operation) -> int:
        if op.kind == "rename":
            if left:
                raise Killed
            return 5
        return 0

    disk.fail = fail
    with pytest.raises((Killed, StateNotWritable)):
        commit_directory(disk.root, "e", {"key": SECRET})
    disk.fail = lambda _: 0
    assert (disk.root / ".e.new").exists() is left
    if left:
        commit_directory(disk.root, "e", {"other": b"-"})
    assert bytes(len(SECRET)) in [op.data for op in disk.operations]
    assert sorted(path.name for path in disk.root.iterdir()) == (["d", "e"] if left else ["d"])


def test_replaced_and_then_overwritten(disk: Disk) -> None:
    """The new file is durable before a byte of the old one goes; where that fails the old one stays as it is."""
    replace_secret(disk.root, "log", SECRET)
    (disk.root / "same").hardlink_to(disk.root / "log")
    disk.fail = lambda op: 5 if op.kind == "fsync" and op.inode == 1 else 0
    with pytest.raises(StateNotWritable):
        replace_secret(disk.root, "log", SECRET)
    assert (disk.root / "same").read_bytes() == SECRET
    disk.fail = lambda op: 5 if op.data == bytes(len(SECRET)) else 0
    replace_secret(disk.root, "log", SECRET)
    disk.fail = lambda _: 0
    disk.operations.clear()
    replace_secret(disk.root, "log", b"new")
    assert done(disk) == ["create root", "write", "fsync", "rename root", "fsync root", "write", "fsync"]
    assert [op.data for op in disk.operations if op.kind == "write"] == [b"new", bytes(len(SECRET))]
    assert (disk.root / "log").read_bytes() == b"new"
