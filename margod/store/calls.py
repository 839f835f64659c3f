"""The system calls under the store: whole writes, syncs and removals, and their one translation into our errors."""

# Plain `os` functions are called here and nowhere else, so that a fault campaign can record, replay and break each:
# ruff: noqa: PTH106, PTH108, PTH208

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from margod.model.errors import StateNotWritable
from margod.model.reasons import STATE_NOT_WRITABLE


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a StateNotWritable that names `path` and what the system said."""
    try:
        yield
    except OSError as error:
        said = error.strerror or str(error)
        raise StateNotWritable(STATE_NOT_WRITABLE, f"{path} cannot be written: {said}.") from error


def aside(directory: Path, name: str) -> Path:
    """Return where `name` is prepared before it is renamed into place: one writer at a time, so one name will do."""
    return directory / f".{name}.new"


def create(path: Path, data: bytes, mode: int) -> None:
    """Write `data` into a new file and sync the file. Raises OSError; FileExistsError if there is anything already."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        os.fchmod(fd, mode)  # the umask may have taken bits away
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`: a nearly full disk takes the first part and says nothing. Raises OSError."""
    rest = memoryview(data)
    while rest:
        written = os.write(fd, rest)
        if written <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rest = rest[written:]


def sync(path: Path, flags: int) -> None:
    """Make durable what was done to the file (`flags` O_NOFOLLOW) or directory (O_DIRECTORY). Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove(path: Path) -> None:
    """Remove `path` whatever it is, without following links; nothing there is fine. Raises OSError."""
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(kind):
        os.unlink(path)
        return
    for name in os.listdir(path):
        remove(path / name)
    os.rmdir(path)


def remove_quietly(path: Path) -> None:
    """Give back the room of something half written; the error that is under way matters more than this one."""
    with suppress(OSError):
        remove(path)
