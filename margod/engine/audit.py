"""Which of many like requests are worth a line in the journal: the first, and a count once an hour. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

INTERVAL: Final = 3_600.0
"""Seconds between two lines about the same."""
KEPT: Final = 256
"""Different things that are counted, and so the most lines in an interval; what comes beyond that is `left_out`."""


@dataclass(slots=True)
class _Seen:
    said: float
    count: int


class Audit(Generic[K]):
    """Counts what happens by its key; times are monotonic seconds."""

    def __init__(self) -> None:
        """Nothing was seen."""
        self._seen: dict[K, _Seen] = {}
        self._left_out = 0
        self._full_until = 0.0

    def count(self, key: K, now: float) -> int:
        """Return how often this happened since the last line about it, this time included; 0: no line is due.

        Who invents keys neither fills the memory nor wins a line by each: what was said within the interval keeps its
        place, and a key that finds none waits for one.
        """
        seen = self._seen.pop(key, None)
        if seen is not None and now - seen.said < INTERVAL:
            seen.count += 1
            self._seen[key] = seen
            return 0
        if seen is None and len(self._seen) >= KEPT and not self._make_room(now):
            self._left_out += 1
            return 0
        self._seen[key] = _Seen(now, 0)
        return 1 + (seen.count if seen is not None else 0)

    def take_left_out(self) -> int:
        """Return how many had no place and no line since this was last asked."""
        count, self._left_out = self._left_out, 0
        return count

    def rest(self) -> list[tuple[K, int]]:
        """Return what happened since the last line about it, and forget it: for a stop."""
        counts = [(key, seen.count) for key, seen in self._seen.items() if seen.count]
        self._seen.clear()
        return counts

    def _make_room(self, now: float) -> bool:
        """Forget the key of which a line is longest ago, if that is an interval; what it still counted is left out."""
        if now < self._full_until:
            return False
        oldest = min(self._seen, key=lambda key: self._seen[key].said)
        self._full_until = self._seen[oldest].said + INTERVAL  # none is older, and none gets older
        if now < self._full_until:
            return False
        self._left_out += self._seen.pop(oldest).count
        return True
