"""Time that passes only when nobody has anything to do: a year of the real daemon in minutes.

`virtual_time()` gives a `Clock` whose event loop sleeps by moving it, and puts it in the place of `time.time` and
`time.monotonic`. What comes over sockets of the same process is there at once, so nothing is skipped that is under way.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Clock:
    """Seconds on both clocks. `jump` moves the wall clock alone."""

    def __init__(self, wall: float) -> None:
        """Begin at `wall`, Unix seconds."""
        self.mono = 1_000.0
        self._offset = wall - self.mono

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back."""
        self._offset += seconds

    def monotonic(self) -> float:
        """Return the monotonic time."""
        return self.mono

    def wall(self) -> float:
        """Return the wall time."""
        return self.mono + self._offset


class _Skipping(selectors.DefaultSelector):
    """Waits for nothing: what is not there yet will not come before the next timer."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError("everything waits, and no timer is set")
        self._clock.mono += max(timeout, 1e-6)
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    """An event loop on a clock of its own."""

    def __init__(self, clock: Clock) -> None:
        """Go by `clock`."""
        super().__init__(_Skipping(clock))
        self._clock = clock
        # asyncio's 1 ns is less than a float's step at a year of seconds: a timer that is due would never be so.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Return the clock's time."""
        return self._clock.mono


class InlineDisk:
    """Stands for shell.disk.Disk: carries each call out at once, on the loop. Nothing waits while a thread works."""

    def __init__(self) -> None:
        """Begin without a watch."""
        self._timer: asyncio.TimerHandle | None = None
        self.calls = 0

    async def run(self, call: Callable[[], T]) -> T:
        """Return what `call` returns."""
        self.calls += 1
        await asyncio.sleep(0)
        return call()

    def watch(self, question: Callable[[], bool], then: Callable[[], None], interval: float) -> None:
        """Ask `question` every `interval` seconds."""

        def look() -> None:
            self._timer = asyncio.get_running_loop().call_later(interval, look)
            if question():
                then()

        self._timer = asyncio.get_running_loop().call_later(interval, look)

    def close(self, wait: float) -> bool:
        """End the watch."""
        if self._timer is not None:
            self._timer.cancel()
        return True


@contextmanager
def put(place: object, name: str, value: object) -> Iterator[Any]:
    """Put something in the place of an attribute until the block is left; give what was there."""
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield before
    finally:
        setattr(place, name, before)


@contextmanager
def virtual_time(wall: float) -> Iterator[Clock]:
    """Put a clock that begins at `wall` in the place of the machine's."""
    clock = Clock(wall)
    before = time.time, time.monotonic
    time.time, time.monotonic = clock.wall, clock.monotonic
    try:
        yield clock
    finally:
        time.time, time.monotonic = before


def run(clock: Clock, work: Coroutine[Any, Any, T]) -> T:
    """Carry out `work` in a loop on `clock`. A task that is left over is an error."""
    loop = Loop(clock)
    try:
        asyncio.set_event_loop(loop)
        result = loop.run_until_complete(work)
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        assert not left, f"{len(left)} tasks are left over: {list(left)[:3]}"
        return result
    finally:
        asyncio.set_event_loop(None)
        loop.close()
