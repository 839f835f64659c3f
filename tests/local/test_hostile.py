"""Callers that misbehave: each is answered or hung up on in bounded time, and the next caller is served."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from margod.local import LocalServer
from margod.local import connection as limits
from margod.local.events import SUBSCRIBERS_PER_UID
from margod.local.guard import PER_UID
from tests.support.local_api import TIMEOUT, SteeredController, connected, exchange, get, head_and_json
from tests.support.patience import within

pytestmark = pytest.mark.usefixtures("server")
MEGABYTE = 1_048_576


@pytest.fixture
def status_path(directory: Path) -> Path:
    return directory / "status.sock"


@pytest.fixture(autouse=True)
async def still_serving(
    server: LocalServer, status_path: Path, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[None]:
    """After each test: the next caller is served at once, no traceback was written, memory did not grow."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with capture_logs() as logs, caplog.at_level(logging.DEBUG):
        yield
        async with within(2):
            status, _, _ = head_and_json(await exchange(status_path, get("/v1/status")))
        assert status == 200
    assert [record for record in caplog.records if record.exc_info or record.name.startswith("aiohttp")] == []
    assert [entry for entry in logs if entry["log_level"] == "error"] == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60 * 1024


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n\r\nhello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
        b"GET\r\n\r\n",
        b"GET /v1/status HTTP/9.9\r\n\r\n",
        b"BREW /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n",
        b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_garbage(status_path: Path, data: bytes) -> None:
    """Pins 400 with a JSON error and the end of the connection."""
    answer = await exchange(status_path, data)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")), answer
    assert head_and_json(answer)[2]["error"]["code"] == "bad-request"


@pytest.mark.parametrize("start", [b"GET /", b"GET /v1/status HTTP/1.1\r\nX: ", b"GET /v1/status HTTP/1.1\r\n"])
async def test_head_of_100_megabytes(status_path: Path, start: bytes) -> None:
    """Pins that a head without end is cut off early and kept in no memory."""
    filling = b"a: b\r\n" * 174_763 if start.endswith(b"\n") else b"a" * MEGABYTE
    answer = await _pour(status_path, start, filling)
    assert answer == b"" or b" 400 " in answer.split(b"\r\n")[0]


@pytest.mark.parametrize(
    ("header", "filling"),
    [
        (b"Content-Length: 104857600", b"a" * MEGABYTE),
        (b"Content-Length: 104857600\r\nExpect: 100-continue", b"a" * MEGABYTE),
        (b"Transfer-Encoding: chunked", b"100000\r\n" + b"a" * MEGABYTE + b"\r\n"),
    ],
)
async def test_body_of_100_megabytes(status_path: Path, header: bytes, filling: bytes) -> None:
    """Pins 413 for a body that no route wants, announced or not, read or not."""
    answer = await _pour(status_path, b"GET /v1/status HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n", filling)
    assert head_and_json(answer)[2]["error"]["code"] == "request-too-large"


