"""What an enrolled device does beside its enrolment: lanes of their own, side by side, told what happens to it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

import structlog

from margod.engine.messages import Cause, Heard
from margod.engine.policy import SPREAD
from margod.model.outcome import Outcome, Step
from margod.model.state import Condition
from margod.shell.courier import Courier
from margod.shell.disk import Disk
from margod.shell.lane import Lane
from margod.shell.situation import Situation

log: Final = structlog.get_logger()


class Sideline(Protocol):
    """A lane beside the enrolment. It runs its own tasks; what it is told is cheap and never waits."""

    name: str
    """Its part of the status document, and its word in the journal."""

    def consider(self, situation: Situation | None, condition: Condition) -> None:
        """Begin, go on or rest, by what the enrolment has come to; called after each of its events.

        While `condition.downtime` is set nothing may leave.
        """

    def wake(self, cause: Cause) -> None:
        """End a wait early, as far as the WFM allows."""

    def slept(self, seconds: float) -> None:
        """Count a suspend of so many seconds as time that has passed."""

    def document(self) -> dict[str, object]:
        """Return its part of the status document."""

    async def close(self) -> None:
        """End what is under way within a second."""


class Work:
    """The lanes of one daemon, and their way to the enrolment that they work for."""

    def __init__(self, lane: Lane, disk: Disk, tell: Callable[[], None]) -> None:
        """Work for `lane`'s enrolment; `tell` is called when the status document is another one."""
        self._lane, self._disk = lane, disk
        self.tell = tell
        self.sidelines: list[Sideline] = []
        self._silent, self._speaks_at = False, 0.0
        self._timer: asyncio.TimerHandle | None = None

    def courier(self, name: str) -> Courier:
        """Return a courier for the lane of this name."""
        return Courier(self._lane.actions, self._disk, name)

    async def heard(self, courier: Courier, binding: str, outcome: Outcome, wait: float) -> None:
        """Tell the enrolment what the WFM said of this device, or that nobody answered.

        `binding` is that of the request; what was said about another enrolment is passed over. `wait`: seconds to the
        lane's next request.
        """
        situation = courier.situation
        if situation is None or situation.facts.binding != binding:
            return
        outcome = await self._lane.actions.about_trust(Step.CONFIRM, situation, outcome)
        self._lane.post(Heard(self._lane.ground.keeper.explain(outcome), wait))

    def consider(self, situation: Situation | None, condition: Condition) -> None:
        """Tell every lane what the enrolment has come to."""
        condition = self._spread(condition)
        for sideline in self.sidelines:
            sideline.consider(situation, condition)

    def wake(self, cause: Cause) -> None:
        """End every lane's wait early."""
        if cause is Cause.OPERATOR and self._timer is not None:
            self._speaks_at = 0.0
            self._speak()
        for sideline in self.sidelines:
            sideline.wake(cause)

    def slept(self, seconds: float) -> None:
        """Tell every lane that the device was suspended."""
        for sideline in self.sidelines:
            sideline.slept(seconds)

    def document(self) -> dict[str, object]:
        """Return the lanes' parts of the status document."""
        return {sideline.name: sideline.document() for sideline in self.sidelines}

    def _spread(self, condition: Condition) -> Condition:
        """Return the condition with a downtime that ends for the lanes at a moment of this device's own.

        For a fleet it ends in one moment, and each device has something to ask or to report by then.
        """
        if condition.downtime is not None:
            self._silent, self._speaks_at = True, 0.0
            return condition
        now = time.monotonic()
        if self._silent:
            wait = random.Random().uniform(0.0, SPREAD)  # noqa: S311 - a spread, no secret
            self._silent, self._speaks_at = False, now + wait
            self._timer = asyncio.get_running_loop().call_later(wait, self._speak)
        left = self._speaks_at - now
        return condition if left <= 0.0 else replace(condition, downtime=self._lane.ground.keeper.wall() + left)

    def _speak(self) -> None:
        """A downtime is over for the lanes too."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self.consider(self._lane.actions.situation, self._lane.condition)

    async def close(self) -> None:
        """End every lane."""
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*(sideline.close() for sideline in self.sidelines), return_exceptions=True)
