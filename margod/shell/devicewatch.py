"""Notices that the device, or one behind it, is another one than was reported: at device events and once in a while.

A change is worth a look; whether it counts yet is the ground's to say (engine/settling.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Final

import structlog

from margod.capabilities.arrivals import Arrivals
from margod.engine.messages import Cause
from margod.model.state import Condition, State
from margod.shell.device import Device
from margod.shell.disk import Disk
from margod.shell.lane import Lane
from margod.shell.situation import Situation

log: Final = structlog.get_logger()

CALM: Final = 5.0
"""Seconds from a device event to the look: what is plugged in comes up in several steps."""


ASKED: Final = 10.0
"""Seconds at least between two looks that others have led to: anybody in the group may ask."""


class DeviceWatch:
    """A sideline of the enrolment whose device it watches, as soon as that is enrolled."""

    name = "capabilities"

    def __init__(self, lane: Lane, disk: Disk) -> None:
        """Watch the device of `lane`."""
        self._lane, self._disk = lane, disk
        self._situation: Situation | None = None
        self._arrivals: Arrivals | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next, self._asked_at = 0.0, -ASKED
        self._tasks: set[asyncio.Task[None]] = set()

    def consider(self, situation: Situation | None, condition: Condition) -> None:
        """Watch from the enrolment on; look when a change will have held for long enough."""
        self._situation = situation
        if situation is None or situation.client_id is None or condition.state is State.REFUSED:
            self._rest()
            return
        if self._arrivals is None:
            self._arrivals = Arrivals(lambda: self._in(CALM))
            self._next = time.monotonic() + self._interval
        self._set_timer()

    def wake(self, cause: Cause) -> None:
        """A person asks: what has changed is reported at once."""
        if cause is Cause.OPERATOR and self._arrivals is not None:
            self._start(self._look(told=True))

    async def asked(self, seen: Device) -> None:
        """Take in what somebody who asks has `seen`, at once or soon, so that status and journal say the same."""
        known = self._lane.ground.device
        if self._arrivals is None or known is None or seen.says == known.says:
            return
        wait = self._asked_at + ASKED - time.monotonic()
        if wait > 0.0:
            self._in(wait)
            return
        self._asked_at = time.monotonic()
        await self._look_again()

    def slept(self, seconds: float) -> None:
        """Look soon: much may have changed meanwhile."""
        self._lane.ground.settling.slept(seconds)
        if self._arrivals is not None:
            self._in(CALM)

    def document(self) -> dict[str, object]:
        """Return whether the WFM has all of it as it is, whether a change has yet to hold, and how many are behind."""
        known = self._situation
        facts = known.facts if known else None
        children = known.context.capabilities.children if known and known.context else ()
        settling = self._lane.ground.settling.waits
        return {
            "accepted": facts is not None and facts.reported == facts.report != "" and not settling,
            "settling": settling,
            "children": len(children),
        }

    async def close(self) -> None:
        """End what is under way."""
        self._rest()
        for task in list(self._tasks):
            task.cancel()

    @property
    def _interval(self) -> float:
        return self._lane.ground.config.capabilities.look

    def _rest(self) -> None:
        if self._arrivals is not None:
            self._arrivals.close()
            self._arrivals = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _in(self, seconds: float) -> None:
        self._next = min(self._next, time.monotonic() + seconds)
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due = self._lane.ground.settling.due
        self._next = min(self._next, time.monotonic() + self._interval)
        at = self._next if due is None else min(self._next, due)
        self._timer = asyncio.get_running_loop().call_later(max(0.0, at - time.monotonic()), self._due)

    def _due(self) -> None:
        due, now = self._lane.ground.settling.due, time.monotonic()
        if due is not None and due <= now:
            self._lane.ground.settling.due = None
            self._start(self._look_again())
        if self._next <= now:
            self._next = now + self._interval
            self._start(self._look())
        self._set_timer()

    async def _look(self, *, told: bool = False) -> None:
        """Look at the device alone; at everything if it is another one. `told`: then it is reported at once."""
        ground = self._lane.ground
        changed = await self._disk.run(ground.device_changed)
        if changed or (told and ground.settling.waits):
            log.debug("device-changed")
            ground.told = ground.told or told
            await self._look_again()

    async def _look_again(self) -> None:
        await self._lane.look_again()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("internal-error", exc_info=error)
