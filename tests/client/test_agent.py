"""What both clients of an agent have in common, against the real server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from margod.client import agent, agent_socket, aio
from margod.client.agent import Agent, is_news
from margod.client.aio import AsyncAgent
from margod.config.settings_wfm import Wfm
from margod.local import LocalServer
from margod.model.wire import Sink
from margod.shell import door
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