async def test_a_small_body_is_dropped(status_path: Path) -> None:
    """Pins that a body within the bound is no error, nor taken for the next request."""
    request = b"GET /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    answer = await exchange(status_path, request + get("/v1/health"))
    assert answer.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize(
    "sent", [b"GET /", b"GET /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\nhe"], ids=["head", "body"]
)
async def test_slow_requests(status_path: Path, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pins that a request which does not end is hung up on after its time, though single bytes keep coming."""
    monkeypatch.setattr(limits, "HEAD_TIMEOUT", 0.5)
    monkeypatch.setattr("margod.local.reading.HEAD_TIMEOUT", 0.5)
    async with connected(status_path) as (reader, writer):
        writer.write(sent)
        started = time.monotonic()
        dripping = asyncio.create_task(_drip(writer))
        async with within(4):
            with contextlib.suppress(ConnectionError):
                while await reader.read(1024):
                    pass
        dripping.cancel()
        assert time.monotonic() - started > 0.4


async def test_a_thousand_idle_connections(status_path: Path) -> None:
    """Pins that the same user's idle crowd is thinned to its bound and delays a new caller by nothing to speak of."""
    crowd = []
    try:
        for _ in range(1000):
            one = socket.socket(socket.AF_UNIX)
            one.setblocking(False)
            crowd.append(one)
            await asyncio.get_running_loop().sock_connect(one, str(status_path))
        for _ in range(5):
            async with within(1):
                status, _, _ = head_and_json(await exchange(status_path, get("/v1/status")))
            assert status == 200
        assert sum(_is_open(one) for one in crowd) <= PER_UID
    finally:
        for one in crowd:
            one.close()


async def test_a_crowd_that_drips(status_path: Path) -> None:
    """Pins that half-sent requests do not hold a place against a new caller either."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(PER_UID + 20):
            _, writer = await stack.enter_async_context(connected(status_path))
            writer.write(b"GET /v1/st")
        status, _, _ = head_and_json(await exchange(status_path, get("/v1/status")))
        assert status == 200


async def test_half_closed(status_path: Path) -> None:
    """Pins that a caller who ends its half after the request still gets the answer; half a request gets none."""
    request = get("/v1/status", headers="")
    assert head_and_json(await exchange(status_path, request, half_close=True))[0] == 200
    assert await exchange(status_path, request[:-2], half_close=True) == b""
    assert await exchange(status_path, b"", half_close=True) == b""


async def test_a_listener_that_goes_away(status_path: Path, controller: SteeredController) -> None:
    """Pins that the daemon forgets a listener at once, without waiting for the next change."""
    async with connected(status_path) as (_, writer):
        writer.write(get("/v1/events"))
        await controller.until_listeners(1)
    await controller.until_listeners(0)


async def test_a_listener_that_does_not_read(
    status_path: Path, controller: SteeredController, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins that a listener with full buffers is dropped after its time."""
    monkeypatch.setattr(limits, "WRITE_TIMEOUT", 0.2)
    one = socket.socket(socket.AF_UNIX)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.setblocking(False)
    await asyncio.get_running_loop().sock_connect(one, str(status_path))
    await asyncio.get_running_loop().sock_sendall(one, get("/v1/events"))
    await controller.until_listeners(1)
    async with asyncio.timeout(TIMEOUT):
        for n in range(1000):
            if not controller.listeners:
                break
            await controller.set(message=f"{n}" + "x" * 50_000)
            await asyncio.sleep(0.01)  # one turn for the stream; the buffers' size is the kernel's
    assert controller.listeners == 0
    one.close()


async def test_too_many_listeners(status_path: Path, controller: SteeredController) -> None:
    """Pins the bound on listeners of one user, and that a place becomes free again."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(SUBSCRIBERS_PER_UID):
            _, writer = await stack.enter_async_context(connected(status_path))
            writer.write(get("/v1/events"))
        await controller.until_listeners(SUBSCRIBERS_PER_UID)
        status, _, document = head_and_json(await exchange(status_path, get("/v1/events")))
        assert (status, document["error"]["code"]) == (503, "too-many-subscribers")
    await controller.until_listeners(0)
    async with connected(status_path) as (_, writer):
        writer.write(get("/v1/events"))
        await controller.until_listeners(1)


async def test_pipelined_requests_are_all_answered(status_path: Path) -> None:
    """Pins that a hundred requests in one write come back as a hundred answers."""
    answer = await exchange(status_path, get("/v1/health", headers="") * 100 + get("/v1/health"))
    assert answer.count(b"HTTP/1.1 200 OK") == 101


async def _pour(path: Path, start: bytes, filling: bytes) -> bytes:
    """Send `start` and 100 times `filling`, or as much as is taken; return the answer."""
    async with asyncio.timeout(TIMEOUT), connected(path) as (reader, writer):
        reading = asyncio.create_task(_read_all(reader))
        with contextlib.suppress(ConnectionError):
            writer.write(start)
            for _ in range(100):
                writer.write(filling)
                await writer.drain()
        return await reading


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    answer = b""
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65_536):
            answer += chunk
    return answer


async def _drip(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while not writer.is_closing():
            await asyncio.sleep(0.1)
            writer.write(b"E")


def _is_open(one: socket.socket) -> bool:
    try:
        return one.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
