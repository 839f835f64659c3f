"""Whole directories: committed at once or not, moved and removed without following links."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from margod.model.errors import StateNotWritable
from margod.store import commit_directory, move, remove_tree, sync_directory
from tests.store.support import names


def test_commit_makes_the_whole_directory(tmp_path: Path) -> None:
    """Files 0600 in a directory 0700, and nothing beside it."""
    commit_directory(tmp_path, "gen", {"a": b"1", "b": b""})
    assert {path.name: path.read_bytes() for path in (tmp_path / "gen").iterdir()} == {"a": b"1", "b": b""}
    assert stat.S_IMODE((tmp_path / "gen").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "gen/a").stat().st_mode) == 0o600
    assert names(tmp_path) == ["gen"]


def test_commit_does_not_touch_what_exists(tmp_path: Path) -> None:
    """A directory of that name stays as it is, and the caller is told."""
    commit_directory(tmp_path, "gen", {"a": b"1"})
    with pytest.raises(StateNotWritable):
        commit_directory(tmp_path, "gen", {"a": b"2"})
    assert (tmp_path / "gen/a").read_bytes() == b"1"
    assert names(tmp_path) == ["gen"]


@pytest.mark.parametrize("call", ["open", "fchmod", "write", "fsync", "rename", "mkdir"])
def test_a_failing_call_leaves_nothing(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was prepared is removed again, which on a full disk gives its room back."""

    def fail(*_args: Any, **_rest: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StateNotWritable, match="gen cannot be written: No space left"):
            commit_directory(tmp_path, "gen", {"a": b"1"})
    assert names(tmp_path) == []


def test_a_leftover_of_a_crash_does_not_mix_in(tmp_path: Path) -> None:
    """What an earlier attempt prepared is not part of the next one."""
    (tmp_path / ".gen.new").mkdir()
    (tmp_path / ".gen.new/old").write_bytes(b"old")
    commit_directory(tmp_path, "gen", {"a": b"1"})
    assert names(tmp_path / "gen") == ["a"]


def test_remove_follows_no_link(tmp_path: Path) -> None:
    """Links are removed, what they point to is not; nothing to remove is fine."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_bytes(b"precious")
    (tmp_path / "tree/deep").mkdir(parents=True)
    (tmp_path / "tree/deep/link").symlink_to(tmp_path / "precious")
    os.mkfifo(tmp_path / "tree/fifo")
    remove_tree(tmp_path / "tree")
    remove_tree(tmp_path / "tree")
    assert (tmp_path / "precious/file").exists()
    assert names(tmp_path) == ["precious"]


def test_move_and_sync_tell_what_failed(tmp_path: Path) -> None:
    """Both name the path and translate the error."""
    with pytest.raises(StateNotWritable, match="missing cannot be written: No such file"):
        move(tmp_path / "missing", tmp_path / "other")
    with pytest.raises(StateNotWritable, match="missing cannot be written: No such file"):
        sync_directory(tmp_path / "missing")
    sync_directory(tmp_path)
