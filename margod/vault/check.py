"""Whether the directory and what is in it are ours to use: kind, owner, mode; and reading with that checked.

Three ends are told apart, because what is done about them differs: damage (fall back and quarantine), a newer format
(touch nothing), and what a person has to mend first (`StateUnusable` with the command; nothing is changed).
"""

from __future__ import annotations

import errno
import os
import pwd
import shlex
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from margod.model.errors import StateNotWritable, StateUnusable
from margod.model.reasons import STATE_NOT_WRITABLE, STATE_UNUSABLE
from margod.store import read_regular

Guard = Callable[[Path, os.stat_result], None]
"""Raises StateUnusable if the rights of what was found at a path are not those of a vault."""

_SICK: Final = {errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.EILSEQ, errno.EOVERFLOW}
_WRONG_KIND: Final = {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EFBIG, errno.ENXIO}
_DAMAGE: Final = _SICK | _WRONG_KIND
"""What says that the stored bytes are gone. Anything else (no rights, no descriptors, no memory) may pass again."""

_UNWRITABLE: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


class Damaged(Exception):
    """A file is not what was written; the message says which and how.

    `unreadable` if that is what the disk says (EIO and the like), which it may take back; false if the bytes say so.
    """

    def __init__(self, message: str, *, unreadable: bool = False) -> None:
        super().__init__(message)
        self.unreadable = unreadable


class NewerFormat(Exception):
    """A file is intact and of a format that this margod does not know."""


def ensure_directory(directory: Path) -> None:
    """Make sure that `directory` is a directory of ours with mode 0700; make it if only it is missing.

    Raises StateUnusable with the command that mends it, or StateNotWritable if it cannot be made for want of room.
    """
    try:
        found = directory.lstat()
    except FileNotFoundError:
        _make(directory)
        return
    except OSError as error:
        raise _unusable(f"{directory} cannot be reached: {error.strerror}.") from error
    require_directory(directory, found)


def require_directory(directory: Path, found: os.stat_result, owner: int | None = None) -> None:
    """Raise StateUnusable, with the command that mends it, unless this is a directory that `owner` alone may use."""
    if stat.S_ISLNK(found.st_mode):
        raise _unusable(f"{directory} is a symbolic link; write the directory it stands for into state.directory.")
    if not stat.S_ISDIR(found.st_mode):
        raise _unusable(
            f"{directory} is not a directory; move it away: `mv {_quoted(directory)} {_quoted(directory)}.old`."
        )
    require_rights(directory, found, owner)


def require_rights(path: Path, found: os.stat_result, owner: int | None = None) -> None:
    """Raise StateUnusable, with the command that mends it, unless `path` is the owner's and closed to everyone else.

    `owner` is a user id, by default our own.
    """
    owner = os.geteuid() if owner is None else owner
    if found.st_uid != owner:
        raise _unusable(
            f"{path} belongs to {_user(found.st_uid)}, not to {_user(owner)}: `chown {_user(owner)}: {_quoted(path)}`."
        )
    mode = stat.S_IMODE(found.st_mode) & 0o777
    wanted = 0o700 if stat.S_ISDIR(found.st_mode) else 0o600
    needed = 0o700 if stat.S_ISDIR(found.st_mode) else 0o400
    if mode & 0o077 or mode & needed != needed:
        raise _unusable(f"{path} has mode {mode:04o}: `chmod {wanted:04o} {_quoted(path)}`.")


def anyones(_path: Path, _found: os.stat_result) -> None:
    """Take any rights: the guard of a reader that only looks, perhaps as root."""


def read_directory(path: Path, guard: Guard) -> list[str]:
    """Return the names in the directory `path` in order. Raises Damaged or StateUnusable, as `read_file` does."""
    try:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise Damaged(f"{path.name} is not a directory")
        guard(path, found)
        return sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        raise _read_error(path, error) from error


def read_file(path: Path, limit: int, guard: Guard) -> bytes:
    """Return the bytes of the regular file `path`.

    Raises Damaged if the bytes are gone (missing, another kind, larger than `limit`, I/O error), StateUnusable if
    `guard` refuses them or if they cannot be read now.
    """
    try:
        found = path.lstat()
        if stat.S_ISREG(found.st_mode):
            guard(path, found)
        return read_regular(path, limit)
    except OSError as error:
        raise _read_error(path, error) from error


def _read_error(path: Path, error: OSError) -> Exception:
    if error.errno in _DAMAGE:
        return Damaged(f"{path.parent.name}/{path.name}: {error.strerror}", unreadable=error.errno in _SICK)
    return _unusable(f"{path} cannot be read: {error.strerror}.")


def _make(directory: Path) -> None:
    if not directory.parent.is_dir():
        raise _unusable(f"{directory.parent} does not exist: `{_install(directory)}`.")
    try:
        directory.mkdir(mode=0o700)
    except OSError as error:
        if error.errno in _UNWRITABLE:
            message = f"{directory} cannot be made: {error.strerror}."
            raise StateNotWritable(STATE_NOT_WRITABLE, message) from error
        raise _unusable(f"{directory} cannot be made: {error.strerror}: `{_install(directory)}`.") from error


def _install(directory: Path) -> str:
    return f"mkdir -p {_quoted(directory.parent)} && install -d -o {_user(os.geteuid())} -m 0700 {_quoted(directory)}"


def _unusable(message: str) -> StateUnusable:
    return StateUnusable(STATE_UNUSABLE, message)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
