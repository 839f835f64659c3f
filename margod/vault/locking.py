"""One margod per state directory: two flocks, held until the vault is closed or the process ends."""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from margod.model.errors import StateInUse, StateUnusable
from margod.model.reasons import STATE_IN_USE, STATE_UNUSABLE
from margod.vault.check import require_rights

LOCK: Final = "lock"


def lock(directory: Path) -> tuple[int, ...]:
    """Take the lock and return the descriptors that hold it, for `unlock`.

    The directory itself is locked too: a lock file that someone has deleted, or that a full or read-only disk does not
    let us make, excludes nobody. Raises StateInUse, or StateUnusable if the lock cannot be taken.
    """
    held: list[int] = []
    try:
        held.append(_locked(directory, os.O_RDONLY | os.O_DIRECTORY, directory))
        file = _lock_file(directory)
        if file is not None:
            held.append(file)
    except OSError as error:
        unlock(tuple(held))
        raise StateUnusable(STATE_UNUSABLE, f"{directory} cannot be locked: {error.strerror}.") from error
    except BaseException:
        unlock(tuple(held))
        raise
    return tuple(held)


def unlock(held: tuple[int, ...]) -> None:
    """Give the lock back."""
    for fd in held:
        with suppress(OSError):
            os.close(fd)


def _lock_file(directory: Path) -> int | None:
    path = directory / LOCK
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise StateUnusable(STATE_UNUSABLE, f"{path} is not a regular file: remove it.")
        require_rights(path, found)
    except FileNotFoundError:
        pass
    try:
        return _locked(path, os.O_RDONLY | os.O_CREAT | os.O_NONBLOCK, directory)
    except OSError:
        return None


def _locked(path: Path, flags: int, directory: Path) -> int:
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise StateInUse(STATE_IN_USE, f"Another margod is using {directory}.") from error
    except OSError:
        os.close(fd)
        raise
    return fd
