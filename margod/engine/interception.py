"""Somebody else in the WFM's place: after earlier success that is a captive portal or an inspecting proxy for a day.

Only then does it count as lost trust, because a WFM that has changed its root CA for good looks the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from margod.engine.policy import DAY
from margod.model import reasons
from margod.model.outcome import Kind, Outcome, Step

LASTS: Final = DAY
"""Seconds, on the monotonic clock, for which it counts as interception."""


@dataclass(frozen=True, slots=True)
class Trail:
    """What survives a restart: under which trust the WFM was verified, and for how long that fails, if it does."""

    proven: str = ""
    intercepted_for: float | None = None


NO_TRAIL: Final = Trail()


class Interception:
    """Knows under which trust (a name, as the facts have it) the WFM has answered, and since when another one does."""

    def __init__(self) -> None:
        """Begin with nothing proven."""
        self._proven = ""
        self._since: float | None = None

    def recall(self, trail: Trail, mono: float) -> None:
        """Go on where an earlier process stood, as far as nothing is known yet."""
        if not self._proven:
            self._proven = trail.proven
            self._since = None if trail.intercepted_for is None else mono - trail.intercepted_for

    def trail(self, mono: float) -> Trail:
        """Return what should survive a restart."""
        return Trail(self._proven, None if self._since is None else mono - self._since)

    def judge(self, step: Step, outcome: Outcome, trust: str, mono: float) -> Outcome:
        """Return the outcome, as interception where it is one. `trust` names what the WFM is verified by now."""
        if outcome.kind not in (Kind.UNREACHABLE, Kind.UNTRUSTED):
            # A root CA may have come from anybody, and what was not sent has met nobody.
            if step is not Step.FETCH_TRUST and outcome.sent:
                self._proven, self._since = trust, None
            return outcome
        if outcome.reason is not reasons.TLS_UNKNOWN_ISSUER:
            return outcome
        if trust != self._proven:  # never verified by this: nothing that worked was interrupted
            self._since = None
            return outcome
        if self._since is None:
            self._since = mono
        if mono - self._since >= LASTS:
            return outcome
        return replace(outcome, kind=Kind.INTERCEPTED, reason=reasons.INTERCEPTED)
