"""When an interface or an address comes or goes: rtnetlink (rtnetlink(7)), no more of it than the fact itself."""

from __future__ import annotations

import asyncio
import os
import socket
from types import TracebackType
from typing import Final, Self

_GROUPS: Final = 0x1 | 0x10 | 0x100
"""RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR (linux/rtnetlink.h)."""
_READ: Final = 65_536
CALM: Final = 0.5
"""Seconds without news before a change is told: interfaces come up in several steps."""


class Links:
    """Tells of changes: `async with Links() as links: await links.changed(30)`.

    Where the kernel or a sandbox has no netlink, only the timeouts are left, which is how it works then.
    """

    def __init__(self) -> None:
        """Nothing is opened yet."""
        self._socket: socket.socket | None = None
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Listen."""
        try:
            opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        except OSError:
            return self
        try:
            opened.bind((0, _GROUPS))
        except OSError:
            opened.close()
            return self
        self._socket = opened
        asyncio.get_running_loop().add_reader(opened, self._read)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()

    async def changed(self, timeout: float | None) -> bool:  # noqa: ASYNC109 - an answer of its own, no error
        """Wait for a change and for calm after it; return False if there is none within `timeout` seconds."""
        try:
            await asyncio.wait_for(self._news.wait(), timeout)
        except TimeoutError:
            return False
        for _ in range(10):  # an interface that flaps all the time is told of too
            self._news.clear()
            await asyncio.sleep(CALM)
            if not self._news.is_set():
                break
        self._news.clear()
        return True

    def _read(self) -> None:
        """Drop what lies there; a full buffer (ENOBUFS) is news as well."""
        assert self._socket is not None
        self._news.set()
        try:
            while os.read(self._socket.fileno(), _READ):
                pass
        except OSError:
            return
