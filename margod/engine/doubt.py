"""Whether a WFM that once accepted this device still does: what it has said against it, and when that is enough.

One word decides nothing: a server that is being restored, a balancer that points elsewhere or a wrong clock says the
same. It takes two routes and a day (design, "What an answer means": unknown client later on). A word that says nothing
else than that this client is not accepted (PLAIN) is enough by itself: nothing is lost by it, and it ends with the next
acceptance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from margod.model import reasons
from margod.model.outcome import Kind, Outcome, Step
from margod.model.reasons import Reason

QUIET: Final = 6 * 3_600.0
"""After so many seconds without a word it begins anew: a day of silence is not a day of refusals."""

_ROUTES: Final = (Step.REPORT, Step.CONFIRM)
_AGAINST: Final = frozenset({Kind.UNKNOWN, Kind.UNAUTHORIZED, Kind.FORBIDDEN})
PLAIN: Final = frozenset({reasons.CLIENT_SECRET_REFUSED, reasons.BEARER_TOKEN_REFUSED})
"""What is said about nothing but who asks: `invalid_client`, and a 401 to a token that was given a moment ago."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """What was said against this device since it was last accepted; an empty one: nothing.

    `last` is when each route last said it, `since` when it was first said, in monotonic seconds: time in which no
    margod ran is not in it. `forgotten` holds while every word was that the client is not known.
    """

    last: Mapping[Step, float] = field(default_factory=dict)
    since: float = 0.0
    forgotten: bool = True

    @property
    def reason(self) -> Reason:
        """Why a device that was refused is, by what was said."""
        return reasons.FORGOTTEN if self.forgotten else reasons.REVOKED

    def heard(self, step: Step, outcome: Outcome, mono: float) -> Doubt:
        """Return the doubt after one more answer, at `mono` seconds."""
        if outcome.kind is Kind.ACCEPTED or (step is Step.REPORT and outcome.kind is Kind.INVALID):
            return NONE  # who finds fault with what a client says knows the client
        if not self.counts(outcome):
            return self
        forgotten = self.forgotten and outcome.kind is Kind.UNKNOWN
        if not self.last or mono - max(self.last.values()) > QUIET:
            return Doubt({step: mono}, mono, forgotten)
        return Doubt({**self.last, step: mono}, self.since, forgotten)

    def counts(self, outcome: Outcome) -> bool:
        """Return whether an answer speaks against this device."""
        return outcome.kind in _AGAINST and not outcome.by_clock

    def next_step(self) -> Step:
        """Return the route that has not been asked for longer."""
        return min(_ROUTES, key=lambda step: self.last.get(step, float("-inf")))

    def is_enough(self, enough: float) -> bool:
        """Return whether both routes say it lately, and one of them `enough` seconds after it was first said."""
        if len(self.last) < len(_ROUTES):
            return False
        latest = max(self.last.values())
        return latest >= self.since + enough and latest - min(self.last.values()) <= QUIET

    def shifted(self, seconds: float) -> Doubt:
        """Return the same doubt on a clock that is so much ahead."""
        return Doubt({step: at + seconds for step, at in self.last.items()}, self.since + seconds, self.forgotten)


NONE: Final = Doubt()
