"""When to look for the WFM on the network, and what becomes of what is seen.

Browsing costs wakeups, so it happens only while no WFM is configured and none has answered yet, or while the discovered
one has been unreachable for `discovery.again_after`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import TYPE_CHECKING, Final

import structlog

from margod.discovery import Candidate
from margod.model import reasons
from margod.model.errors import MargodError
from margod.model.state import Connection
from margod.shell.disk import Disk
from margod.shell.ground import Ground

if TYPE_CHECKING:
    from margod.discovery.browser import Browser
    from margod.shell.situation import Situation

log: Final = structlog.get_logger()

CALM: Final = 2.0
"""Seconds at least between two looks because of what is announced: anybody can announce a lot."""
CALM_BOUND: Final = 60.0
"""The same for a WFM that has answered before: its new address is stored."""
SAID: Final = 3_600.0
"""Seconds at least between two lines above debug on what is announced."""
SHOWN: Final = 16
"""WFMs that status lists."""


class Hearsay:
    """How loud a change in what is announced is: who flaps, or does so on purpose, must not fill the journal."""

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self._said_at: float | None = None
        self._unsaid = 0

    def changed(self, now: float) -> tuple[str, dict[str, int]]:
        """Return the level of the line about a change at `now`, monotonic, and how many were not said before it."""
        if self._said_at is not None and now - self._said_at < SAID:
            self._unsaid += 1
            return "debug", {}
        unsaid, self._unsaid, self._said_at = self._unsaid, 0, now
        return "info", {"changes": unsaid + 1} if unsaid else {}


class Finder:
    """Browses when it is wanted. `found` is awaited after each change that counts."""

    def __init__(self, ground: Ground, disk: Disk, found: Callable[[], Awaitable[None]]) -> None:
        """Hand what is seen to `ground.sightings`."""
        self._ground = ground
        self._disk = disk
        self._found = found
        self._task: asyncio.Task[None] | None = None
        self._browser: Browser | None = None
        self._hearsay = Hearsay()
        self._type = ""
        self._bound = False
        self._away_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        self._last: tuple[Situation | None, Connection] = (None, Connection.IDLE)

    @property
    def browsing(self) -> bool:
        """Whether it is being looked for."""
        return self._task is not None

    @property
    def seen(self) -> tuple[Candidate, ...]:
        """What is announced at this moment."""
        return self._browser.sightings.candidates if self._browser is not None else ()

    def document(self, situation: Situation | None) -> dict[str, object]:
        """Return what status says of discovery."""
        place = situation.place if situation else None
        return {
            "browsing": self.browsing,
            "instance": place.instance or None if place else None,
            "seen": [candidate.document() for candidate in self.seen[:SHOWN]],
        }

    async def choose(self, instance: str, situation: Situation | None) -> dict[str, object]:
        """Store which of the WFMs that are seen is to be taken. Raises MargodError if it has no effect."""
        config = self._ground.config
        if config.wfm.url is not None or config.wfm.select not in (None, instance):
            raise MargodError(reasons.NOT_CHOSEN, "wfm.url or wfm.select says otherwise, and the configuration wins.")
        if situation is not None and situation.client_id is not None:
            raise MargodError(reasons.NOT_CHOSEN, "This device is enrolled already.")
        if instance not in (candidate.instance for candidate in self.seen):
            raise MargodError(reasons.NOT_CHOSEN, "No WFM of that name is seen.")
        await self._disk.run(lambda: self._ground.choose(instance))
        log.info("wfm-chosen", instance=instance)
        return {"instance": instance, "message": f"From now on {instance} is the WFM of this device."}

    def consider(self, situation: Situation | None, connection: Connection) -> None:
        """Begin or end browsing, by how things stand."""
        config = self._ground.config
        self._last = situation, connection
        self._note_absence(connection)
        wanted = situation is not None and config.wfm.url is None and config.discovery.enabled
        wanted = wanted and not self._ground.keeper.downtime.closed
        wanted = wanted and not (situation is not None and situation.place and not situation.place.instance)
        if situation is not None and situation.bound:
            self._bound = True
            wanted = wanted and self._away_long()
        else:
            self._bound = False
        if self._task is not None and (not wanted or self._type != config.discovery.type):
            self._end()
        if wanted and self._task is None:
            self._type = config.discovery.type
            self._task = asyncio.ensure_future(self._run(self._type))
            self._task.add_done_callback(self._ended)

    async def close(self) -> None:
        """End browsing."""
        task = self._task
        self._end()
        if self._timer is not None:
            self._timer.cancel()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    def _note_absence(self, connection: Connection) -> None:
        away = connection in (Connection.OFFLINE, Connection.INTERCEPTED, Connection.UNTRUSTED)
        if not away:
            self._away_since = None
        elif self._away_since is None:
            self._away_since = time.monotonic()
            if self._timer is not None:
                self._timer.cancel()
            after = self._ground.config.discovery.again_after + 0.1
            self._timer = asyncio.get_running_loop().call_later(after, lambda: self.consider(*self._last))

    def _away_long(self) -> bool:
        since = self._away_since
        return since is not None and time.monotonic() - since >= self._ground.config.discovery.again_after

    def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task = self._browser = None
        self._ground.sightings = ()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("internal-error", exc_info=error)
        if task is self._task:
            self._end()

    async def _run(self, service_type: str) -> None:
        # In the disk thread: zeroconf takes a while to import, and the loop has others to serve.
        room = await self._disk.run(lambda: import_module("margod.discovery.browser"))
        browser: Browser = room.Browser(service_type, self._news.set, lambda: self._ground.wanted_instances)
        self._browser = browser
        log.info("browsing", type=service_type)
        running = asyncio.ensure_future(browser.run())
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                await asyncio.sleep(browser.sightings.settles_in(time.monotonic()) or 0.1)
                seen = browser.sightings.candidates
                if seen == self._ground.sightings:
                    continue
                self._ground.sightings = seen
                level, more = self._hearsay.changed(time.monotonic())
                names = [candidate.instance for candidate in seen[:SHOWN]]
                getattr(log, level)("wfms-seen", count=len(seen), instances=names, **more)
                await self._found()
                await asyncio.sleep(CALM_BOUND if self._bound else CALM)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            log.info("browsing-ended")
