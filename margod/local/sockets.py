"""Unix sockets as files: bound without a moment of wider rights, replaced when stale, removed when ours."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from margod.model import reasons
from margod.model.errors import MargodError, StateInUse
from margod.model.reasons import LOCAL_SOCKET_FAILED

PATH_LIMIT: Final = 107
"""Bytes of a Unix socket's path: sun_path holds 108 with its terminator (unix(7))."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who connected, as the kernel recorded it at connect(2) (SO_PEERCRED); -1 where it is not known."""

    pid: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket and the file that leads to it. `inode` (device, number) tells our file from a later one's."""

    socket: socket.socket
    path: Path
    inode: tuple[int, int]

    def remove(self) -> None:
        """Remove the socket's file unless another has taken its place, and close the socket."""
        with contextlib.suppress(OSError):
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino) == self.inode:
                self.path.unlink()
        self.socket.close()


def listen(path: Path, *, mode: int, gid: int | None) -> Listener:
    """Return a listening socket at `path` with exactly `mode`, in group `gid` (None: unchanged).

    A socket that nobody listens on is stale and is replaced. Raises StateInUse if somebody does (a margod with another
    state directory), MargodError (local-socket-failed) naming the path for everything else.
    """
    aside = path.with_name(path.name + "~")
    length = len(os.fsencode(aside))
    if length > PATH_LIMIT:
        message = f"The socket path {path} is {length - 1} bytes long; Linux allows {PATH_LIMIT - 1} here."
        raise MargodError(LOCAL_SOCKET_FAILED, message, hint="Set local.directory to a shorter path.")
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:  # no descriptors left
        message = f"The local socket {path} could not be opened: {error.strerror or error}."
        raise MargodError(LOCAL_SOCKET_FAILED, message) from error
    try:
        for found in (path, aside):
            _require_socket_or_nothing(found)
        _require_silence(path)
        aside.unlink(missing_ok=True)
        # On Linux the mode of the unbound socket, less the umask, is the mode of the file that bind(2) makes: it is
        # born with the owner's rights alone, and gets its name only when everything about it is settled.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(os.fspath(aside))
        if gid is not None:
            os.chown(aside, -1, gid)
        aside.chmod(mode)
        listener.listen(128)
        made = os.lstat(aside)
        aside.rename(path)
    except OSError as error:
        listener.close()
        message = f"The local socket {path} could not be opened: {error.strerror or error}."
        raise MargodError(LOCAL_SOCKET_FAILED, message) from error
    except MargodError:
        listener.close()
        raise
    return Listener(listener, path, (made.st_dev, made.st_ino))


def own_directory(path: Path, *, mode: int, gid: int | None = None) -> None:
    """Make the directory `path` if it is missing, and give it `mode` and group (None: unchanged).

    Raises MargodError if it is not ours.
    """
    try:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            message = f"{path} has to be a directory that belongs to the user of margod."
            raise MargodError(LOCAL_SOCKET_FAILED, message, hint=f"Remove {path} and start margod again.")
        if gid is not None and found.st_gid != gid:
            os.chown(path, -1, gid)
        if stat.S_IMODE(found.st_mode) != mode:
            path.chmod(mode)
    except OSError as error:
        message = f"The directory {path} could not be made: {error.strerror or error}."
        raise MargodError(LOCAL_SOCKET_FAILED, message) from error


def peer_of(connection: object) -> Peer:
    """Return who is at the other end of a connected Unix socket (anything with `getsockopt`)."""
    form = "3i"
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(form))  # type: ignore[attr-defined]  # asyncio's TransportSocket and socket share no base
    except (OSError, AttributeError):
        return Peer(-1, -1, -1)
    pid, uid, gid = struct.unpack(form, raw)
    return Peer(pid, uid, gid)


def _require_silence(path: Path) -> None:
    """Raise StateInUse if a process listens at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as caller:
        try:
            caller.connect(os.fspath(path))
        except BlockingIOError:
            pass  # its queue is full: somebody is there
        except OSError:
            return
    message = f"Another margod answers on {path}."
    raise StateInUse(reasons.STATE_IN_USE, message, hint="Stop it, or give this one another local.directory.")


def _require_socket_or_nothing(path: Path) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        message = f"{path} exists and is not a socket."
        raise MargodError(LOCAL_SOCKET_FAILED, message, hint=f"Look what {path} is, and remove it.")
