"""Reports of deployments, from a local agent to the record of a WFM."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import TIMEOUT, Daemon
from tests.support.devwfm import DevWfm


@pytest.fixture
async def wfm(tmp_path: Path) -> AsyncIterator[DevWfm]:
    """A development WFM."""
    async with DevWfm(tmp_path / "wfm") as found:
        yield found


def status(state: str, message: str = "") -> dict[str, Any]:
    """Return what an agent says of a deployment with one component; `message` makes it unlike others."""
    entry: dict[str, Any] = {"name": "all", "state": state}
    return {"components": [{**entry, "error": {"message": message}} if message else entry]}


async def recorded(wfm: DevWfm, count: int) -> list[tuple[str, str]]:
    """Wait until the WFM has so many reports; return deployment and state of each, as they came."""
    async with asyncio.timeout(TIMEOUT):
        while len(found := await wfm.statuses()) < count:
            await asyncio.sleep(0.05)
    return [(one["deployment_id"], one["state"]) for one in found]


def outbox(**wanted: object) -> Callable[[dict[str, Any]], bool]:
    """Return whether the status document's outbox has these members."""
    return lambda found: all(found["outbox"][name] == value for name, value in wanted.items())


async def test_from_the_socket_to_the_wfm(wfm: DevWfm, tmp_path: Path) -> None:
    """What an agent reports is acknowledged with its number and comes to the WFM in order, once each."""
    async with Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
        await daemon.until("enrolled")
        for number, state in enumerate(("pending", "installing", "installed"), 1):
            assert await daemon.report("web", status(state)) == {"number": number}
        assert await recorded(wfm, 3) == [("web", "pending"), ("web", "installing"), ("web", "installed")]
        await daemon.until_status(outbox(waiting=0, parked=0, last_error=None), "an empty outbox")
        assert {one["came"] for one in await wfm.statuses()} == {"first", "forward"}
