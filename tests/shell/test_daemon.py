"""What a process adds to engine and shell, where no process can be made to show it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from margod import config, daemon
from margod.engine.enrolment import Enrolment
from margod.engine.messages import Command, Event, Examined, Now, Reread
from margod.shell import controls, lane
from margod.shell.actions import Actions
from margod.shell.settings import Options, Settings
from tests.support.daemon import QUIET


def made(place: Path) -> daemon.Daemon:
    """Return a daemon with everything below `place`, not running yet."""
    overrides = {"state.directory": str(place / "state"), "local.directory": str(place / "run")}
    (place / "margod.yaml").write_text(QUIET)
    sources = config.Sources(place / "margod.yaml")
    return daemon.Daemon(Options(sources, {}, overrides), config.load(sources, {}, overrides))


async def test_a_fault_of_the_engine_does_not_end_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception inside the engine is said, and a new engine looks at what is stored."""
    margod = made(tmp_path)
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
    async with asyncio.timeout(60):
        while margod.status()["state"] != "discovering":
            await asyncio.sleep(0.01)
        margod._stopping.set()
        assert await running == 0
    assert faults


def held(looking: asyncio.Event, go_on: asyncio.Event) -> Callable[[Actions], Awaitable[Examined]]:
    """Return a look that says that it has begun, and waits."""
    right = Actions.examine

    async def look(self: Actions) -> Examined:
        looking.set()
        await go_on.wait()
        return await right(self)

    return look


async def test_a_retry_before_the_first_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks while margod reads what is stored is not told that nothing waits, and is heard once it has read."""
    margod, looking, go_on = made(tmp_path), asyncio.Event(), asyncio.Event()
    monkeypatch.setattr(Actions, "examine", held(looking, go_on))
    running = asyncio.ensure_future(margod.run())
    async with asyncio.timeout(60):
        await looking.wait()
        assert (await margod.retry())["message"] == "trying as soon as what is stored has been read"
        go_on.set()
        while margod.status()["state"] != "discovering":
            await asyncio.sleep(0.01)
        assert "stored" not in str((await margod.retry())["message"])
        margod._stopping.set()
        assert await running == 0


async def test_a_look_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop waits for it, whatever was due meanwhile, and after a while the daemon says that it is not well."""
    margod, looking, go_on = made(tmp_path), asyncio.Event(), asyncio.Event()
    running = asyncio.ensure_future(margod.run())
    async with asyncio.timeout(60):
        while margod.status()["state"] != "discovering":
            await asyncio.sleep(0.01)
        monkeypatch.setattr(Actions, "examine", held(looking, go_on))
        margod._lane.post(Reread())
        await looking.wait()
        assert margod._patience() is None
        assert margod.healthy()
        monkeypatch.setattr(controls, "STUCK", float("-inf"))
        assert not margod.healthy()
        go_on.set()
        margod._stopping.set()
        assert await running == 0


async def test_a_reload_reads_what_was_written_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks while the files are being read gets a reading of his own; those who wait for one share the next."""
    margod, loop, reading, go_on = made(tmp_path), asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    right, read = Settings.load, []

    def held(self: Settings) -> tuple[str, list[str]]:
        read.append(right(self)[0])
        loop.call_soon_threadsafe(reading.set)
        assert go_on.wait(60)
        return read[-1], []

    monkeypatch.setattr(Settings, "load", held)
    running = asyncio.ensure_future(margod.run())
    async with asyncio.timeout(60):
        while margod.status()["state"] != "discovering":
            await asyncio.sleep(0.01)
        first = asyncio.ensure_future(margod.reload())
        await reading.wait()
        (tmp_path / "margod.yaml").write_text(f"{QUIET}\ndevice: {{vendor: Another}}\n")
        later = [asyncio.ensure_future(margod.reload()) for _ in range(3)]
        await asyncio.sleep(0)
        go_on.set()
        assert (await first)["result"] == "unchanged"
        assert [(await each)["result"] for each in later] == ["reloaded"] * 3
        assert read == ["unchanged", "reloaded"]
        margod._stopping.set()
        assert await running == 0
