"""Single files: whole or not at all, narrow modes, bounded reads of regular files only."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from margod.model.errors import StateNotWritable
from margod.model.reasons import STATE_NOT_WRITABLE
from margod.store import append_line, read_regular, sync_file, write_file
from tests.store.support import names


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_write_replaces_the_whole_file_with_the_mode(mode: int, tmp_path: Path) -> None:
    """The new content and mode are there whatever was before and whatever the umask; nothing else is."""
    (tmp_path / "file").write_bytes(b"older and longer")
    before = os.umask(0o077)
    try:
        write_file(tmp_path, "file", b"new", mode)
    finally:
        os.umask(before)
    assert (tmp_path / "file").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode
    assert names(tmp_path) == ["file"]


def test_write_takes_short_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that takes seven bytes at a time gets all of them."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:7]))
    write_file(tmp_path, "file", bytes(range(100)))
    assert (tmp_path / "file").read_bytes() == bytes(range(100))


def test_a_kernel_that_takes_nothing_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No loop without end, and no empty file in the place of the old one."""
    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "write", lambda _fd, _data: 0)
    with pytest.raises(StateNotWritable, match="No space left"):
        write_file(tmp_path, "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["open", "fchmod", "write", "fsync", "rename"])
@pytest.mark.parametrize("said", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE])
def test_a_failing_call_is_told_and_leaves_the_old_file(
    call: str, said: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the file and what the system said; what was prepared aside is gone."""
    (tmp_path / "file").write_bytes(b"old")

    def fail(*_args: Any, **_rest: Any) -> None:
        raise OSError(said, os.strerror(said))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StateNotWritable) as caught:
            write_file(tmp_path, "file", b"new")
    assert caught.value.reason is STATE_NOT_WRITABLE
    assert str(tmp_path / "file") in caught.value.message
    assert os.strerror(said) in caught.value.message
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
def test_what_a_crash_left_aside_is_in_nobodys_way(kind: str, tmp_path: Path) -> None:
    """A leftover, whatever it is, is removed and never written through."""
    aside, precious = tmp_path / ".file.new", tmp_path / "precious"
    precious.write_bytes(b"precious")
    if kind == "file":
        aside.write_bytes(b"half")
    elif kind == "directory":
        (aside / "deep").mkdir(parents=True)
    else:
        aside.symlink_to(precious)
    write_file(tmp_path, "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert precious.read_bytes() == b"precious"


def test_write_replaces_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    """A symbolic link under the file's name is not followed."""
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "file").symlink_to("precious")
    write_file(tmp_path, "file", b"new")
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert not (tmp_path / "file").is_symlink()


def test_append_adds_only_to_the_file_it_expects(tmp_path: Path) -> None:
    """Another size, a link, a FIFO, a directory or nothing at all: False, and nothing is written."""
    path = tmp_path / "log"
    assert append_line(path, b"one\n", 0) is False
    path.write_bytes(b"")
    assert append_line(path, b"one\n", 0) is True
    assert append_line(path, b"two\n", 4) is True
    assert append_line(path, b"three\n", 4) is False
    assert path.read_bytes() == b"one\ntwo\n"
    (tmp_path / "link").symlink_to("log")
    os.mkfifo(tmp_path / "fifo")
    assert append_line(tmp_path / "link", b"x", 8) is False
    assert append_line(tmp_path / "fifo", b"x", 0) is False
    assert append_line(tmp_path, b"x", 0) is False
    assert path.read_bytes() == b"one\ntwo\n"


def test_read_is_bounded_and_takes_regular_files_only(tmp_path: Path) -> None:
    """Nothing larger, no FIFO (which would block), no device (which would act), no link unless the caller follows."""
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    assert read_regular(path, 5) == b"12345"
    assert read_regular(tmp_path / "link", 5, follow=True) == b"12345"
    for wrong, said in (
        (path, errno.EFBIG),
        (tmp_path / "link", errno.EINVAL),
        (tmp_path / "fifo", errno.EINVAL),
        (tmp_path, errno.EISDIR),
        (Path("/dev/zero"), errno.EINVAL),
        (tmp_path / "missing", errno.ENOENT),
    ):
        with pytest.raises(OSError) as caught:
            read_regular(wrong, 4)
        assert caught.value.errno == said
        assert caught.value.strerror


def test_no_descriptor_is_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also not when a call in the middle fails."""

    def fail(*_args: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (tmp_path / "log").write_bytes(b"")
    before = len(names(Path("/proc/self/fd")))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        for action in (
            lambda: write_file(tmp_path, "file", b"x"),
            lambda: append_line(tmp_path / "log", b"x", 0),
            lambda: sync_file(tmp_path / "log"),
        ):
            with pytest.raises(StateNotWritable):
                action()
    assert len(names(Path("/proc/self/fd"))) == before
