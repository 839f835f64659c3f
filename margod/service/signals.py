"""The signals that the daemon heeds: SIGTERM and SIGINT ask it to stop, SIGHUP to read its configuration again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def handled(*, stop: Callable[[], object], reload: Callable[[], object]) -> Iterator[None]:
    """Call `stop` and `reload` from the running loop when the signals arrive, until the block is left.

    The callbacks run between two steps of the loop, never inside one, and must not block. Every signal is passed on, so
    both callbacks must bear being called again. Needs the main thread and a running loop (RuntimeError otherwise).
    """
    loop = asyncio.get_running_loop()
    wanted = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload}
    try:
        for number, callback in wanted.items():
            loop.add_signal_handler(number, callback)
        yield
    finally:
        for number in wanted:
            loop.remove_signal_handler(number)
