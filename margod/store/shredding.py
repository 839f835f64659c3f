"""Removing so that nothing can be read any more, as far as a program can see to that."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from margod.store.calls import remove, remove_quietly, sync, translated, write_all

_PART = 1 << 16


def shred_tree(path: Path) -> None:
    """Overwrite every regular file at and under `path` with zeros, sync it, and remove the tree. Follows no link.

    What a journal, a snapshot or the flash's own controller kept of the old bytes is out of reach. A file that cannot
    be overwritten is removed all the same. Raises StateNotWritable if it cannot be removed. Not synced.
    """
    with translated(path):
        shred(path)


def shred(path: Path) -> None:
    """Do as `shred_tree`; raises OSError."""
    _overwrite(path)
    remove(path)


def shred_quietly(path: Path) -> None:
    """Clear away something half written; the error that is under way matters more than this one."""
    with suppress(OSError):
        _overwrite(path)
    remove_quietly(path)


def _overwrite(path: Path) -> None:
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(kind):
        for entry in path.iterdir():
            _overwrite(entry)
        sync(path, os.O_DIRECTORY)
        return
    if not stat.S_ISREG(kind):
        return
    with suppress(OSError):
        fd = open_to_overwrite(path)
        try:
            overwrite_opened(fd)
        finally:
            os.close(fd)


def open_to_overwrite(path: Path) -> int:
    """Return a descriptor of the file `path`, no link followed, nothing waited for. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def overwrite_opened(fd: int) -> None:
    """Overwrite the regular file `fd` with zeros where it stands, and sync it; nothing else is. Raises OSError."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        return
    left = found.st_size
    while left > 0:
        write_all(fd, bytes(min(left, _PART)))
        left -= _PART
    os.fsync(fd)
