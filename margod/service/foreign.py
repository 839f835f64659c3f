"""What others say on standard error, brought into the daemon's log: libraries that log, and the interpreter itself.

One line each, at WARNING or above, cut like every value, and never more than `RATE` lines a minute: a library that has
lost its head must not fill a flash.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

RATE: Final = 30
"""Lines a minute from all libraries together; how many were left out is said with the next one."""

_log = structlog.get_logger()


def route_libraries() -> None:
    """Make the standard library's root logger write through structlog, at WARNING, in place of what it had of ours."""
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, LibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(LibraryHandler())
    root.setLevel(logging.WARNING)


def route_interpreter() -> None:
    """Log what the interpreter would print over several lines: warnings, exceptions nobody could catch.

    For the daemon's process alone: the hooks are global and stay.
    """
    gate = Gate()

    def unraisable(about: sys.UnraisableHookArgs) -> None:
        _say(gate, "warning", "exception-ignored", error=about.exc_value or about.exc_type, at=about.err_msg or "")

    def thread_died(about: threading.ExceptHookArgs) -> None:
        _say(gate, "error", "thread-failed", error=about.exc_value or about.exc_type)

    def died(_kind: type[BaseException], error: BaseException, _frames: object) -> None:
        _log.critical("unexpected-error", exc_info=error)

    logging.captureWarnings(True)
    sys.unraisablehook = unraisable
    threading.excepthook = thread_died
    sys.excepthook = died


class Gate:
    """Lets `RATE` events a minute pass and counts the others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Take `clock`, in seconds, which never goes back."""
        self._clock = clock
        self._left = float(RATE)
        self._at = clock()
        self._dropped = 0

    def admit(self) -> int | None:
        """Return how many were dropped since the last that passed, or None when this one is dropped."""
        now = self._clock()
        self._left = min(float(RATE), self._left + (now - self._at) * RATE / 60)
        self._at = now
        if self._left < 1:
            self._dropped += 1
            return None
        self._left -= 1
        dropped, self._dropped = self._dropped, 0
        return dropped


class LibraryHandler(logging.Handler):
    """Passes the records of the standard library's logging on to structlog."""

    def __init__(self) -> None:
        """Start with a full allowance."""
        super().__init__(logging.WARNING)
        self._gate = Gate()

    def emit(self, record: logging.LogRecord) -> None:
        """Log `record` as `library-message`: who, what, and the exception as type and message. Never raises."""
        try:
            message = record.getMessage()
        except Exception:
            message = str(record.msg)
        data: dict[str, object] = {"library": record.name, "message": message}
        if record.exc_info and record.exc_info[1] is not None:
            data["exc_info"] = record.exc_info[1]
        _say(self._gate, "error" if record.levelno >= logging.ERROR else "warning", "library-message", **data)


def _say(gate: Gate, level: str, event: str, **data: object) -> None:
    """Log once if `gate` lets it, with the number of those left out before."""
    dropped = gate.admit()
    if dropped is None:
        return
    if dropped:
        data["dropped"] = dropped
    getattr(_log, level)(event, **data)
