"""The time that this device works with: the system's clock, what vouches for it, and what is done where nothing does.

One for the whole process. It lives in the event loop; `load` and `save` run in the disk thread. The decisions are in
`engine/timekeeping.py`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from margod import RELEASED
from margod.engine import messages as m
from margod.engine import timekeeping
from margod.engine.timekeeping import Floor, Reading
from margod.model import reasons
from margod.model.errors import StateNotWritable
from margod.model.outcome import Kind, Outcome
from margod.model.reasons import Reason
from margod.model.text import clean, duration, timestamp
from margod.model.wire import Answer, TransportFailure
from margod.protocols.answers import clock_offset
from margod.service import clock
from margod.shell.downtime import Downtime
from margod.shell.situation import Warned
from margod.store import read_regular, write_file
from margod.store.directories import remove_tree

log: Final = structlog.get_logger()

FILE: Final = "clock.json"
FILE_LIMIT: Final = 4_096
ASKED_EVERY: Final = 60.0
"""Seconds between two questions to the system whether its clock is synchronised, steps apart."""
_LAST: Final = 253_402_300_799.0
"""9999-12-31: a stored floor beyond it is damage."""


class Timekeeper:
    """Knows what time it is, how far to believe it, and what to tell the engine when the clock was set."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        """Believe `wall` (Unix seconds) until something says otherwise."""
        self._system = wall
        self.shift = 0.0
        """Seconds added to the system's clock: only after `clock.bootstrap`, and only until the clock is set."""
        self.floor = Floor(RELEASED)
        self.offset: float | None = None
        """Seconds by which the WFM's clock is ahead of ours; None until it said, and again when ours was set."""
        self.synchronised: bool | None = None
        self.wants_saving = False
        self._boot_id = clock.boot_id()
        self._asked_at = -ASKED_EVERY
        self._known: tuple[float, float] | None = None
        """A time that was vouched for, and the boot-time clock then."""
        self._last = self._reading()
        self.downtime = Downtime(self.wall)

    def wall(self) -> float:
        """Return the time to work with, Unix seconds."""
        return self._system() + self.shift

    def plausible(self) -> bool:
        """Return whether the clock can be right."""
        return self.wall() >= self.floor.wall

    def implausible(self) -> str:
        """Return why the clock cannot be right, "" if it can."""
        now, floor = self.wall(), self.floor.wall
        if now >= floor:
            return ""
        return f"it says {timestamp(now)}, and it was {timestamp(floor)} already"

    def likely(self) -> float:
        """Return the time that it probably is: the clock's, or what was vouched for earlier where the clock left it.

        For what must not be thrown away because of a clock that jumped; never for what is signed or verified.
        """
        return self.wall() if self._away() is None else self._expected()

    def created(self) -> int:
        """Return the time that a signature bears: ours, or the WFM's where its clock differs within bounds."""
        return int(self.wall() + self.correction())

    def correction(self) -> float:
        """Return the seconds that `created` adds to our clock."""
        return timekeeping.correction(self.offset, self.synchronised)

    def take(self, result: Answer | TransportFailure) -> None:
        """Learn from an answer; what did not come over a verified channel teaches nothing."""
        if not isinstance(result, Answer) or result.valid is None:
            return
        offset = clock_offset(result)
        if offset is None:
            return
        self.offset = offset
        if timekeeping.vouches(offset, result.at, result.valid):
            self._vouched(result.at)

    def turn(self) -> list[m.Event]:
        """Compare the clocks with those of the last turn and return what the engine has to hear of."""
        before, now = self._last, self._reading()
        self._last = now
        happened = timekeeping.moved(before, now)
        if happened.step or now.boot - self._asked_at >= ASKED_EVERY:
            self._asked_at = now.boot
            self._ask()
        if not (happened.step or happened.slept):
            return []
        events: list[m.Event] = [m.Slept(happened.slept)] if happened.slept else []
        if happened.step:
            self._stepped(happened.step)
            events += [m.Reread(), m.Woken(m.Cause.CLOCK)]
        self.downtime.renew()
        return events

    def found(self, wall: float, at: float) -> None:
        """Work with the time that the WFM gave (`clock.bootstrap`): `wall` was it when the system's clock said `at`."""
        self.shift += wall - at
        self._last = self._reading()
        self.downtime.renew()
        log.warning("clock-from-wfm", time=timestamp(wall), system=timestamp(at))

    def explain(self, outcome: Outcome) -> Outcome:
        """Return the outcome with what the clock has to do with it."""
        if outcome.by_clock and self.correction():
            outcome = replace(outcome, by_clock=False)  # the signature bore the WFM's time: the clock explains nothing
        if outcome.reason in (reasons.TLS_EXPIRED, reasons.TLS_NOT_YET_VALID):
            return self._tls(outcome)
        if outcome.reason is reasons.SIGNATURE_REFUSED and (reason := self._to_mend()):
            if self._away() is not None:  # our clock left the time: nothing that the WFM said is taken back by that
                return replace(outcome, kind=Kind.CLOCK, reason=reasons.CLOCK_IMPLAUSIBLE)
            return replace(outcome, reason=reason)
        return outcome

    def warnings(self) -> list[Warned]:
        """Return what a person should know of the clock."""
        found = []
        if self.shift:
            found.append(Warned(reasons.CLOCK_FROM_WFM, reasons.CLOCK_FROM_WFM.says))
        if reason := self._to_mend():
            found.append(Warned(reason, f"{reason.says} {self._difference()}."))
        return found

    def document(self) -> dict[str, object]:
        """Return what status says of the clock."""
        return {
            "plausible": self.plausible(),
            "synchronised": self.synchronised,
            "source": "wfm" if self.shift else "system",
            "floor": timestamp(self.floor.wall),
            "offset_seconds": None if self.offset is None else round(self.offset, 1),
            "offset_used": self.correction() != 0.0,
        }

    def reset(self) -> None:
        """Forget the floor, and all that was learnt about the time."""
        self.floor, self.offset, self.shift, self._known = Floor(RELEASED), None, 0.0, None
        log.info("clock-reset")

    def load(self, directory: Path) -> None:
        """Read the stored floor. None, a damaged or an impossible one is no floor, never an error."""
        with suppress(OSError, ValueError, RecursionError, KeyError, TypeError, OverflowError):
            stored = json.loads(read_regular(directory / FILE, FILE_LIMIT))
            floor = Floor(float(stored["floor"]), str(stored["boot_id"]), float(stored["at"]))
            if self.floor.wall < floor.wall < _LAST and floor.at >= 0.0:
                self.floor = floor

    def save(self, directory: Path) -> None:
        """Write the floor, or remove it where there is none; a disk that refuses changes nothing."""
        self.wants_saving = False
        floor = self.floor
        with suppress(StateNotWritable):
            if floor.boot_id or floor.wall > RELEASED:
                text = {"floor": floor.wall, "boot_id": floor.boot_id, "at": floor.at}
                write_file(directory, FILE, json.dumps(text).encode())
            else:
                remove_tree(directory / FILE)

    def close(self) -> None:
        """Let the floor rise for the last time in this process."""
        if self._known is not None and self._away() is None:
            self._raise(self._expected(), closing=True)

    def _reading(self) -> Reading:
        return Reading(self._system(), time.monotonic(), clock.boot_time())

    def _ask(self) -> None:
        self.synchronised = clock.synchronised()
        if self.synchronised and not self.shift and self.plausible() and self._away() is None:
            self._vouched(self.wall())

    def _vouched(self, wall: float) -> None:
        """Take note that it is `wall`."""
        self._known = wall, clock.boot_time()
        self._raise(wall)

    def _raise(self, seen: float, *, closing: bool = False) -> None:
        floor = timekeeping.risen(self.floor, seen, self._boot_id, clock.boot_time(), closing=closing)
        if floor is not None:
            self.floor, self.wants_saving = floor, True

    def _stepped(self, step: float) -> None:
        self.offset = None
        if self.shift:  # the time goes on as it was, unless the system's clock can be right now
            self.shift = 0.0 if self._system() >= self.floor.wall else self.shift - step
        by = f"{'forward' if step > 0 else 'back'} by {duration(abs(step))}"
        log.info("clock-set", message=f"The clock was set {by}.", time=timestamp(self.wall()))

    def _expected(self) -> float:
        assert self._known is not None
        return self._known[0] + clock.boot_time() - self._known[1]

    def _away(self) -> float | None:
        """Return by how much the clock left the time that was vouched for; None if it did not, or none was."""
        if self._known is None:
            return None
        away = self.wall() - self._expected()
        return away if abs(away) > timekeeping.AGREES else None

    def _tls(self, outcome: Outcome) -> Outcome:
        """Tell a certificate out of its time from a clock that is wrong, with the evidence."""
        says, away = f"this device's clock says {timestamp(self.wall())}", self._away()
        if said := self.implausible():
            return replace(outcome, kind=Kind.CLOCK, reason=reasons.CLOCK_IMPLAUSIBLE, detail=clean(said))
        if away is not None:
            side = "ahead of" if away > 0 else "behind"
            said = f"{says}, {duration(abs(away))} {side} the time that was vouched for earlier"
            return replace(outcome, kind=Kind.CLOCK, reason=reasons.CLOCK_IMPLAUSIBLE, detail=clean(said))
        if self.synchronised or self._known is not None:
            evidence = "is synchronised" if self.synchronised else "agreed with the WFM's before"
            return replace(outcome, detail=clean(f"{outcome.detail}; {says} and {evidence}: look at the certificate"))
        return replace(outcome, detail=clean(f"{outcome.detail}; {says}, and nothing vouches for it: it may be wrong"))

    def _to_mend(self) -> Reason | None:
        """Return which clock has to be mended, None if the two are near enough."""
        if not timekeeping.beyond(self.offset, self.synchronised):
            return None
        return reasons.WFM_CLOCK_OFFSET if self.synchronised else reasons.CLOCK_OFFSET

    def _difference(self) -> str:
        offset = self.offset or 0.0
        side = "behind" if offset > 0 else "ahead of"
        return f"This device's is {duration(abs(offset))} {side} the WFM's"
