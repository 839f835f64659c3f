"""Answers that go on piece by piece: bounded like whole ones, in size, by stall and in total, and never resent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from margod.model.wire import SignedRequest
from margod.wfm.client import REFUSAL_LIMIT
from tests.support.patience import within
from tests.support.rawserver import Certificates, RawServer, Turn
from tests.wfm.common import OK, a_client, answered, failed, get, says

LARGE = 3_000_000


class Kept:
    """A sink that keeps what it gets, and does something at each piece."""

    def __init__(self, after: float = 0.0, error: Exception | None = None) -> None:
        self.heads: list[tuple[int, Mapping[str, str]]] = []
        self.body = b""
        self.first = asyncio.Event()
        self._after, self._error = after, error

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        self.heads.append((status, headers))

    async def write(self, piece: bytes) -> None:
        self.body += piece
        self.first.set()
        if self._error is not None:
            raise self._error
        await asyncio.sleep(self._after)


def large(url: str, limit: int = LARGE) -> SignedRequest:
    """A GET with room for a large answer."""
    return SignedRequest("GET", url, {}, b"", limit)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_success_goes_through(certificates: Certificates, *, chunked: bool) -> None:
    """Head first, then every byte; the answer says status and headers; the connection serves the next request."""
    body = bytes(range(256)) * 10_000

    async def script(turn: Turn) -> None:
        if not chunked:
            await turn.answer(200, body, 'ETag: "x"')
            return
        pieces = [body[at : at + 100_000] for at in range(0, len(body), 100_000)]
        await turn.send(OK + b'ETag: "x"\r\nTransfer-Encoding: chunked\r\n\r\n')
        for piece in pieces:
            await turn.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        await turn.send(b"0\r\n\r\n")

    async with RawServer(script, context=certificates.server()) as server, a_client(certificates) as client:
        for _ in range(2):
            sink = Kept()
            answer = answered(await client.send(large(server.url + "/"), into=sink))
            assert (answer.status, answer.body, answer.headers["etag"]) == (200, b"", '"x"')
            assert [(status, headers["etag"]) for status, headers in sink.heads] == [(200, '"x"')]
            assert sink.body == body
        assert server.connections == 1


@pytest.mark.parametrize("status", [304, 302, 401, 404, 503])
async def test_what_is_no_success_is_read_whole(certificates: Certificates, status: int) -> None:
    """Nothing of it reaches the sink, so that it can be read, and asked again, before the caller hears of it."""
    body = b"" if status == 304 else b'{"error": "x"}'

    async def script(turn: Turn) -> None:
        await turn.answer(status, body)

    async with RawServer(script, context=certificates.server()) as server, a_client(certificates) as client:
        sink = Kept()
        answer = answered(await client.send(large(server.url + "/"), into=sink))
        assert (answer.status, answer.body, sink.heads, sink.body) == (status, body, [], b"")


async def test_a_large_refusal_is_dropped(certificates: Certificates) -> None:
    """A refusal has its own bound, far below that of a bundle."""

    async def script(turn: Turn) -> None:
        await turn.answer(500, b"x" * (REFUSAL_LIMIT + 1))

    async with RawServer(script, context=certificates.server()) as server, a_client(certificates) as client:
        sink = Kept()
        assert failed(await client.send(large(server.url + "/"), into=sink)) == ("answer-too-large", True)
        assert sink.heads == []


@pytest.mark.parametrize("head", [b"Content-Length: 2000\r\n\r\n", b"\r\n"])
async def test_more_than_the_limit(certificates: Certificates, head: bytes) -> None:
    """What is announced as too large never begins; what turns out to be ends without its last piece."""
    async with (
        RawServer(says(OK + head + b"x" * 2000), context=certificates.server()) as server,
        a_client(certificates) as client,
    ):
        sink = Kept()
        assert failed(await client.send(get(server.url + "/"), into=sink)) == ("answer-too-large", True)
        assert len(sink.body) <= 1000
        assert not (sink.heads and b"Length" in head)


async def test_an_answer_that_stops(certificates: Certificates) -> None:
    """A body cut short is a failure although its beginning is with the sink already; nothing is asked again."""
    data = OK + b"Content-Length: 10\r\n\r\nhalf"
    async with (
        RawServer(says(data, "close"), context=certificates.server()) as server,
        a_client(certificates) as client,
    ):
        sink = Kept()
        assert failed(await client.send(get(server.url + "/"), into=sink)) == ("connection-lost", True)
        assert (sink.body, len(server.requests)) == (b"half", 1)


async def test_a_stall_ends_it_and_a_steady_trickle_does_not(certificates: Certificates) -> None:
    """The timeout is that between two pieces: a whole that takes longer comes through, a stall does not."""

    async def script(turn: Turn) -> None:
        await turn.send(OK + b"Content-Length: 7\r\n\r\n")
        for _ in range(6):
            await asyncio.sleep(0.4)
            await turn.send(b"x")
        if turn.request.line.startswith("GET /whole"):
            await turn.send(b"x")
        await turn.hold()

    async with (
        RawServer(script, context=certificates.server()) as server,
        a_client(certificates, timeout=2.0) as client,
    ):
        sink = Kept()
        answered(await client.send(get(server.url + "/whole"), into=sink, seconds=30.0))
        assert sink.body == b"x" * 7
        assert failed(await client.send(get(server.url + "/stall"), into=Kept(), seconds=30.0)) == ("timed-out", True)


async def test_the_whole_is_bounded(certificates: Certificates) -> None:
    """A server that trickles for ever is cut off after the total."""

    async def script(turn: Turn) -> None:
        await turn.send(OK + b"\r\n")
        while True:
            await turn.send(b"x")
            await asyncio.sleep(0.05)

    async with RawServer(script, context=certificates.server()) as server, a_client(certificates) as client:
        async with asyncio.timeout(20):
            result = await client.send(get(server.url + "/"), into=Kept(), seconds=0.5)
        assert failed(result) == ("timed-out", True)


async def test_a_slow_sink_is_not_the_servers_stall(certificates: Certificates) -> None:
    """The time that the sink takes does not count against the server; the total holds all the same."""

    async def script(turn: Turn) -> None:
        await turn.answer(200, b"x" * 100)

    async with (
        RawServer(script, context=certificates.server()) as server,
        a_client(certificates, timeout=1.0) as client,
    ):
        sink = Kept(after=1.5)
        answered(await client.send(get(server.url + "/"), into=sink, seconds=30.0))
        assert len(sink.body) == 100
        assert failed(await client.send(get(server.url + "/"), into=Kept(after=30.0), seconds=0.5))[0] == "timed-out"


async def test_a_sink_that_breaks_ends_the_exchange(certificates: Certificates) -> None:
    """A caller who is gone costs the connection, not the client: the next request goes through."""

    async def script(turn: Turn) -> None:
        await turn.answer(200, b"x" * LARGE)

    async with RawServer(script, context=certificates.server()) as server, a_client(certificates) as client:
        assert failed(await client.send(large(server.url + "/"), into=Kept(error=ConnectionResetError())))[1]
        sink = Kept()
        answered(await client.send(large(server.url + "/"), into=sink))
        assert len(sink.body) == LARGE


async def test_close_ends_a_stream(certificates: Certificates) -> None:
    """A stop waits neither for the server nor for the sink."""

    async def script(turn: Turn) -> None:
        await turn.answer(200, b"x" * 100)

    async with RawServer(script, context=certificates.server()) as server, a_client(certificates) as client:
        sink = Kept(after=60.0)
        sending = asyncio.ensure_future(client.send(get(server.url + "/"), into=sink, seconds=60.0))
        await sink.first.wait()
        async with within(5):
            await client.close()
            assert failed(await sending) == ("connection-lost", True)
