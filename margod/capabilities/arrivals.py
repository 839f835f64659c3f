"""When a device comes or goes: the kernel's uevents (NETLINK_KOBJECT_UEVENT), no more of them than the fact itself."""

from __future__ import annotations

import asyncio
import socket
import struct
from array import array
from collections.abc import Callable
from contextlib import suppress
from typing import Final

_KOBJECT_UEVENT: Final = 15
_KERNEL_GROUP: Final = 1
_SO_ATTACH_FILTER: Final = 26
_READ: Final = 8_192
_MOST_READ: Final = 4_096
"""Events that are dropped at once; a storm's rest waits for the next time."""

DEAF: Final = 60.0
"""Seconds that nothing is heard after an event: what comes and goes all the time costs two wakeups a minute."""


class Arrivals:
    """Calls `happened` after an event, at most once in `DEAF` seconds, and again at their end if there were more.

    Where the kernel or a sandbox has no such netlink, nothing is ever called.
    """

    def __init__(self, happened: Callable[[], None], deaf: float = DEAF) -> None:
        """Listen, in the running event loop, until `close`."""
        self._happened, self._deaf = happened, deaf
        self._timer: asyncio.TimerHandle | None = None
        self._socket: socket.socket | None = None
        with suppress(OSError):
            self._socket = _opened()
            self._listen()

    @property
    def listens(self) -> bool:
        """Whether there is something to hear."""
        return self._socket is not None

    def close(self) -> None:
        """Stop listening."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _listen(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._heard)

    def _heard(self) -> None:
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        self._timer = loop.call_later(self._deaf, self._listen)
        for _ in range(_MOST_READ):
            try:
                self._socket.recv(_READ)
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS: more than fits in; that something happened is all that counts
                continue
        self._happened()


def _opened() -> socket.socket:
    """Return a socket that hears `add` and `remove` of the kernel's, and no `change`. Raises OSError."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _KOBJECT_UEVENT)
    try:
        # Classic BPF on the first byte (`add@/devices/...`): load it, 'a' or 'r' pass, the rest is dropped.
        code = [(0x30, 0, 0, 0), (0x15, 1, 0, ord("a")), (0x15, 0, 1, ord("r")), (0x06, 0, 0, _READ), (0x06, 0, 0, 0)]
        program = array("B", b"".join(struct.pack("HBBI", *each) for each in code))
        address, _ = program.buffer_info()
        opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(code), address))
        opened.bind((0, _KERNEL_GROUP))
    except OSError:
        opened.close()
        raise
    return opened
