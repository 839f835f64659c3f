"""How many bytes a server may send for one answer, whatever it wraps them in.

The body is bounded where it is read. What never becomes a body is bounded here: interim answers (1xx) without end,
chunk extensions, one-byte chunks. Each of them costs time to parse, on a device that has little.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

HEADS: Final = 512 * 1024
"""Bytes for heads and interim answers: those of one that is as large as it may be."""


class Room:
    """What is left for the exchange under way; `used_up` says that the server wanted more."""

    def __init__(self) -> None:
        """Leave no room before the first exchange."""
        self.left = 0
        self.used_up = False

    def begin(self, limit: int) -> None:
        """Begin an exchange whose answer's body may have `limit` bytes; its wrapping may have as many."""
        self.left, self.used_up = HEADS + 2 * limit, False

    def bound(self, connector: aiohttp.BaseConnector) -> None:
        """Have every connection that `connector` makes from now on keep to this room."""
        loop = asyncio.get_running_loop()
        # aiohttp's own inside. If it is called otherwise one day, nothing is bounded here, which the tests see.
        connector._factory = partial(_Bounded, loop, self)  # type: ignore[assignment]  # as above


class _Bounded(ResponseHandler):
    def __init__(self, loop: asyncio.AbstractEventLoop, room: Room) -> None:
        super().__init__(loop)
        self._room = room

    def data_received(self, data: bytes) -> None:
        self._room.left -= len(data)
        if self._room.left >= 0:
            super().data_received(data)
            return
        self._room.used_up = True
        if self.transport is not None:
            self.transport.abort()
