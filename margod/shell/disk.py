"""One thread for everything that may wait for a disk, in order, so that the event loop never does."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


class Disk:
    """Runs blocking calls one after the other in a daemon thread: a disk that hangs does not delay the exit."""

    def __init__(self) -> None:
        """Start the thread."""
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._look: Callable[[], None] | None = None
        self._interval = self._look_at = 0.0
        self._thread = threading.Thread(target=self._work, name="disk", daemon=True)
        self._thread.start()

    async def run(self, call: Callable[[], T]) -> T:
        """Return what `call` returns, or raise what it raises, after every call that was given before it.

        Once given, a call is carried out even if the caller is cancelled.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def deliver(result: T | None, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # the result is a T whenever there is no error

        def carry_out() -> None:
            result, error = None, None
            try:
                result = call()
            except BaseException as caught:  # handed to the caller, who knows what to make of it
                error = caught
            try:
                loop.call_soon_threadsafe(deliver, result, error)
            except RuntimeError:  # the loop is gone: nobody waits any more
                return

        self._calls.put(carry_out)
        return await future

    def watch(self, question: Callable[[], bool], then: Callable[[], None], interval: float) -> None:
        """Every `interval` seconds, call `then` in the event loop if `question` is so. A no wakes this thread only.

        An OSError counts as no. There is one watch at most.
        """
        loop = asyncio.get_running_loop()

        def look() -> None:
            with suppress(OSError, RuntimeError):  # RuntimeError: the loop is gone
                if question():
                    loop.call_soon_threadsafe(then)

        def begin() -> None:
            self._look, self._interval, self._look_at = look, interval, time.monotonic() + interval

        self._calls.put(begin)

    def close(self, wait: float) -> bool:
        """Let the thread end after the calls it has; return whether it did within `wait` seconds."""
        self._calls.put(None)
        self._thread.join(wait)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (call := self._next()) is not None:
            call()

    def _next(self) -> Callable[[], None] | None:
        """Wait for the next call; look meanwhile, when it is time."""
        while True:
            wait = None if self._look is None else max(0.0, self._look_at - time.monotonic())
            try:
                return self._calls.get(timeout=wait)
            except queue.Empty:
                self._look_at = time.monotonic() + self._interval
                assert self._look is not None, "there is no timeout without a watch"
                self._look()
