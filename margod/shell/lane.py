"""One engine with everything that carries out what it asks for: its ground, its actions, its tasks under way.

The daemon has one; a second one runs beside it while a candidate for another enrolment is onboarded (candidate.py).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, TypeAlias

import structlog

from margod.engine.enrolment import Enrolment
from margod.engine.messages import Cause, Command, Due, Event, Examine, Keep, Now, Reread, Send, Slept, Woken
from margod.engine.policy import Policy
from margod.model.outcome import Step
from margod.model.state import Condition, State
from margod.shell.actions import Actions
from margod.shell.disk import Disk
from margod.shell.ground import Ground
from margod.shell.situation import Situation

log: Final = structlog.get_logger()

RUNTIME_INTERVAL: Final = 900.0
"""Seconds between two writes of runtime.json, the stop apart: it is disposable, the flash is not."""
BEGIN_AGAIN: Final = 10.0
"""Seconds before the engine is begun anew after a fault of its own."""
LOOK: Final = 10.0
"""Seconds that a reload waits for the look at the files before it answers."""

Inbox: TypeAlias = "asyncio.Queue[tuple[Lane, Event]]"
"""What the daemon's loop waits for: events, each with the lane that it is for."""


class Lane:
    """One enrolment on its way. `handle` is where events go in; what they lead to is started here.

    `handled` is called after each event, `looked` is awaited after each look, with what was known before it.
    """

    def __init__(
        self,
        ground: Ground,
        disk: Disk,
        rules: Policy,
        inbox: Inbox,
        *,
        handled: Callable[[Lane], None],
        looked: Callable[[Situation | None], Awaitable[None]],
        about: Mapping[str, str] | None = None,
    ) -> None:
        """Build engine and actions on `ground`; nothing begins before `begin`. `about` goes into its journal lines."""
        self.ground = ground
        self.actions = Actions(ground, disk)
        self.actions.about = dict(about or {})
        self.engine = Enrolment(rules, random.Random(), self.now())  # noqa: S311 - jitter, no secret
        self._disk = disk
        self._inbox = inbox
        self._handled, self._looked = handled, looked
        self._tasks: dict[asyncio.Task[None], Command | None] = {}
        self._ended = False
        self._remembered: object = None
        self._remembered_state: State | None = None
        self._remembered_at = -RUNTIME_INTERVAL

    def now(self) -> Now:
        """Return this moment on both clocks."""
        return Now(time.monotonic(), self.ground.keeper.wall())

    @property
    def condition(self) -> Condition:
        """What the engine says of itself at this moment."""
        return self.engine.condition(self.now())

    @property
    def binding(self) -> str:
        """The binding of the facts that the engine decides by; empty before it has any."""
        memory = self.engine.memory(self.now())
        return memory.key.partition("|")[0] if memory else ""

    @property
    def due(self) -> float | None:
        """When the engine wants to be called, on the monotonic clock; None while it waits for something else."""
        return self.engine.due

    def begin(self) -> None:
        """Have the engine look at what is stored, and go on from there."""
        self.start(self._perform(Examine()), Examine())

    def post(self, event: Event) -> None:
        """Have the loop hand the engine this event, in its turn."""
        self._inbox.put_nowait((self, event))

    def handle(self, event: Event) -> None:
        """Give the engine an event, start what it asks for."""
        if self._ended:
            return
        if isinstance(event, Slept):
            self.actions.bearing.slept(event.seconds)
        elif isinstance(event, Woken) and event.cause is Cause.OPERATOR:
            self.actions.bearing.retry()
        try:
            commands = self.engine.handle(event, self.now())
        except Exception as error:
            log.error("internal-error", event_type=type(event).__name__, exc_info=error)
            self.engine = Enrolment(self.engine.rules, random.Random(), self.now())  # noqa: S311 - as above
            self.start(self._begin_again())
            commands = []
        for command in commands:
            self.start(self._perform(command), command)
        self._handled(self)
        self._remember_now_and_then()

    def wake(self, cause: Cause) -> None:
        """End a wait early, as far as the WFM allows."""
        self.handle(Woken(cause))
        self.post(Due())  # the loop sleeps until the old time: have it look at the new one

    async def look_again(self) -> None:
        """Take in what was configured, seen or chosen: at once, or as soon as the request under way is answered."""
        self.handle(Reread())
        await self.looked()

    async def looked(self) -> None:
        """Wait for a look that is under way, so that whoever asks for the status next sees what came of it."""
        looks = [task for task, command in self._tasks.items() if isinstance(command, Examine)]
        if looks:
            await asyncio.wait(looks, timeout=LOOK)
            take_events(self._inbox)
        self.post(Due())

    def start(self, work: Coroutine[Any, Any, None], command: Command | None = None) -> None:
        """Run `work` as a task of this lane; a fault of it is said."""
        task = asyncio.ensure_future(work)
        self._tasks[task] = command
        task.add_done_callback(self._finished)

    def precious(self) -> list[asyncio.Task[None]]:
        """Return the requests and writes under way whose loss would cost the identity."""
        return [task for task, command in self._tasks.items() if _is_precious(command)]

    def end(self) -> None:
        """End every task; no event counts any more."""
        self._ended = True
        for task in list(self._tasks):
            task.cancel()

    async def close(self) -> None:
        """Close what is open and write down where it stands. `end` comes first."""
        memory = self.engine.memory(self.now())
        await self.actions.close()
        if memory is not None:
            await self._disk.run(lambda: self.ground.remember(memory))
        await self._disk.run(self.ground.close)

    async def _begin_again(self) -> None:
        """Have a new engine look at what is stored, after a while."""
        await asyncio.sleep(BEGIN_AGAIN)
        await self._perform(Examine())

    async def _perform(self, command: Command) -> None:
        before = self.actions.situation
        try:
            event = await self.actions.perform(command)
        except Exception as error:
            log.error("internal-error", command=type(command).__name__, exc_info=error)
            event = self.actions.failed(command, error)
        if event is not None:
            self.post(event)
        if self.actions.wants_look:
            self.actions.wants_look = False
            self.post(Reread())
        if isinstance(command, Examine):
            await self._looked(before)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("internal-error", exc_info=error)

    def _remember_now_and_then(self) -> None:
        """Write runtime.json when the state is another one than it says, but not too often."""
        memory = self.engine.memory(self.now())
        if memory is None:
            return
        told = memory.key, memory.state, memory.reason, memory.trail.proven, memory.trail.intercepted_for is None
        if told == self._remembered:
            return
        # Since when it is enrolled is asked for years later: that is not left to the next stop, which may be a kill.
        is_news = memory.state is State.ENROLLED and self._remembered_state is not State.ENROLLED
        if not is_news and time.monotonic() - self._remembered_at < RUNTIME_INTERVAL:
            return
        self._remembered, self._remembered_at = told, time.monotonic()
        self._remembered_state = memory.state
        self.start(self._disk.run(lambda: self.ground.remember(memory)))


def take_events(inbox: Inbox) -> None:
    """Hand out every event that has come."""
    while not inbox.empty():
        lane, event = inbox.get_nowait()
        lane.handle(event)


def _is_precious(command: Command | None) -> bool:
    return isinstance(command, Keep) or (isinstance(command, Send) and command.step is Step.ENROL)
