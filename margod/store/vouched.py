"""Reading a file whose content is sent elsewhere: no link on the way to it is followed but those of who is trusted.

Mounts of orchestrators and credentials of service managers are links, made by root. A link of anybody else could lead
to a file that only this process may read, and have it sent to whom that file was never meant for.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Final

from margod.store.files import read_opened, require_regular

_LINKS: Final = 40
"""Links on one way, as for the kernel."""
_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def read_vouched(path: Path, limit: int, owners: Collection[int]) -> bytes:
    """Return the whole content of the regular file at the absolute `path`, at most `limit` bytes.

    `owners`: the user ids whose symbolic links are followed, anywhere on the way. Raises OSError as `read_regular`, and
    EPERM for a link of somebody else.
    """
    at, rest, links = _root(), list(reversed(path.parts[1:])), 0
    try:
        while rest:
            name = rest.pop()
            found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            try:
                seen = os.fstat(found)
                if stat.S_ISLNK(seen.st_mode):
                    links += 1
                    to = _followed(found, seen.st_uid in owners and links <= _LINKS, path)
                    rest.extend(part for part in reversed(to.split("/")) if part not in ("", "."))
                    if to.startswith("/"):
                        at = _instead(at, _root())
                elif rest:
                    at = _instead(at, os.dup(found))
                else:
                    require_regular(seen, path)
                    return read_opened(os.open(name, _READ, dir_fd=at), limit, path)
            finally:
                os.close(found)
    finally:
        os.close(at)
    raise IsADirectoryError(errno.EISDIR, "a directory, not a file", str(path))


def _root() -> int:
    return os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _instead(before: int, now: int) -> int:
    os.close(before)
    return now


def _followed(link: int, may: bool, path: Path) -> str:
    if not may:
        raise OSError(errno.EPERM, "a symbolic link of another user, or too many, on the way to it", str(path))
    return os.readlink("", dir_fd=link)
