"""How long something waits, whatever the machine does meanwhile.

async with within(2.0):
    await client.close()

A machine that is slow, or stands still for seconds, makes everything late; what waits for a timer of its own is late
by that timer on any machine. So it is turns of the loop that are counted, a fiftieth of a second apart: a stall,
however long, is one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
