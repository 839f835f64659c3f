"""The downtimes of this device: the configured windows, and what an operator began by hand, kept over a restart.

`gate` is what every engine goes by, and `look` what everything else asks that would send. One for the whole process;
it lives in the event loop, `load` and `save` run in the disk thread.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from margod.engine.gate import BY_HAND, LONGEST_OWN, OPEN, SHORTEST, Gate, Span, View, Watch
from margod.engine.messages import Now
from margod.model.text import timestamp
from margod.model.windows import Window
from margod.service import clock
from margod.store import read_regular, remove_tree, sync_directory, write_file

log: Final = structlog.get_logger()

FILE: Final = "downtime.json"
FILE_LIMIT: Final = 4_096
LOCALTIME: Final = Path("/etc/localtime")
_LAST: Final = 253_402_300_799.0
"""9999-12-31: an end beyond it is damage."""


@dataclass(frozen=True, slots=True)
class Own:
    """The operator's downtime: `seconds` long, to `until` (Unix seconds), or `ends` on the clock of boot `boot_id`.

    `latest`: where it was begun in another boot, `until` counts as well; infinity otherwise.
    """

    seconds: float
    until: float
    boot_id: str
    ends: float
    latest: float = math.inf


class Downtime:
    """Says whether anything may leave this device."""

    def __init__(self, wall: Callable[[], float]) -> None:
        """Begin without any. `wall` is the time to work with, Unix seconds."""
        self._wall = wall
        self._windows: tuple[Window, ...] = ()
        self._own: Own | None = None
        self._watch = Watch()
        self._zone: tuple[int, int, int] | None = None
        self._zone_is_new = False
        self.gate = OPEN
        """What the engines go by; another object whenever they have to look again."""

    def look(self) -> View:
        """Return what holds now."""
        return self._watch.look(self.gate, self._now())

    @property
    def closed(self) -> bool:
        """Whether nothing may leave now."""
        return self.look().until is not None

    def configure(self, windows: tuple[Window, ...]) -> None:
        """Take the windows of schedule.downtime."""
        self._windows = windows
        self.renew()

    def renew(self) -> None:
        """Work the gate out anew: the device slept, a clock or a zone was set, or what it is made of is another."""
        own, now = self._own, self._now()
        span = None if own is None else Span(now.mono + own.ends - clock.boot_time(), own.latest)
        self.gate = Gate(self._windows, span)

    def start(self, seconds: float) -> None:
        """Begin one by hand, or have the one that was begun end so many seconds (1 minute to 30 days) from now."""
        assert SHORTEST <= seconds <= LONGEST_OWN
        self._own = Own(seconds, self._wall() + seconds, clock.boot_id(), clock.boot_time() + seconds)
        self.renew()

    def stop(self) -> bool:
        """End the one that was begun by hand; return whether there was one."""
        was = self._ends() is not None
        self._own = None
        self.renew()
        return was

    def take_ended(self) -> bool:
        """Return, once, whether one that was begun by hand is over and its file is to go."""
        if self._own is None or self._ends() is not None:
            return False
        self._own = None
        self.renew()
        return True

    def document(self) -> dict[str, object]:
        """Return what status says of it (local/openapi.yaml, `Downtime`)."""
        view, now, own = self.look(), self._now(), self._ends()
        ahead = view.edge is not None and view.until is None
        return {
            "active": view.until is not None,
            "until": None if view.until is None or view.lasting else timestamp(view.until),
            "operator_until": None if own is None else timestamp(own),
            "next_at": timestamp(now.wall + (view.edge or 0.0) - now.mono) if ahead else None,
        }

    def until_words(self) -> str:
        """Return when it ends, for a person, to stand behind `until`."""
        view = self.look()
        return "further notice" if view.until is None or view.lasting else timestamp(view.until)

    def says(self) -> str:
        """Return until when it is downtime and what ends it, for a person; "" if it is none."""
        if not self.closed:
            return ""
        by = self.look().by
        ends = "`margod downtime stop` ends it" if by == BY_HAND else f"schedule.downtime says so ('{by}')"
        return f"It is downtime until {self.until_words()}: {ends}."

    def zone_changed(self) -> bool:
        """Return whether the device's own time zone is another one than at the last look. In the disk thread.

        The C library reads the zone once: it is told to read it again.
        """
        try:
            found = LOCALTIME.stat()
        except OSError:
            return False
        before, self._zone = self._zone, (found.st_dev, found.st_ino, found.st_mtime_ns)
        if before in (None, self._zone):
            return False
        time.tzset()
        self._zone_is_new = True
        return True

    def take_zone(self) -> bool:
        """Return, once, whether the zone has changed; windows without one of their own are other times then."""
        is_new, self._zone_is_new = self._zone_is_new, False
        if is_new:
            self.renew()
        return is_new

    def load(self, directory: Path, *, quiet: bool = False) -> None:
        """Read what was begun by hand. None, a damaged or an impossible one is none, never an error.

        `quiet`: nor a word in the journal.
        """
        self.zone_changed()  # from here on changes are known
        try:
            stored = json.loads(read_regular(directory / FILE, FILE_LIMIT))
            seconds, until, ends = (float(stored[name]) for name in ("seconds", "until", "ends"))
            own = Own(seconds, until, str(stored["boot_id"]), ends)
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError, KeyError, TypeError, OverflowError):
            own = Own(0.0, 0.0, "", 0.0)
        if not (SHORTEST <= own.seconds <= LONGEST_OWN and 0.0 <= own.until < _LAST and math.isfinite(own.ends)):
            if not quiet:
                log.warning("downtime-unreadable", file=str(directory / FILE), message="It counts as none.")
            return
        boot = clock.boot_time()
        if not own.boot_id or own.boot_id != clock.boot_id():  # only the wall clock knows how much has passed
            own = Own(own.seconds, own.until, own.boot_id, boot + own.seconds, own.until)
        elif own.ends > boot + own.seconds:
            own = Own(own.seconds, own.until, own.boot_id, boot + own.seconds)
        self._own = own
        self.renew()

    def save(self, directory: Path) -> None:
        """Write what was begun by hand, or remove the file where there is none. Raises StateNotWritable."""
        own = self._own
        if own is None:
            remove_tree(directory / FILE)
            sync_directory(directory)  # a power cut must not bring back what a person has ended
            return
        text = {"seconds": own.seconds, "until": own.until, "boot_id": own.boot_id, "ends": own.ends}
        write_file(directory, FILE, json.dumps(text).encode())

    def _ends(self) -> float | None:
        return None if self.gate.span is None else self.gate.span.end(self._now())

    def _now(self) -> Now:
        return Now(time.monotonic(), self._wall())
