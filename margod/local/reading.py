"""Reading what a caller sends: bounded in size and time."""

from __future__ import annotations

import asyncio

from aiohttp.web_protocol import RequestPayloadError
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response

from margod.local.answers import error_answer
from margod.local.connection import HEAD_TIMEOUT


async def read_body(request: BaseRequest, limit: int) -> bytes | Response:
    """Return the body, or the refusal of one that is large or slow."""
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
    except TimeoutError:
        return error_answer(408, close=True)
    except RequestPayloadError:
        return error_answer(400, close=True)
    return bytes(body)


async def _expect(request: BaseRequest, limit: int) -> None:
    """Ask for a body that the caller holds back; too large a one is refused without being sent (RFC 9110, 10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue" and (request.content_length or 0) <= limit:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
