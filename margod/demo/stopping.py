"""Ctrl-C, SIGTERM and SIGHUP as one exception that unwinds the demo, never between starting a process and noting it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal asked to stop. `number` is its number."""

    def __init__(self, number: int) -> None:
        """Take the signal's number."""
        super().__init__(number)
        self.number = number


class Signals:
    """Raises `Stopped` at the first signal; at once, or when what holds it is over. Later ones are passed over."""

    def __init__(self) -> None:
        """Nothing is handled before `handled`."""
        self._held = 0
        self._met: int | None = None
        self._raised = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals meanwhile. One that was ignored before, as nohup does, stays ignored."""
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._meet)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Raise nothing meanwhile; a signal that came is raised at the end."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        self._raise()

    def deafen(self) -> None:
        """Raise nothing from now on: what was started is being ended, and nothing may come between."""
        self._held += 1

    def _meet(self, number: int, _frame: FrameType | None) -> None:
        self._met = number
        self._raise()

    def _raise(self) -> None:
        if self._met is not None and not self._held and not self._raised:
            self._raised = True
            raise Stopped(self._met)
