"""When a change of what the device is counts: once it has held for a while, and not more than a few times a day."""

from __future__ import annotations

from typing import Final

HOUR: Final = 3_600.0
DAY: Final = 24 * HOUR
MOST: Final = 3
"""Reports in an hour that nobody has asked for: what flaps slowly is not reported each time."""
MOST_A_DAY: Final = 8
"""The same in a day: each is a commit of the vault, of few (design, Budgets)."""


class Settling:
    """Told at each look what the WFM has and what is so now; says what it should have. Monotonic seconds."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._pending: tuple[str, float] | None = None
        self._let = ""
        self._times: list[float] = []
        self.due: float | None = None
        """When it is to be asked again, because a change will have held for long enough; None: nothing waits."""

    @property
    def waits(self) -> bool:
        """Whether there is a change that has not held for long enough yet."""
        return self._pending is not None

    def settle(self, reported: str, report: str, *, hold: float, told: bool, now: float) -> str:
        """Return the digest of what is to be reported: `report`, or what the WFM has while the change has to hold.

        `reported` is the digest of the last accepted report, "" if there is none. `told`: a person asks for it, or has
        changed what is said: at once.
        """
        self.due = None
        if report == reported:
            self._pending, self._let = None, ""
            return report
        if not reported or told or report == self._let:
            self._pending, self._let = None, report
            return report
        if self._pending is None or self._pending[0] != report:
            self._pending = report, now
        self._times = self._times[-MOST_A_DAY:]
        ready = self._pending[1] + hold
        for most, period in ((MOST, HOUR), (MOST_A_DAY, DAY)):
            if len(self._times) >= most:
                ready = max(ready, self._times[-most] + period)
        if now >= ready:
            self._times.append(now)
            self._pending, self._let = None, report
            return report
        self.due = ready
        return self._let or reported

    def slept(self, seconds: float) -> None:
        """Count a suspend as time that has passed."""
        self._times = [at - seconds for at in self._times]
        if self._pending is not None:
            self._pending = self._pending[0], self._pending[1] - seconds
        if self.due is not None:
            self.due -= seconds
