"""Which WFMs are seen, since when, and whether one of them can be taken without guessing. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from margod.discovery.records import Candidate

SETTLE: Final = 2.0
"""Seconds that a first sighting waits for others before it counts."""
MOST: Final = 64
"""Candidates that are kept; more are noise, of which a random part is forgotten so that nobody can fill the table."""


class Sightings:
    """What is announced at present, by instance name."""

    def __init__(self) -> None:
        """Nothing is seen yet."""
        self._seen: dict[str, Candidate] = {}
        self._first: float | None = None

    def add(self, candidate: Candidate, now: float, keep: frozenset[str] = frozenset()) -> bool:
        """Take a sighting at `now` (monotonic seconds); return whether it changes anything. Names in `keep` stay."""
        if self._seen.get(candidate.instance) == candidate:
            return False
        if self._first is None:
            self._first = now
        if candidate.instance not in self._seen and len(self._seen) >= MOST:
            del self._seen[random.choice([name for name in self._seen if name not in keep])]  # noqa: S311 - no secret
        self._seen[candidate.instance] = candidate
        return True

    def remove(self, instance: str) -> bool:
        """Forget one that said goodbye or was heard of no more."""
        found = self._seen.pop(instance, None) is not None
        if not self._seen:
            self._first = None
        return found

    def clear(self) -> None:
        """Forget all."""
        self._seen.clear()
        self._first = None

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All, in the order of their names."""
        return tuple(self._seen[name] for name in sorted(self._seen))

    def settles_in(self, now: float) -> float | None:
        """Return the seconds until what is seen counts, 0.0 if it does; None while nothing is seen."""
        return None if self._first is None else max(0.0, self._first + SETTLE - now)


def choose(candidates: Sequence[Candidate], wanted: str | None) -> Candidate | None:
    """Return the one named `wanted`; without a wish the only one; None where that would be a guess."""
    if wanted is not None:
        return next((candidate for candidate in candidates if candidate.instance == wanted), None)
    return candidates[0] if len(candidates) == 1 else None
