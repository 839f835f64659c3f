"""Single files: replaced as a whole, appended to by whole lines, read within bounds."""

# See calls.py: plain `os` functions, for the fault campaign.
# ruff: noqa: PTH104, PTH116

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from margod.store.calls import aside, create, remove, remove_quietly, sync, translated, write_all
from margod.store.directories import sync_directory
from margod.store.shredding import open_to_overwrite, overwrite_opened


def write_file(directory: Path, name: str, data: bytes, mode: int = 0o600) -> None:
    """Replace or make `directory/name` so that after a crash it holds the old bytes or the new, and all of them.

    When it returns, the new bytes survive a power cut. One writer at a time (the vault's lock). Raises
    StateNotWritable; the old file is then still there, except where only the last sync failed.
    """
    place_file(directory, name, data, mode)
    sync_directory(directory)


def place_file(directory: Path, name: str, data: bytes, mode: int = 0o600) -> None:
    """Do as `write_file`, but leave the name to a `sync_directory` that follows: for many files that count together."""
    path, new = directory / name, aside(directory, name)
    with translated(path):
        try:
            remove(new)
            create(new, data, mode)
            os.rename(new, path)
        except OSError:
            remove_quietly(new)
            raise


def replace_secret(directory: Path, name: str, data: bytes) -> None:
    """Do as `write_file`, and overwrite the old file with zeros once the new one is durable.

    Where that cannot be done, or a crash comes first, its blocks are freed as they are. Raises StateNotWritable.
    """
    old = None
    with suppress(OSError):
        old = open_to_overwrite(directory / name)
    try:
        write_file(directory, name, data)
        if old is not None:
            with suppress(OSError):
                overwrite_opened(old)
    finally:
        if old is not None:
            os.close(old)


def append_line(path: Path, line: bytes, size: int) -> bool:
    """Append `line` to the regular file `path`, which must be `size` bytes long, and sync it.

    Returns False, with nothing written, if there is no such file: then it has to be written anew. When it returns
    True, the line survives a power cut. Raises StateNotWritable; part of the line may then be at the end of the file.
    """
    with translated(path):
        try:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ELOOP, errno.EISDIR, errno.ENXIO}:
                return False
            raise
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size != size:
                return False
            write_all(fd, line)
            os.fsync(fd)
        finally:
            os.close(fd)
    return True


def read_regular(path: Path, limit: int, *, follow: bool = False) -> bytes:
    """Return the whole content of the regular file `path`, at most `limit` bytes.

    Symbolic links are refused unless `follow`; devices and FIFOs are never opened. Raises OSError, whose `strerror` is
    fit to be shown: EFBIG if it is larger, EISDIR for a directory, EINVAL for what is not a regular file.
    """
    require_regular(os.stat(path) if follow else os.lstat(path), path)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    return read_opened(fd, limit, path)


def read_opened(fd: int, limit: int, path: Path) -> bytes:
    """Return the whole content of the open regular file `fd`, named `path`, and close it. Raises as `read_regular`."""
    try:
        require_regular(os.fstat(fd), path)
        parts, room = [], limit + 1
        while room > 0 and (part := os.read(fd, min(room, 1 << 20))):
            parts.append(part)
            room -= len(part)
    finally:
        os.close(fd)
    if room <= 0:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", str(path))
    return b"".join(parts)


def sync_file(path: Path) -> None:
    """Make the content of `path` durable, whoever wrote it. Raises StateNotWritable."""
    with translated(path):
        sync(path, os.O_NOFOLLOW)


def require_regular(found: os.stat_result, path: Path) -> None:
    """Raise OSError unless what was found is a regular file; `path` names it."""
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a directory, not a file", str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
