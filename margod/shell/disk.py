"""One thread for everything that may wait for a disk, in order, so that the event loop never does."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Disk:
    """Runs blocking calls one after the other in a daemon thread: a disk that hangs does not delay the exit."""

    def __init__(self) -> None:
        """Start the thread."""
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
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

    def close(self, wait: float) -> bool:
        """Let the thread end after the calls it has; return whether it did within `wait` seconds."""
        self._calls.put(None)
        self._thread.join(wait)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
