"""Windows of time, as a person writes them: `Mon-Fri 22:00-06:00 Europe/Berlin`, `2026-12-24 to 2027-01-02`.

A weekly window has days and times; one whose end is not after its start runs into the next day. A dated one lies
between two dates, or two moments. Both may name a time zone (IANA); without one the device's own counts. Times are what
clocks on the wall show: a window keeps its hours over a change of summer time, and of an hour that comes twice both are
in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, TypeAlias

from margod.model.windows_faults import fault

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
EXAMPLES: Final = "Mon-Fri 22:00-06:00, Sat,Sun 00:00-24:00 Europe/Berlin, or 2026-12-24 to 2027-01-02"
LONGEST: Final = 14 * 86_400.0
"""Seconds after which a window that never ends is looked at again."""

_DAY_NAMES: Final = "|".join(DAYS)
_WEEKLY: Final = re.compile(
    rf"(?:(?P<days>(?:{_DAY_NAMES})(?:[-,](?:{_DAY_NAMES}))*)\s+)?"
    r"(?P<start>[0-2]\d:[0-5]\d)\s*-\s*(?P<end>[0-2]\d:[0-5]\d)(?:\s+(?P<zone>\S+))?",
    re.IGNORECASE,
)
_MOMENT: Final = r"\d{4}-\d\d-\d\d(?:[ T][0-2]\d:[0-5]\d)?"
_DATED: Final = re.compile(rf"(?P<start>{_MOMENT})\s+to\s+(?P<end>{_MOMENT})(?:\s+(?P<zone>\S+))?", re.IGNORECASE)

Span: TypeAlias = tuple[float, float]
"""From (in it) and to (not in it), Unix seconds."""


@dataclass(frozen=True, slots=True)
class Window:
    """One window: weekly with `days` (0 Monday to 6 Sunday) and minutes of the day, or dated with two moments."""

    text: str
    zone: str
    days: frozenset[int]
    start: int
    end: int
    """Minutes after midnight of the first day, more than `start`; up to 2,880."""
    dated: tuple[datetime, datetime] | None = None
    clock: tzinfo | None = field(default=None, compare=False, repr=False)
    """The zone itself, read once; None is the device's own, which may change while margod runs."""

    def spans(self, at: float) -> Iterator[Span]:
        """Return the spans that begin near `at`, Unix seconds: from two days before it to two weeks after it."""
        zone = self.clock
        if self.dated is not None:
            yield _unix(self.dated[0], zone, last=False), _unix(self.dated[1], zone, last=True)
            return
        today = datetime.fromtimestamp(at, UTC).astimezone(zone).date()
        for offset in range(-2, 16):
            day = today + timedelta(days=offset)
            if day.weekday() in self.days:
                yield _unix(_after(day, self.start), zone, last=False), _unix(_after(day, self.end), zone, last=True)


def parse(text: str) -> Window:
    """Return the window that `text` describes. Raises ValueError with what is wrong, for a person."""
    text = text.strip()
    if found := _WEEKLY.fullmatch(text):
        start, end = _minutes(found["start"]), _minutes(found["end"])
        if start == 24 * 60:
            raise ValueError("a window cannot start at 24:00; write 00:00 of the next day")
        days = _days(found["days"]) if found["days"] else frozenset(range(7))
        clock = _known(found["zone"])
        return Window(text, found["zone"] or "", days, start, end if end > start else end + 24 * 60, clock=clock)
    if found := _DATED.fullmatch(text):
        first, last = _moment(found["start"], end=False), _moment(found["end"], end=True)
        if last <= first:
            raise ValueError("the end is not after the start")
        clock = _known(found["zone"])
        return Window(text, found["zone"] or "", frozenset(), 0, 0, (first, last), clock)
    raise ValueError(fault(text, DAYS) or f"expected a window such as {EXAMPLES}")


def ends(windows: Iterable[Window], at: float) -> float | None:
    """Return when the window around `at` ends, Unix seconds; None if none is there. Windows that touch are one.

    Weekly ones are followed for LONGEST; who is still inside then has to ask again.
    """
    return around(windows, at)[0]


def opens(windows: Iterable[Window], at: float) -> float | None:
    """Return the first moment at or after `at` that lies in a window; None if there is none any more."""
    end, start = around(windows, at)
    return start if end is None else at


def around(windows: Iterable[Window], at: float) -> tuple[float | None, float | None]:
    """Return when the window around `at` ends, None if none is there; and where the next one begins after `at`."""
    end, limit = at, at + LONGEST
    spans = sorted((*span, window.dated is not None) for window in windows for span in window.spans(at))
    for start, stop, is_dated in spans:
        if start <= end < stop:
            end = stop if is_dated else max(end, min(stop, limit))
    following = min((start for start, _, _ in spans if start > at), default=None)
    return None if end == at else end, following


def within(windows: Iterable[Window], at: float) -> str:
    """Return, as it is written, the first window that `at` lies in; "" if there is none."""
    return next((each.text for each in windows if any(start <= at < end for start, end in each.spans(at))), "")


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if "-" in last:
            raise ValueError(f"{part} is not a day or two with a - between")
        begin, length = _day(first), 1
        if last:
            length = (_day(last) - begin) % 7 + 1
        found |= {(begin + offset) % 7 for offset in range(length)}
    return frozenset(found)


def _day(name: str) -> int:
    return [day.lower() for day in DAYS].index(name.lower())


def _minutes(text: str) -> int:
    hours, minutes = int(text[:2]), int(text[3:])
    if hours > 24 or (hours == 24 and minutes):
        raise ValueError(f"there is no {text}")
    return hours * 60 + minutes


def _moment(text: str, *, end: bool) -> datetime:
    """Return the moment; a mere date is its beginning, at the end of a window that of the day after."""
    try:
        day = date.fromisoformat(text[:10])
    except ValueError:
        raise ValueError(f"there is no day {text[:10]}") from None
    if not 2000 <= day.year <= 2200:
        raise ValueError(f"{text[:10]} is not between the years 2000 and 2200")
    if len(text) > 10:
        return _after(day, _minutes(text[11:]))
    return _after(day, 24 * 60 if end else 0)


def _after(day: date, minutes: int) -> datetime:
    return datetime.combine(day + timedelta(days=minutes // 1440), time(minutes % 1440 // 60, minutes % 60))


def _unix(wall: datetime, zone: tzinfo | None, *, last: bool) -> float:
    """Return when clocks show `wall`; of an hour that comes twice the first, or with `last` the second.

    What an hour leaves out that does not come at all is where it would be if clocks had not been put forward.
    """
    first = wall.replace(tzinfo=zone, fold=0).timestamp()
    return max(first, wall.replace(tzinfo=zone, fold=1).timestamp()) if last else first


def _known(name: str | None) -> tzinfo | None:
    """Return the zone of that name, None without one."""
    if name is None:
        return None
    from zoneinfo import ZoneInfo  # half a megabyte, and few windows name a zone

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        raise ValueError(f"the time zone {name} is not known on this device") from None
