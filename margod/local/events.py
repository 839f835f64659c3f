"""`GET /v1/events`: the status document as server-sent events, at once and at every change."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse

from margod.local.answers import error_answer
from margod.local.connection import Connection
from margod.local.controller import Controller
from margod.local.routing import Access

SUBSCRIBERS: Final = {Access.STATUS: 20, Access.AGENT: 16, Access.ADMIN: 8}
"""Callers that may listen at a time on each socket: what is taken on one is not missing on another."""
SUBSCRIBERS_PER_UID: Final = 8
"""Callers of one user that may listen at a time on one socket; on the status socket always under half of all."""


class EventStreams:
    """All subscribers of one socket."""

    def __init__(self, controller: Controller, access: Access) -> None:
        """Take the documents from `controller.changes()`, one iterator for each subscriber of the socket `access`."""
        self._controller = controller
        self._most = SUBSCRIBERS[access]
        self._counts: Counter[int] = Counter()
        self._stopping: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def stop(self) -> None:
        """End every stream after what it has sent; later ones end at once."""
        if not self._stopping.done():
            self._stopping.set_result(None)

    async def subscribe(self, request: BaseRequest, connection: Connection) -> StreamResponse:
        """Answer with a stream that ends when the caller goes or the server stops, or with 503 when there are too many.

        A caller that does not read is dropped by its connection's write timeout.
        """
        uid = connection.peer.uid
        if self._counts.total() >= self._most or self._counts[uid] >= SUBSCRIBERS_PER_UID:
            return error_answer(503)
        self._counts[uid] += 1
        connection.stream()
        changes = self._controller.changes()
        try:
            return await self._stream(request, connection, changes)
        finally:
            connection.streaming = False
            self._counts[uid] -= 1
            if isinstance(changes, AsyncGenerator):
                await changes.aclose()

    async def _stream(
        self, request: BaseRequest, connection: Connection, changes: AsyncIterator[dict[str, object]]
    ) -> StreamResponse:
        response = StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        while True:
            upcoming = asyncio.ensure_future(_next(changes))
            try:
                await asyncio.wait((upcoming, connection.gone, self._stopping), return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not upcoming.done():
                    upcoming.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await upcoming
            if connection.gone.done() or self._stopping.done():
                return response
            if (document := upcoming.result()) is None:
                return response
            data = json.dumps(document, separators=(",", ":"))
            await response.write(f"event: status\ndata: {data}\n\n".encode())


async def _next(changes: AsyncIterator[dict[str, object]]) -> dict[str, object] | None:
    try:
        return await anext(changes)
    except StopAsyncIteration:
        return None
