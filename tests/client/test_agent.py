"""What both clients of an agent have in common, against the real server."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest

from margod.client import DaemonUnreachable, RequestRefused, agent, agent_socket, aio
from margod.client.agent import Agent, is_news
from margod.client.aio import AsyncAgent
from margod.config.settings_wfm import Wfm
from margod.local import LocalServer
from margod.local.events import SUBSCRIBERS_PER_UID
from margod.model.wire import Sink
from margod.shell import door
from tests.client.test_api import answering
from tests.support.local_api import SteeredController

STATE: dict[str, object] = {"manifest_version": 1, "commit": "a" * 40, "fetched_at": "2026-11-21T18:00:00Z"}
WANTED: Any = {"manifestVersion": 1, "commit": "a" * 40, "fetched_at": "2026-11-21T18:00:00Z"}


@pytest.mark.parametrize(
    ("after", "changes", "expected"),
    [
        (None, {}, True),
        (1, {}, False),
        (0, {}, True),
        (1, {"commit": "b" * 40}, False),
        (WANTED, {}, False),
        (WANTED, {"adopted": 1, "checked_at": "2026-11-21T18:09:00Z"}, False),
        (WANTED, {"manifest_version": 2}, True),
        (WANTED, {"commit": "b" * 40}, True),
        (WANTED, {"fetched_at": "2026-11-21T18:09:00Z"}, True),
        (WANTED, {"commit": "b" * 40, "complete": False}, False),
        (WANTED, {"manifest_version": None, "commit": None, "fetched_at": None}, False),
    ],
)
def test_another_desired_state_of_the_same_number(after: Any, changes: dict[str, object], expected: bool) -> None:
    """By the document that was worked by it is news, whatever its number is; by the number alone it is not."""
    status = {"desired_state": {**STATE, "complete": True, **changes}}
    assert is_news(status, after) is expected


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
async def test_the_wfm_may_take_its_time(
    server: LocalServer, directory: Path, controller: SteeredController, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A request through the door outlasts what every other call may take, and a dead margod is still told."""
    for module in (agent, aio):
        monkeypatch.setattr(module, "POST_TIMEOUT", 0.5, raising=False)
    path = agent_socket(str(directory))
    answered = asyncio.Event()

    async def slowly(_into: Sink) -> None:
        asyncio.get_running_loop().call_later(1.0, answered.set)
        await answered.wait()

    controller.passes = slowly
    asked = (
        AsyncAgent(path, timeout=0.5).wfm("/x")
        if kind == "asyncio"
        else asyncio.to_thread(Agent(path, timeout=0.5).wfm, "/x")
    )
    assert (await asked).status == 404
    assert door.LONGEST + door.PATIENCE + Wfm().timeout < agent.WFM_TIMEOUT


async def test_too_many_listeners(server: LocalServer, directory: Path, controller: SteeredController) -> None:
    """Who may not listen is told the daemon's reason, by both clients."""
    path = agent_socket(str(directory))
    async with AsyncExitStack() as stack:
        for _ in range(SUBSCRIBERS_PER_UID):
            await anext(await stack.enter_async_context(aclosing(AsyncAgent(path).events())))  # type: ignore[type-var]
        for ask in (asyncio.to_thread(next, Agent(path).events()), anext(AsyncAgent(path).events())):
            with pytest.raises(RequestRefused) as caught:
                await ask
            assert (caught.value.status, caught.value.code) == (503, "too-many-subscribers")
            assert caught.value.message == "Too many callers are listening for events."


@pytest.mark.parametrize("body", [b"Content-Length: 9\r\n\r\nhalf", b"Content-Length: 4\r\n\r\nhtml"])
async def test_a_refusal_that_is_none(directory: Path, body: bytes) -> None:
    """Half a refusal, or a page of somebody else's, is no margod."""
    directory.mkdir()
    with answering(directory / "agent.sock", b"HTTP/1.1 503 Oh\r\n" + body), pytest.raises(DaemonUnreachable):
        await anext(AsyncAgent(directory / "agent.sock").events())
