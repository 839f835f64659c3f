"""What a process adds to engine and shell, where no process can be made to show it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from margod import config, daemon
from margod.engine.enrolment import Enrolment
from margod.engine.messages import Command, Event, Now
from margod.shell import lane
from margod.shell.settings import Options
from tests.support.daemon import QUIET


async def test_a_fault_of_the_engine_does_not_end_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception inside the engine is said, and a new engine looks at what is stored."""
    overrides = {"state.directory": str(tmp_path / "state"), "local.directory": str(tmp_path / "run")}
    (tmp_path / "margod.yaml").write_text(QUIET)
    sources = config.Sources(tmp_path / "margod.yaml")
    margod = daemon.Daemon(Options(sources, {}, overrides), config.load(sources, {}, overrides))
    right = Enrolment.handle
    faults: list[Event] = []

    def handle(self: Enrolment, event: Event, now: Now) -> list[Command]:
        if not faults:
            faults.append(event)
            raise ZeroDivisionError("a fault nobody foresaw")
        return right(self, event, now)

    monkeypatch.setattr(Enrolment, "handle", handle)
    monkeypatch.setattr(lane, "BEGIN_AGAIN", 0.0)
    running = asyncio.ensure_future(margod.run())
    async with asyncio.timeout(20):
        while margod.status()["state"] != "discovering":
            await asyncio.sleep(0.01)
        margod._stopping.set()
        assert await running == 0
    assert faults
