"""Reading the key and the certificate that the operator names in the configuration: regular files, bounded."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from margod.model import reasons
from margod.model.errors import IdentityError
from margod.model.text import clean


def read_file(path: Path, name: str, limit: int) -> tuple[bytes, os.stat_result]:
    """Return the content, at most `limit` bytes, and the status of the very file that was read; links are followed.

    Never waits on a FIFO or a device. `name` is the setting that holds the path. Raises IdentityError: unreadable
    (missing, forbidden, not a regular file) or invalid (larger than `limit`).
    """
    try:
        # O_NONBLOCK: opening a FIFO without a writer would wait for ever.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise IdentityError(reasons.IDENTITY_FILE_UNREADABLE, f"{shown(path, name)} is not a regular file")
            data = b""
            while len(data) <= limit and (piece := os.read(fd, limit + 1 - len(data))):
                data += piece
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        says = (isinstance(error, OSError) and error.strerror) or "not a usable path"
        raise IdentityError(reasons.IDENTITY_FILE_UNREADABLE, f"{shown(path, name)}: {says}") from error
    if len(data) > limit:
        raise IdentityError(reasons.IDENTITY_INVALID, f"{shown(path, name)} is larger than {limit // 1024} KiB")
    return data, status


def check_private(status: os.stat_result, path: Path, name: str) -> None:
    """Raise IdentityError (key-exposed) if others than the owner may use the file that holds a key.

    One exception: a daemon without root's rights may be handed a file of root's by its group or an access control list,
    as systemd does with credentials; both show as the group's right to read.
    """
    handed_by_root = status.st_uid == 0 and os.geteuid() != 0
    forbidden = 0o037 if handed_by_root else 0o077
    if status.st_mode & forbidden:
        mode = stat.S_IMODE(status.st_mode)
        raise IdentityError(
            reasons.KEY_EXPOSED,
            f"{shown(path, name)} has mode {mode:04o}: others than its owner may use it, so it is not used",
            hint=f"chmod 600 {clean(str(path))}, and think about a new key: this one may have been read.",
        )


def shown(path: Path, name: str) -> str:
    """Return how a file is named in messages: its path and the setting that names it."""
    return f"{clean(str(path))} ({name})"
