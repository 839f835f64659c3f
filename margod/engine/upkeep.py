"""What an enrolled device asks from time to time, and when: does the WFM still know it, has it another root CA.

Monotonic seconds inside; what is remembered over a restart is wall time, and believed for no more than one interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Final

from margod.engine import policy
from margod.engine.messages import Now
from margod.engine.policy import SPREAD
from margod.model.outcome import Step

EARLIEST: Final = 0.5
"""The first time comes after this part of an interval at the earliest, at random: a fleet does not ask in step."""


class Upkeep:
    """When each step is next due. Steps without an interval are not."""

    def __init__(self, rng: Random) -> None:
        """Begin with nothing planned."""
        self._rng = rng
        self._at: dict[Step, float] = {}
        self._interval: dict[Step, float] = {}

    def plan(self, intervals: Mapping[Step, float], now: Now) -> None:
        """Take the intervals, seconds; what is planned already stays unless its interval is another one."""
        for step, interval in intervals.items():
            if self._interval.get(step) != interval:
                wait = self._rng.uniform(EARLIEST, 1.0) * interval
                self._at[step] = min(self._at.get(step, now.mono + wait), now.mono + wait)
        self._at = {step: at for step, at in self._at.items() if step in intervals}
        self._interval = dict(intervals)

    def due(self) -> float | None:
        """Return when the next step is due, monotonic seconds; None if there is none."""
        return min(self._at.values(), default=None)

    def next(self, now: Now) -> Step | None:
        """Return the step that is due, the longest overdue first."""
        found = min(self._at, key=lambda step: self._at[step], default=None)
        return found if found is not None and self._at[found] <= now.mono else None

    def done(self, step: Step, now: Now) -> None:
        """The step was made; the next time is an interval away."""
        if step in self._interval:
            self._at[step] = now.mono + self._rng.uniform(0.9, 1.1) * self._interval[step]

    def slept(self, seconds: float, now: Now) -> None:
        """Count a suspend as time that has passed."""
        self._at = {step: policy.slept(at, seconds, now.mono, self._rng) for step, at in self._at.items()}

    def memory(self, now: Now) -> dict[Step, float]:
        """Return what should survive a restart: each step's time, Unix seconds."""
        return {step: now.wall + at - now.mono for step, at in self._at.items()}

    def recall(self, remembered: Mapping[Step, float], now: Now) -> None:
        """Take over an earlier process's times, before the first `plan`. The wall clock may have jumped meanwhile."""
        for step, at in remembered.items():
            self._at[step] = now.mono + max(
                at - now.wall, self._rng.uniform(0.0, SPREAD)
            )  # power comes back to a plant at once
