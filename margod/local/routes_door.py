"""The door's route: `ANY /v1/wfm/{path}` goes to the WFM in the device's name, as model/door.py allows it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, cast

from aiohttp.http import HttpVersion11
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse

from margod.local.answers import error_answer
from margod.local.connection import Connection
from margod.local.controller import Controller
from margod.local.reading import Allowance, Share, read_body
from margod.local.routing import WORK, Call, Route
from margod.model.door import BODY_LIMIT, METHODS, Asked, DoorError, outwards
from margod.model.wire import Answer

PATH: Final = "/v1/wfm/{path*}"
HELD: Final = 8 << 20
"""Bytes of bodies that are held at a time, of all callers of a socket who wait for the WFM."""
UNREAD: Final = 60.0
"""Seconds in all that a caller may keep the answer waiting: it has one of the few connections to the WFM."""
_PREFIX: Final = "/v1/wfm"


def door_routes(controller: Controller) -> list[Route]:
    """Return the route, once for each method that a rule may open."""

    allowance = Allowance(HELD)

    async def forward(call: Call) -> StreamResponse:
        if call.request.version < HttpVersion11:
            return error_answer(505, close=True)
        connection = cast("Connection", call.request.protocol)
        connection.stream()  # a caller that ends its half is gone: nobody waits for the WFM any more
        forwarding = asyncio.ensure_future(_forwarded(controller, call, Share(allowance)))
        try:
            await asyncio.wait((forwarding, connection.gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            connection.streaming = False
            if not forwarding.done():
                forwarding.cancel()
                with suppress(asyncio.CancelledError):
                    await forwarding
        if forwarding.cancelled():
            raise ConnectionError("the caller is gone")
        return forwarding.result()

    return [Route(method, PATH, forward, WORK, None) for method in METHODS.split("|")]


async def _forwarded(controller: Controller, call: Call, share: Share) -> StreamResponse:
    request, peer = call.request, call.peer
    headers: dict[str, str] = {}
    for name, value in request.headers.items():  # repeated ones are one list (RFC 9110, 5.3)
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    path = request.raw_path.removeprefix(_PREFIX)
    asked = Asked(request.method, path, headers, uid=peer.uid, gid=peer.gid, pid=peer.pid)
    passing = _Passing(request, share)
    try:
        answer = await controller.forward(asked, passing.read, passing)
    except _Unread as error:
        return error.answer
    except DoorError as error:
        return passing.broken(error)
    finally:
        share.release()
    return await passing.ended(answer)


class _Unread(Exception):
    """The caller's body cannot be taken; carries what to answer."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


class _Passing:
    """One answer on its way from the WFM to the caller (model.wire.Sink)."""

    def __init__(self, request: BaseRequest, share: Share) -> None:
        self._request, self._share = request, share
        self._response: StreamResponse | None = None
        self._waited = 0.0

    async def read(self) -> bytes:
        """Return the caller's body."""
        body = await read_body(self._request, BODY_LIMIT, self._share)
        if isinstance(body, Response):
            raise _Unread(body)
        return body

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Pass the head on."""
        self._response = StreamResponse(status=status, headers=outwards(headers))
        length = headers.get("content-length", "")
        if length.isdecimal() and status != 204:
            self._response.content_length = int(length)
        await self._response.prepare(self._request)

    async def write(self, piece: bytes) -> None:
        """Pass a piece on, at the caller's pace; hang up on one who takes too long over the whole."""
        assert self._response is not None
        clock = asyncio.get_running_loop().time
        began = clock()
        await self._response.write(piece)
        self._waited += clock() - began
        if self._waited > UNREAD:
            cast("Connection", self._request.protocol).abort()

    async def ended(self, answer: Answer) -> StreamResponse:
        """Return what has been passed on, or the answer that was no success."""
        if self._response is not None:
            await self._response.write_eof()
            return self._response
        return Response(status=answer.status, headers=outwards(answer.headers), body=answer.body)

    def broken(self, error: DoorError) -> StreamResponse:
        """Return the error; where the answer has begun, hang up, so that nobody takes half of it for the whole."""
        if self._response is not None:
            cast("Connection", self._request.protocol).abort()
            return self._response
        answer = error_answer(error.status, error.code, error.message, error.hint)
        if error.retry_after is not None:
            answer.headers["Retry-After"] = str(max(1, round(error.retry_after)))
        return answer
