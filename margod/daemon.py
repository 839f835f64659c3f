"""The composition root: builds the rooms, runs the engine's loop, and stops in good order.

    event ──> engine.handle ──> commands ──> Actions.perform (a task each) ──> event ──> ...
                  │ due                     (shell/lane.py)                    ^
                  └──────────────── timer, signals, local API ─────────────────┘

The loop wakes for events, for the engine's `due` and for half the watchdog's interval, and for nothing else.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Any, Final

import structlog

from margod import __version__
from margod.config import Loaded
from margod.engine.messages import Cause, Due, Event, Slept, Woken
from margod.local import LocalServer
from margod.model.errors import MargodError, StateInUse, StateNotWritable, StateUnusable
from margod.model.state import State
from margod.service import clock, journal, notify, signals
from margod.shell import status
from margod.shell.controls import Controls
from margod.shell.devicewatch import DeviceWatch
from margod.shell.disk import Disk
from margod.shell.finder import Finder
from margod.shell.ground import Ground
from margod.shell.lane import Lane, take_events
from margod.shell.polling import DesiredState
from margod.shell.reporting import removed_words
from margod.shell.reports import Reports
from margod.shell.rotation import Rotation
from margod.shell.settings import Options, Settings
from margod.shell.situation import Situation
from margod.shell.work import Work

log: Final = structlog.get_logger()

EXIT_IN_USE: Final = 75
GROUP: Final = "margod"
AGENTS: Final = "margod-agent"
DRAIN: Final = 1.0
"""Seconds that an enrolment under way is given at a stop: an answer that was read is an identity kept."""
PATIENCE: Final = 0.5
"""Seconds that the disk is given after that."""
SOCKET_RETRY: Final = 60.0
"""Seconds between two attempts to bind the local sockets where /run was full or forbidden."""
FILES_INTERVAL: Final = 120.0
"""Seconds between two looks at whether the file of trust.ca_file or the time zone has changed; each is a wakeup, of
few (budgets)."""
CLOCK_INTERVAL: Final = 5.0
"""Seconds between two looks at a clock that is waited for; while nothing waits for it, the kernel tells of a step."""


class Daemon(Controls):
    """One margod. `run` returns the exit code; the rest is what the local sockets ask for (local.Controller)."""

    def __init__(self, options: Options, loaded: Loaded) -> None:
        """Take the configuration that was loaded; nothing is opened yet."""
        self._settings = Settings(options, loaded)
        self._started_at = time.time()
        self._ground = Ground(loaded.config, time.time, options.env)
        self._keeper = self._ground.keeper
        self._keeper.downtime.configure(loaded.config.schedule.downtime or ())
        self._disk = Disk()
        self._inbox: asyncio.Queue[tuple[Lane, Event]] = asyncio.Queue()
        self._lane = Lane(
            self._ground,
            self._disk,
            self._settings.policy,
            self._inbox,
            handled=self._handled,
            looked=self._looked,
        )
        self._actions = self._lane.actions
        self._rotation = Rotation(self._lane, self._disk, self._inbox, self._tell)
        self._work = Work(self._lane, self._disk, self._tell)
        self._devices = DeviceWatch(self._lane, self._disk)
        self._work.sidelines.append(self._devices)
        self._reports = Reports(self._work, self._ground, self._disk)
        self._work.sidelines.append(self._reports)
        self._actions.resetting.let_go, self._actions.resetting.resume = self._reports.let_go, self._reports.resume
        self._desired = DesiredState(self._work, self._disk, self._ground)
        self._work.sidelines.append(self._desired)
        self._finder = Finder(self._ground, self._disk, self._lane.look_again)
        self._has_other_ca_file = self._has_other_token = False
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._notifier = notify.notifier(options.env)
        self._watchdog = notify.watchdog_interval(options.env)
        self._said = ""
        self._reloading: asyncio.Task[dict[str, object]] | None = None
        self._queued: asyncio.Task[dict[str, object]] | None = None
        self._server = LocalServer(loaded.config.local.directory, self, group=GROUP, agents=AGENTS)

    async def run(self) -> int:
        """Run until a signal asks to stop; return 0, or 75 if another margod is at it."""
        with signals.handled(stop=self._stopping.set, reload=lambda: self._lane.start(self._reload_quietly())):
            if not await self._unless_stopped(self._begin()):
                return 0 if self._stopping.is_set() else EXIT_IN_USE
            files = [str(file) for file in self._settings.loaded.files]
            log.info("started", version=__version__, pid=os.getpid(), configuration=files or "defaults")
            self._settings.say_problems()
            self._notifier.ready(self._line())
            self._lane.begin()
            self._disk.watch(self._files_changed, self._act_on_files, FILES_INTERVAL)
            steps = clock.StepWatch(self._mind_clock)
            try:
                await self._loop()
            finally:
                steps.close()
                await self._stop()
        return 0

    async def reload(self) -> dict[str, object]:
        """Read the configuration again; what is broken leaves the one in force as it is.

        Whoever asks while it is being read waits for the next reading, which has what he wrote before he asked.
        """
        if self._queued is None:
            self._queued = asyncio.ensure_future(self._reload_after(self._reloading))
        return await asyncio.shield(self._queued)  # a caller that leaves stops nothing; many share one

    def _mind_clock(self) -> None:
        """Notice that the clock was set, the device slept or a downtime ended; write what is to be kept of it."""
        events = self._keeper.turn()
        if self._keeper.downtime.take_ended():
            self._lane.start(self._keep_nothing_of_a_downtime())
        if self._lane.engine.rules.gate is not self._keeper.downtime.gate:
            self._govern()
        for event in events:
            for lane in self._lanes():
                lane.post(event)
            if isinstance(event, Slept):
                self._work.slept(event.seconds)
            elif isinstance(event, Woken):
                self._work.wake(event.cause)
        if self._keeper.wants_saving:
            self._keeper.wants_saving = False
            self._lane.start(self._disk.run(self._ground.save_floor))

    async def _reload_after(self, before: asyncio.Task[dict[str, object]] | None) -> dict[str, object]:
        if before is not None:
            await asyncio.wait({before})
        self._reloading, self._queued = self._queued, None
        return await self._reload()

    async def _reload(self) -> dict[str, object]:
        self._notifier.reloading()
        try:
            result, problems = await self._disk.run(self._settings.load)
            log.info("configuration-read", result=result, problems=len(problems))
            if result != "kept":
                loaded = self._settings.loaded
                self._actions.config = loaded.config
                self._keeper.downtime.configure(loaded.config.schedule.downtime or ())
                self._govern()
                journal.configure(loaded.config.log.level, loaded.config.log.format)
                self._ground.told = True
                await self._lane.look_again()
                known = self._actions.situation
                problems += removed_words(self._ground.generation, known.context if known else None)
            return {"result": result, "problems": problems}
        finally:
            self._tell()
            self._notifier.ready(self._line())

    async def _keep_nothing_of_a_downtime(self) -> None:
        await self._keep_downtime("")

    async def changes(self) -> AsyncIterator[dict[str, object]]:
        """Yield the status document now and whenever it is another one; a slow reader gets the latest only."""
        told: dict[str, object] = {}
        while True:
            changed, document = self._changed, self.status()
            if document != told:
                told = document
                yield document
            await changed.wait()

    async def _unless_stopped(self, beginning: Coroutine[Any, Any, bool]) -> bool:
        """Return what `beginning` returns, or False as soon as a signal asks to stop: a disk may hang at boot."""
        task, stopping = asyncio.ensure_future(beginning), asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if task.done():
            return task.result()
        task.cancel()
        return False

    async def _begin(self) -> bool:
        """Lock the state directory and bind the sockets; return False if another margod has them."""
        try:
            with suppress(StateUnusable, StateNotWritable):  # the first look makes it a state that is shown
                await self._disk.run(self._ground.open)
            await self._serve()
        except StateInUse as error:
            log.error("state-in-use", message=error.message, hint=error.hint)
            return False
        return True

    async def _serve(self) -> None:
        """Bind the sockets; where that cannot be done now, go on without and try again. Raises StateInUse."""
        try:
            await self._server.start()
        except StateInUse:
            raise
        except MargodError as error:
            log.error("socket-unusable", code=error.code, message=error.message, hint=error.hint)
            self._lane.start(self._serve_later())

    async def _serve_later(self) -> None:
        bound = False
        while not bound:
            await asyncio.sleep(SOCKET_RETRY)
            with suppress(MargodError):  # also a second daemon that took them meanwhile: the state directory is ours
                await self._server.start()
                bound = True
        log.info("socket-bound")

    async def _loop(self) -> None:
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            while not self._stopping.is_set():
                getting = asyncio.ensure_future(self._inbox.get())
                await asyncio.wait({getting, stopping}, timeout=self._patience(), return_when=asyncio.FIRST_COMPLETED)
                getting.cancel()
                self._mind_clock()
                if getting.done() and not getting.cancelled():
                    lane, event = getting.result()
                    lane.handle(event)
                else:
                    for lane in self._lanes():
                        lane.handle(Due())
                self._notifier.watchdog()
        finally:
            stopping.cancel()

    def _patience(self) -> float | None:
        """Return how long the loop may sleep, seconds; None for as long as nothing happens."""
        due = min((lane.due for lane in self._lanes() if lane.due is not None), default=None)
        limit = None if self._watchdog is None else self._watchdog / 2
        if self._lane.condition.state is State.WAITING_FOR_CLOCK:  # where no timer tells of a step
            limit = CLOCK_INTERVAL if limit is None else min(limit, CLOCK_INTERVAL)
        if due is None:
            return limit
        wait = max(0.0, due - time.monotonic())
        return wait if limit is None else min(wait, limit)

    def _lanes(self) -> list[Lane]:
        return [self._lane, *([self._rotation.lane] if self._rotation.lane else [])]

    def _files_changed(self) -> bool:
        """Return whether a file that counts is another one than at the last look. In the disk thread."""
        self._has_other_ca_file = self._ground.ca_file_changed()
        self._has_other_token = self._desired.token_file_changed()
        return self._keeper.downtime.zone_changed() or self._has_other_ca_file or self._has_other_token

    def _act_on_files(self) -> None:
        if self._keeper.downtime.take_zone():
            log.info("time-zone-changed", zone=time.localtime().tm_zone)
            self._govern(Cause.CLOCK)
        if self._has_other_token:
            log.info("git-token-file-changed", file=str(self._ground.config.desired_state.git.token_file))
            self._desired.wake(Cause.NETWORK)  # sooner where the last poll failed; otherwise the next one reads it
            self._tell()
        if not self._has_other_ca_file:
            return
        log.info("ca-file-changed", file=str(self._ground.config.trust.ca_file))
        self._lane.start(self._lane.look_again())

    def _handled(self, lane: Lane) -> None:
        """Tell the world what changed."""
        self._finder.consider(self._actions.situation, lane.condition.connection)
        self._work.consider(self._actions.situation, self._lane.condition)
        self._rotation.consider(reonboards=self._settings.config.onboarding.when_forgotten == "reonboard")
        self._tell()

    async def _looked(self, before: Situation | None) -> None:
        """Act on what a look found that is not the engine's: another place, a state directory that was mended."""
        now = self._actions.situation
        if before is not None and now is not None and before.place != now.place:
            told = self._reloading is not None and not self._reloading.done()
            # Another place is worth an attempt of its own; an announcement is not worth all devices' at once.
            cause = Cause.OPERATOR if told else Cause.NETWORK
            self._lane.post(Woken(cause))
            self._work.wake(cause)
        await self._rotation.looked()
        await self._keep_configuration()

    async def _reload_quietly(self) -> None:
        await self.reload()

    async def _keep_configuration(self) -> None:
        vault = self._ground.vault
        if vault is not None and not vault.read_only and not vault.wiped:
            await self._disk.run(self._settings.keep)

    def _tell(self) -> None:
        line = self._line()
        if line != self._said:
            self._said = line
            self._notifier.status(line)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _line(self) -> str:
        return status.systemd_line(self._lane.condition)

    async def _stop(self) -> None:
        """Stop within 2 s: let an enrolment end, close what is open, write down where it stands."""
        log.info("stopping")
        self._notifier.stopping("stopping")
        closing = (self._drain(), self._server.stop(), self._finder.close(), self._work.close(), self._shut_door())
        await asyncio.gather(*closing, return_exceptions=True)
        for lane in self._lanes():
            lane.end()
        for reloading in (self._reloading, self._queued):
            if reloading is not None:
                reloading.cancel()
        try:
            async with asyncio.timeout(PATIENCE):
                self._keeper.close()
                if self._keeper.wants_saving:
                    await self._disk.run(self._ground.save_floor)
                for lane in reversed(self._lanes()):
                    await lane.close()
        except TimeoutError:
            log.warning("disk-slow", message="The state directory did not answer in time; nothing was half written.")
        self._disk.close(0.1)
        log.info("stopped")

    async def _drain(self) -> None:
        """Give a request or write whose loss would cost the identity the time to end."""
        deadline = time.monotonic() + DRAIN
        while (left := deadline - time.monotonic()) > 0:
            precious = [task for lane in self._lanes() for task in lane.precious()]
            if not precious:
                break
            await asyncio.wait(precious, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            take_events(self._inbox)
