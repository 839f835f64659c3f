"""How long something waits, whatever the machine does meanwhile.

async with within(2.0):
    await client.close()

A machine that is slow, or stands still for seconds, makes everything late; what waits for a timer of its own is late
by that timer on any machine. So it is turns of the loop that are counted, a fiftieth of a second apart: a stall,
however long, is one of them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

_TURN: Final = 0.02


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """As asyncio.timeout: raise TimeoutError where the block waits for longer, stalls of this process left out."""

    async def count() -> None:
        for _ in range(round(seconds / _TURN)):
            await asyncio.sleep(_TURN)  # a turn is what is counted
        bound.reschedule(asyncio.get_running_loop().time())

    async with asyncio.timeout(None) as bound:
        counting = asyncio.ensure_future(count())
        try:
            yield
        finally:
            counting.cancel()


@contextmanager
def waited() -> Iterator[Callable[[], float]]:
    """Give a function that returns the seconds of the block so far, counted in the same way, by a thread."""
    over, turns = threading.Event(), 0

    def count() -> None:
        nonlocal turns
        while not over.wait(_TURN):
            turns += 1

    counting = threading.Thread(target=count, daemon=True)
    counting.start()
    try:
        yield lambda: turns * _TURN
    finally:
        over.set()
        counting.join()
