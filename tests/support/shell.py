"""One device in the test's own process: the real engine, shell, vault and HTTP client, with time that can be skipped.

async with Shell(tmp_path, url=server.url, ca_file=ca) as device:
    assert device.status()["state"] == "onboarding"
    await device.attempt()      # what the daemon would do once the wait is over

What a process adds to this (loop, sockets, signals) is daemon.py's; the e2e tests that start one look at that.
"""

from __future__ import annotations

import time
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

from margod import config
from margod.engine import messages as m
from margod.engine.enrolment import Enrolment
from margod.shell import status
from margod.shell.actions import Actions
from margod.shell.disk import Disk
from margod.shell.ground import Ground
from margod.shell.settings import Options, Settings


class Shell:
    """A device in `directory`. Entering it makes the first attempt; leaving it closes what is open."""

    def __init__(
        self,
        directory: Path,
        *,
        url: str,
        ca_file: Path | None = None,
        yaml: str = "",
        timeout: str = "1s",
        protocol: str = "signed",
    ) -> None:
        """Write and load the configuration. `yaml` is added to it as it is; the others go into the section wfm."""
        file = directory / "m.yaml"
        wfm = f'url: "{url}", timeout: {timeout}, protocol: {protocol}'
        lines = [f"wfm: {{{wfm}}}", f"state: {{directory: {directory / 'state'}}}"]
        lines += [f"trust: {{ca_file: {ca_file}}}"] if ca_file else []
        file.write_text("\n".join([*lines, yaml, ""]))
        sources = config.Sources.find({}, str(file))
        settings = Settings(Options(sources, {}, {}), config.load(sources, {}, {}))
        self.notes: list[m.Note] = []
        """What the engine had to say, oldest first."""
        self._skipped = 0.0
        self.ground = Ground(settings.config, time.time)
        self.disk = Disk()
        self.actions = Actions(self.ground, self.disk)
        self._engine = Enrolment(settings.policy, Random(7), self._now())

    async def __aenter__(self) -> Self:
        """Look at the ground and do what the engine asks for, until it waits."""
        await self._take(await self.actions.examine())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection and the vault."""
        await self.actions.close()
        await self.disk.run(self.ground.close)
        assert self.disk.close(5.0)

    async def attempt(self) -> dict[str, Any]:
        """Skip the time to the next attempt, make it, and return the status document."""
        due = self._engine.due
        assert due is not None, "nothing is waited for"
        self._skipped += max(0.0, due - self._now().mono)
        await self._take(m.Due())
        return self.status()

    async def look(self) -> dict[str, Any]:
        """Look at the ground again, do what the engine asks for then, and return the status document."""
        await self._take(await self.actions.examine())
        return self.status()

    def status(self) -> dict[str, Any]:
        """Return the status document."""
        offered = self.actions.offered
        condition, renewing = self._engine.condition(self._now()), self.actions.renewing
        return status.document(
            condition, self.actions.situation, (), 0.0, offered, protocol="signed", presented=renewing.presented
        )

    def wait(self) -> float:
        """Return the seconds until the next attempt."""
        assert self._engine.due is not None, "nothing is waited for"
        return self._engine.due - self._now().mono

    async def _take(self, event: m.Event) -> None:
        events = [event]
        while events:
            for command in self._engine.handle(events.pop(0), self._now()):
                if isinstance(command, m.Note):
                    self.notes.append(command)
                elif (answer := await self.actions.perform(command)) is not None:
                    events.append(answer)

    def _now(self) -> m.Now:
        return m.Now(time.monotonic() + self._skipped, time.time() + self._skipped)
