"""Whether the system says that its clock is synchronised."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

TIMESYNCD: Final = Path("/run/systemd/timesync/synchronized")
"""systemd-timesyncd touches it at the first synchronisation (systemd-timesyncd.service(8))."""

_STA_UNSYNC: Final = 0x40
_TIME_ERROR: Final = 5
_STATUS_AT: Final = 5
"""Of `struct timex` as longs: modes (padded), offset, freq, maxerror, esterror, status (adjtimex(2))."""


def synchronised() -> bool | None:
    """Return whether systemd-timesyncd, chrony or ntpd keeps the clock right; None if the kernel does not say.

    Asks with modes 0, which reads only and needs no right.
    """
    with suppress(OSError):
        if TIMESYNCD.exists():
            return True
    with suppress(OSError, AttributeError, ValueError):
        library = ctypes.CDLL(None, use_errno=True)
        timex = (ctypes.c_long * 64)()
        state = library.adjtimex(timex)
        if state < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        status = timex[_STATUS_AT] & 0xFFFFFFFF
        return state != _TIME_ERROR and not status & _STA_UNSYNC
    return None
