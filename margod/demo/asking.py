"""One question to the person at the terminal, with an end to the waiting."""

from __future__ import annotations

import os
import select
import sys
import time
from contextlib import suppress
from typing import TextIO


def someone_is_there(source: TextIO | None = None, out: TextIO | None = None) -> bool:
    """Return whether a person sees our output and can answer: both ends are a terminal, and we are in front of it."""
    source, out = source or sys.stdin, out or sys.stdout
    try:
        return source.isatty() and out.isatty() and os.tcgetpgrp(source.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):
        return False


def forget_what_was_typed(source: TextIO | None = None) -> None:
    """Drop the keys that were pressed so far: before a question is shown, none is an answer to it."""
    import termios

    with suppress(termios.error):
        termios.tcflush(source or sys.stdin, termios.TCIFLUSH)


def answer(seconds: float, source: TextIO | None = None) -> bool | None:
    """Return whether the person says yes, or None if nobody answers within `seconds`. Enter alone is no."""
    source = source or sys.stdin
    descriptor = source.fileno()
    deadline = time.monotonic() + seconds
    typed = b""
    while (left := deadline - time.monotonic()) > 0:
        if select.select([descriptor], [], [], left)[0]:
            part = os.read(descriptor, 1024)
            typed += part
            if not part or typed.endswith(b"\n"):  # an empty part is Ctrl-D, or a terminal that went away
                return typed.strip().lower() in (b"y", b"yes")
    return None
