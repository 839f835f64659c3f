"""Whether a WFM that once accepted this device still does: what it has said against it, and when that is enough.

One word decides nothing: a server that is being restored, a balancer that points elsewhere or a wrong clock says the
same. It takes two routes and a day (design, "What an answer means": unknown client later on).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from margod.model import reasons
from margod.model.outcome import Kind, Outcome, Step
from margod.model.reasons import Reason

ROUTES: Final = 2
"""On so many different routes the WFM has to say it."""

_AGAINST: Final = frozenset({Kind.UNKNOWN, Kind.UNAUTHORIZED, Kind.FORBIDDEN})


@dataclass(frozen=True, slots=True)
class Doubt:
    """What was said against this device since it was last accepted; an empty one: nothing.

    `since` is when it was first said, on the monotonic clock, seconds: time in which no margod ran is not in it.
    `forgotten` holds while every word was that the client is not known.
    """

    steps: frozenset[Step] = frozenset()
    since: float = 0.0
    forgotten: bool = True

    def heard(self, step: Step, outcome: Outcome, mono: float) -> Doubt:
        """Return the doubt after one more answer, at `mono` seconds."""
        if outcome.kind is Kind.ACCEPTED or (step is Step.REPORT and outcome.kind is Kind.INVALID):
            return NONE  # who finds fault with what a client says knows the client
        if not self.counts(outcome):
            return self
        forgotten = self.forgotten and outcome.kind is Kind.UNKNOWN
        return Doubt(self.steps | {step}, self.since if self.steps else mono, forgotten)

    def counts(self, outcome: Outcome) -> bool:
        """Return whether an answer speaks against this device."""
        return outcome.kind in _AGAINST and not outcome.by_clock

    def verdict(self, mono: float, enough: float) -> Reason | None:
        """Return why the device counts as refused, or None while it does not: `enough` seconds have to lie between."""
        if len(self.steps) < ROUTES or mono - self.since < enough:
            return None
        return reasons.FORGOTTEN if self.forgotten else reasons.REVOKED


NONE: Final = Doubt()
