"""Reading what a caller sends: bounded in size and time."""

from __future__ import annotations

import asyncio
from typing import cast

from aiohttp.web_protocol import RequestPayloadError
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response

from margod.local.answers import error_answer
from margod.local.connection import HEAD_TIMEOUT, Connection
from margod.model.reasons import DOOR_BUSY


class Allowance:
    """Bytes of bodies that may be held at a time, of all callers who share it."""

    def __init__(self, size: int) -> None:
        """Allow `size` bytes, > 0."""
        self.left = size


class Share:
    """What one body takes of an allowance, until `release`."""

    def __init__(self, allowance: Allowance) -> None:
        """Take nothing yet."""
        self._allowance, self._taken = allowance, 0

    def take(self, size: int) -> bool:
        """Take `size` bytes more; False, and nothing is taken, if they are not there."""
        if size > self._allowance.left:
            return False
        self._allowance.left -= size
        self._taken += size
        return True

    def release(self) -> None:
        """Give everything back."""
        self._allowance.left += self._taken
        self._taken = 0


async def read_body(request: BaseRequest, limit: int, share: Share | None = None) -> bytes | Response:
    """Return the body, or the refusal of one that is large or slow, or for which its `share` has no place."""
    await _expect(request, limit)
    if (request.content_length or 0) > limit:
        return error_answer(413, close=True)
    body = bytearray()
    try:
        async with asyncio.timeout(HEAD_TIMEOUT):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit:
                    return error_answer(413, close=True)
                if share is not None and not share.take(len(chunk)):
                    return _no_place()
    except TimeoutError:
        return error_answer(408, close=True)
    except RequestPayloadError:
        return error_answer(400, close=True)
    cast("Connection", request.protocol).complete()
    return bytes(body)


def _no_place() -> Response:
    answer = error_answer(503, DOOR_BUSY.code, "Other requests' bodies take all the room there is.", close=True)
    answer.headers["Retry-After"] = "5"
    return answer


async def _expect(request: BaseRequest, limit: int) -> None:
    """Ask for a body that the caller holds back; too large a one is refused without being sent (RFC 9110, 10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue" and (request.content_length or 0) <= limit:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
