"""The system's clocks: what they say, whether somebody keeps them right, and a word when they are set."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from margod.engine.timekeeping import Reading

TIMESYNCD: Final = Path("/run/systemd/timesync/synchronized")
"""systemd-timesyncd touches it at the first synchronisation (systemd-timesyncd.service(8))."""

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
"""Another one at each boot (random(4))."""

_STA_UNSYNC: Final = 0x40
_TIME_ERROR: Final = 5
_STATUS_AT: Final = 5
"""Of `struct timex` as longs: modes (padded), offset, freq, maxerror, esterror, status (adjtimex(2))."""
_ABSOLUTE_CANCEL_ON_SET: Final = 0x1 | 0x2
"""TFD_TIMER_ABSTIME and TFD_TIMER_CANCEL_ON_SET (timerfd_create(2))."""
_FAR: Final = 9_000_000_000 if sys.maxsize > 1 << 32 else 0x7FFFFFFF
"""When the timer ends, Unix seconds: never, as near as the kernel's nanoseconds, or a 32-bit time, let us say so."""


def synchronised() -> bool | None:
    """Return whether systemd-timesyncd, chrony or ntpd keeps the clock right; None if the kernel does not say.

    Asks with modes 0, which reads only and needs no right.
    """
    with suppress(OSError):
        if TIMESYNCD.exists():
            return True
    with suppress(OSError, AttributeError, ValueError, ImportError, MemoryError):
        import ctypes

        library = ctypes.CDLL(None, use_errno=True)
        timex = (ctypes.c_long * 64)()
        state = library.adjtimex(timex)
        if state < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        status = timex[_STATUS_AT] & 0xFFFFFFFF
        return state != _TIME_ERROR and not status & _STA_UNSYNC
    return None


def boot_id() -> str:
    """Return the name of this boot, "" if the system does not say."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()[:64]
    except (OSError, ValueError):
        return ""


def boot_time() -> float:
    """Return the seconds since the boot, suspend included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def reading() -> Reading:
    """Return the three clocks as of now."""
    return Reading(time.time(), time.monotonic(), boot_time())


class StepWatch:
    """Calls `stepped` in the event loop as soon as the wall clock is set, or the device wakes from suspend.

    It is a timerfd that the kernel cancels at these moments (TFD_TIMER_CANCEL_ON_SET); it costs no wakeup otherwise.
    Where there is none, nothing is called: whoever uses it compares clocks now and then anyway.
    """

    def __init__(self, stepped: Callable[[], None]) -> None:
        """Begin watching in the running event loop."""
        self._stepped = stepped
        self._loop = asyncio.get_running_loop()
        self._fd = -1
        with suppress(OSError, AttributeError, ImportError, MemoryError):  # MemoryError: W^X without trampolines
            self._fd = _timer()
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._woken)

    @property
    def works(self) -> bool:
        """Whether the kernel tells."""
        return self._fd >= 0

    def close(self) -> None:
        """Watch no more."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _woken(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno == errno.ECANCELED:
                self._stepped()  # the timer itself is still set, and will tell again
                return
        self.close()  # the end of time was reached, or the descriptor is no good: neither is worth a busy loop


def _timer() -> int:
    """Return the descriptor of a timer that never ends and is cancelled when the clock is set; -1 for none."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    fd: int = library.timerfd_create(time.CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
    never = (ctypes.c_long * 4)(0, 0, _FAR, 0)  # struct itimerspec: interval, then the first expiry
    if fd >= 0 and library.timerfd_settime(fd, _ABSOLUTE_CANCEL_ON_SET, never, None) < 0:
        os.close(fd)
        return -1
    return fd
