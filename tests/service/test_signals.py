"""Tests of margod.service.signals, with real signals to this process."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from margod.service.signals import handled


@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGTERM, "stop"), (signal.SIGINT, "stop"), (signal.SIGHUP, "reload")]
)
async def test_a_signal_calls_its_callback_in_the_loop(number: signal.Signals, expected: str) -> None:
    """TERM and INT stop, HUP reloads; a second one of the same kind is passed on too."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    with handled(stop=lambda: heard.put_nowait("stop"), reload=lambda: heard.put_nowait("reload")):
        for _ in range(2):
            os.kill(os.getpid(), number)
            assert await asyncio.wait_for(heard.get(), 60) == expected
    assert heard.empty()


async def test_leaving_the_block_gives_the_signals_back() -> None:
    """Afterwards the handlers are those that Python sets by itself, also when the block is left by an error."""
    with pytest.raises(ZeroDivisionError), handled(stop=lambda: None, reload=lambda: None):
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
