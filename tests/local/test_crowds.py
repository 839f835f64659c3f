"""Crowds on one socket: they cost a newcomer nothing, least of all on another socket, and they do not delay a stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from margod.local import LocalServer
from margod.local import connection as limits
from margod.local.events import SUBSCRIBERS, SUBSCRIBERS_PER_UID
from margod.local.guard import FEW, PER_UID
from margod.local.reading import Allowance, Share
from margod.local.routing import Access
from margod.model.wire import Sink
from tests.support.local_api import TIMEOUT, SteeredController, connected, exchange, get, head_and_json, serving
from tests.support.patience import within

DOOR = "/v1/wfm/x"
NAMES = {Access.STATUS: "status.sock", Access.AGENT: "agent/agent.sock", Access.ADMIN: "admin/admin.sock"}


async def until(reached: Callable[[], bool]) -> None:
    """Wait for what the server has come to; it tells nobody by itself."""
    async with asyncio.timeout(TIMEOUT):
        while not reached():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", NAMES.values())
async def test_bodies_in_drops_give_way(server: LocalServer, directory: Path, name: str) -> None:
    """Pins that a request whose body is not there yet holds no place: the next caller is served at once."""
    async with contextlib.AsyncExitStack() as stack:
        for number in range(PER_UID + 20):
            reader, writer = await stack.enter_async_context(connected(directory / name))
            writer.write(get("/v1/status", headers="Content-Length: 999\r\nExpect: 100-continue\r\n"))
            async with asyncio.timeout(TIMEOUT):
                assert b" 100 " in await reader.readuntil(b"\r\n\r\n"), number
            writer.write(b"drop")
        assert head_and_json(await exchange(directory / name, get("/v1/status")))[0] == 200


async def endless(into: Sink) -> None:
    """Pass on more than anybody reads."""
    await into.begin(200, {})
    while True:
        await into.write(b"x" * 65_536)


async def test_answers_that_nobody_reads_give_way(
    server: LocalServer, directory: Path, controller: SteeredController, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins that callers who leave what streams to them unread hold no place either."""
    monkeypatch.setattr(limits, "WRITE_TIMEOUT", 600.0)  # none is hung up on before all are there
    path = directory / NAMES[Access.AGENT]
    controller.passes = endless
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(PER_UID):
            _, writer = await stack.enter_async_context(connected(path))
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # a WriteTransport in the stubs only
            writer.write(get(DOOR, headers=""))
        await until(lambda: sum(map(_is_stuck, _connections(server))) == PER_UID)
        assert head_and_json(await exchange(path, get("/v1/status")))[0] == 200


async def test_sockets_have_their_own_places(
    server: LocalServer, directory: Path, controller: SteeredController
) -> None:
    """Pins that an agent socket whose every place is taken leaves those of the others as they are."""
    never = asyncio.Event()
    controller.passes = lambda _: _waiting(never)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(PER_UID):
            _, writer = await stack.enter_async_context(connected(directory / NAMES[Access.AGENT]))
            writer.write(get(DOOR, headers=""))
        await until(lambda: len(controller.asked) == PER_UID)
        assert await exchange(directory / NAMES[Access.AGENT], get("/v1/status")) == b""
        for access in (Access.STATUS, Access.ADMIN):
            for _ in range(FEW):
                assert head_and_json(await exchange(directory / NAMES[access], get("/v1/status")))[0] == 200


async def test_listeners_of_one_socket_leave_others_theirs(
    server: LocalServer, directory: Path, controller: SteeredController
) -> None:
    """Pins that each socket has places for listeners of its own, and that no user has half of the status socket's."""
    assert SUBSCRIBERS[Access.STATUS] > SUBSCRIBERS_PER_UID * 2
    async with contextlib.AsyncExitStack() as stack:
        for count, name in enumerate(NAMES.values(), 1):
            for _ in range(SUBSCRIBERS_PER_UID):
                _, writer = await stack.enter_async_context(connected(directory / name))
                writer.write(get("/v1/events"))
            await controller.until_listeners(count * SUBSCRIBERS_PER_UID)
            assert head_and_json(await exchange(directory / name, get("/v1/events")))[0] == 503


