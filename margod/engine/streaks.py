"""How many waits of each kind there were in a step's run of failures."""

from __future__ import annotations

from margod.engine.policy import PENDING, Schedule


class Streaks:
    """Counts by schedule, so that kinds of failures that alternate back off all the same, each to its own cap."""

    def __init__(self, known: dict[Schedule, int] | None = None) -> None:
        """Begin where an earlier process stood, or with none."""
        self._counts = dict(known or {})

    def next(self, schedule: Schedule) -> int:
        """Return how many waits of this kind came before the one that begins now."""
        if schedule is PENDING:  # an answer in good order: what failed before it is over
            self._counts = {each: count for each, count in self._counts.items() if each is PENDING}
        self._counts[schedule] = self._counts.get(schedule, -1) + 1
        return self._counts[schedule]
