"""What the tests of the HTTP client share: requests, and scripts that are one line of bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Literal

from margod.model.wire import Answer, SignedRequest, TransportFailure
from margod.wfm import WfmClient
from tests.support.rawserver import Certificates, Script, Turn

OK = b"HTTP/1.1 200 OK\r\n"
LIMIT = 1_000

Ending = Literal["hold", "close", "vanish", "reset"]


def post(url: str, headers: Mapping[str, str] | None = None, body: bytes = b"body") -> SignedRequest:
    """A POST as the protocols build it."""
    return SignedRequest("POST", url, headers or {}, body, LIMIT)


def get(url: str, headers: Mapping[str, str] | None = None) -> SignedRequest:
    """A GET as the protocols build it."""
    return SignedRequest("GET", url, headers or {}, b"", LIMIT)


def says(data: bytes, ending: Ending = "hold") -> Script:
    """A script that sends `data` and then does `ending`."""

    async def script(turn: Turn) -> None:
        await turn.send(data)
        if ending == "hold":
            await turn.hold()
        else:
            getattr(turn, ending)()

    return script


async def answers(turn: Turn) -> None:
    """A script of a good server."""
    await turn.answer(200, b"{}")


@asynccontextmanager
async def a_client(
    certificates: Certificates, *, timeout: float = 20.0, connect_timeout: float | None = None
) -> AsyncIterator[WfmClient]:
    """A client that trusts `certificates`, closed at the end."""
    client = WfmClient(certificates.client(), timeout=timeout, connect_timeout=connect_timeout)
    try:
        yield client
    finally:
        await client.close()


def failed(result: Answer | TransportFailure) -> tuple[str, bool]:
    """Return code and `sent` of a failure; an answer fails the test."""
    assert isinstance(result, TransportFailure), result
    return result.reason.code, result.sent


def answered(result: Answer | TransportFailure) -> Answer:
    """Return the answer; a failure fails the test."""
    assert isinstance(result, Answer), result
    return result