@pytest.mark.parametrize("sent", ["Content-Length: 9\r\n", ""], ids=["body", "answer"])
async def test_a_caller_that_leaves_is_no_fault(
    server: LocalServer, directory: Path, controller: SteeredController, sent: str
) -> None:
    """Pins that nothing of it comes into the journal."""
    never = asyncio.Event()
    controller.passes = lambda _: _waiting(never)
    with capture_logs() as logs:
        for _ in range(3):
            async with connected(directory / NAMES[Access.AGENT]) as (_, writer):
                writer.write(get(DOOR, headers=sent))
                await until(lambda: any(each._current_request for each in _connections(server)))
        await until(lambda: not _connections(server))
        assert head_and_json(await exchange(directory / NAMES[Access.AGENT], get("/v1/status")))[0] == 200
    assert [entry for entry in logs if entry["log_level"] != "debug"] == []


async def test_a_stop_waits_for_nobody_who_does_not_read(directory: Path, controller: SteeredController) -> None:
    """Pins that streams through the door and bodies in drops leave a stop well within its 2 s."""
    controller.passes = endless
    async with contextlib.AsyncExitStack() as stack, serving(directory, controller) as server:
        for request in (get(DOOR), get("/v1/status", headers="Content-Length: 9\r\n")):
            _, writer = await stack.enter_async_context(connected(directory / NAMES[Access.AGENT]))
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # a WriteTransport in the stubs only
            writer.write(request)
        await until(lambda: any(map(_is_stuck, _connections(server))))
        await until(lambda: sum(bool(each._current_request) for each in _connections(server)) == 2)
        async with within(1.4):
            await server.stop()


async def test_who_reads_in_sips_is_hung_up_on(
    server: LocalServer, directory: Path, controller: SteeredController, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins that no caller keeps a connection to the WFM by reading just often enough."""
    monkeypatch.setattr("margod.local.routes_door.UNREAD", 0.2)
    controller.passes = endless
    async with within(10), connected(directory / NAMES[Access.AGENT]) as (reader, writer):
        writer.write(get(DOOR))
        with contextlib.suppress(ConnectionError):
            while await reader.read(65_536):
                await asyncio.sleep(0.02)


async def test_bodies_that_are_held_are_bounded(
    server: LocalServer, directory: Path, controller: SteeredController, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins that many callers who wait for the WFM hold so much and no more, and that it is given back."""
    path, never = directory / NAMES[Access.AGENT], asyncio.Event()
    controller.passes = lambda _: _waiting(never)
    body = b"x" * 1_000_000
    request = get(DOOR, "POST", f"Content-Length: {len(body)}\r\nConnection: close\r\n") + body
    async with contextlib.AsyncExitStack() as stack:
        for count in range(1, 9):
            _, writer = await stack.enter_async_context(connected(path))
            writer.write(request)
            await until(lambda count=count: len(controller.asked) == count)  # type: ignore[misc]  # mypy cannot infer a default's type
        status, headers, said = head_and_json(await exchange(path, request))
        assert (status, said["error"]["code"], headers["retry-after"]) == (503, "door-busy", "5")
    await until(lambda: not _connections(server))
    controller.passes = controller._nothing
    assert b" 404 " in (await exchange(path, request))[:20]


def test_a_share_is_given_back_once() -> None:
    """Pins the count of an allowance."""
    allowance = Allowance(10)
    share = Share(allowance)
    assert [share.take(6), share.take(6), share.take(4)] == [True, False, True]
    share.release()
    share.release()
    assert allowance.left == 10


def _connections(server: LocalServer) -> list[limits.Connection]:
    return [each for answering in server._answering for each in answering.connections]  # type: ignore[misc]


def _is_stuck(connection: limits.Connection) -> bool:
    return connection._write_timer is not None


def _waiting(event: asyncio.Event) -> Awaitable[None]:
    async def wait() -> None:
        await event.wait()

    return wait()
