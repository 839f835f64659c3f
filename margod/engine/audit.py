"""Which of many like requests are worth a line in the journal: the first, and a count once an hour. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

INTERVAL: Final = 3_600.0
"""Seconds between two lines about the same."""
KEPT: Final = 256
"""Different things that are counted; beyond that the one that was seen longest ago is forgotten."""


@dataclass(slots=True)
class _Seen:
    said: float
    count: int


class Audit:
    """Counts what happens by its key; times are monotonic seconds."""

    def __init__(self) -> None:
        """Nothing was seen."""
        self._seen: dict[Hashable, _Seen] = {}

    def count(self, key: Hashable, now: float) -> int:
        """Return how often this happened since the last line about it, this time included; 0: no line is due."""
        seen = self._seen.pop(key, None)
        if seen is not None and now - seen.said < INTERVAL:
            seen.count += 1
            self._seen[key] = seen
            return 0
        if len(self._seen) >= KEPT:
            self._seen.pop(next(iter(self._seen)))
        self._seen[key] = _Seen(now, 0)
        return 1 + (seen.count if seen is not None else 0)
