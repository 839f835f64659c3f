"""When an enrolled device asks for its desired state: at a rate, within hours, sooner or later by what came of it.

    Allowed ──> wait ── Due ──> Poll ── Polled ──> wait (the rate; after a failure the backoff) ──> ...
       Forbidden: nothing is waited for until the next Allowed

The rate is kept on the monotonic clock; the hours are those on the wall, so that a wait is planned anew when the clock
was set. What several polls were missed for (no power, asleep, no network, outside the hours) one makes up.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final, TypeAlias

from margod.engine import policy, verdicts
from margod.engine.messages import Cause, Due, Now, Slept, Woken
from margod.engine.policy import CALLS, SPREAD
from margod.model import windows
from margod.model.outcome import Kind, Outcome, Step
from margod.model.windows import Window

JITTER: Final = 0.1
"""By how much of the rate a wait may be longer or shorter, so that a fleet does not ask in step."""
_WRONG: Final = frozenset({Kind.BAD_ANSWER, Kind.INVALID})
"""The WFM was there and what it gave could not be taken: it is asked again at the rate, and not sooner."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The owner's settings. `rate`: seconds from one poll to the next (> 0), None for no polling at all.

    `period`: the hours in which is asked; none: always.
    """

    rate: float | None = 300.0
    period: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class Allowed:
    """The device is enrolled and may ask. `at_once`: it has just become so; otherwise a fleet may be with it."""

    at_once: bool


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Nothing is to be asked: the device is not enrolled, or it is downtime."""


@dataclass(frozen=True, slots=True)
class Ruled:
    """The owner's settings are these now."""

    rules: Rules


@dataclass(frozen=True, slots=True)
class Polled:
    """The poll has ended so; ACCEPTED: what the WFM wants is what the device has."""

    outcome: Outcome


Event: TypeAlias = Allowed | Forbidden | Ruled | Polled | Due | Woken | Slept


class Polling:
    """One device's polls. `handle` returns whether to poll now; the answer to that is one `Polled`."""

    def __init__(self, rules: Rules, rng: Random) -> None:
        """Begin forbidden."""
        self.rules = rules
        self._rng = rng
        self._allowed = self._polling = self._stale = False
        self._told = False
        """A person has asked: outside the hours too."""
        self._kept = False
        """A person has asked while nothing was allowed: as after a start, until the mirror is open."""
        self._wanted = self._floor = 0.0
        """When the rate or the backoff would have the next poll, and before when the WFM wants none; monotonic."""
        self._due: float | None = None
        self._failures = 0
        self._last_told = self._last_wake = float("-inf")

    @property
    def due(self) -> float | None:
        """When to send `Due`, on the monotonic clock; None while nothing is waited for."""
        return self._due

    @property
    def polling(self) -> bool:
        """Whether a poll is under way."""
        return self._polling

    @property
    def failures(self) -> int:
        """How many polls in a row have failed."""
        return self._failures

    def next_at(self, now: Now) -> float | None:
        """Return when the next poll is, Unix seconds."""
        return None if self._due is None else now.wall + max(0.0, self._due - now.mono)

    def handle(self, event: Event, now: Now) -> bool:
        """Take one event; return True where a poll is to be made now. Never raises for any order of events."""
        match event:
            case Allowed():
                self._allow(event, now)
            case Forbidden():
                self._allowed, self._told, self._stale = False, False, self._polling
            case Ruled():
                self._rule(event.rules, now)
            case Polled():
                self._ended(event.outcome, now)
            case Woken():
                self._woken(event.cause, now)
            case Slept():
                self._floor -= event.seconds
                self._last_told -= event.seconds
                self._last_wake -= event.seconds
                self._wanted = policy.slept(self._wanted, event.seconds, now.mono, self._rng)
            case Due():
                return self._is_due(now) and self._begin(now)
        self._plan(now)
        return False

    def _is_due(self, now: Now) -> bool:
        return self._due is not None and now.mono >= self._due

    def _begin(self, now: Now) -> bool:
        """Begin a poll, unless the clock on the wall says by now that these are not the hours."""
        self._plan(now)
        if not self._is_due(now):
            return False
        self._polling, self._told, self._due = True, False, None
        return True

    def _allow(self, event: Allowed, now: Now) -> None:
        if self._allowed:
            return
        self._allowed, self._failures = True, 0
        wait = 0.0 if event.at_once else self._rng.uniform(0.0, SPREAD)
        self._wanted = now.mono + wait
        if self._kept:
            self._kept = False
            self._woken(Cause.OPERATOR, now)

    def _rule(self, rules: Rules, now: Now) -> None:
        before, self.rules = self.rules, rules
        if rules.rate is not None and rules.rate != before.rate:
            self._wanted = min(self._wanted, now.mono + self._at_rate(rules.rate))

    def _ended(self, outcome: Outcome, now: Now) -> None:
        stale, polling = self._stale, self._polling
        self._polling = self._stale = False
        if stale or not polling:  # what was forbidden meanwhile says nothing of what is allowed now
            return
        rate = self._at_rate(self.rules.rate or 0.0)
        if outcome.kind is Kind.ACCEPTED:
            self._failures, self._wanted = 0, now.mono + rate
            return
        schedule = verdicts.verdict(Step.CONFIRM, outcome.kind, accepted=True, enrolled=True).schedule
        schedule = CALLS if outcome.kind in _WRONG else schedule
        wait = schedule.delay(self._failures, self._rng)
        if outcome.kind in _WRONG:
            wait = max(wait, rate)
        if (floor := policy.floor(outcome.retry_after)) > 0.0:
            self._floor = now.mono + floor
            wait = max(wait, policy.after_floor(floor, schedule.window(self._failures), self._rng))
        self._failures += 1
        self._wanted = now.mono + wait

    def _woken(self, cause: Cause, now: Now) -> None:
        """Ask sooner: for a person always, for a network or clock that is another one where the last poll failed."""
        told = cause is Cause.OPERATOR
        self._kept = self._kept or (told and not self._allowed)
        if not self._allowed or self._polling or self.rules.rate is None or not (told or self._failures):
            return
        if told and self._told:  # who asks again while that poll is still to come does not put it off
            return
        last = self._last_told if told else self._last_wake
        at = policy.wake(now.mono, last, self._floor, self._rng, told=told)
        if told:
            self._told, self._last_told = True, at
        if at < self._wanted or told:
            self._wanted = min(at, self._wanted) if self._told else at
            self._last_wake = self._last_wake if told else at

    def _at_rate(self, rate: float) -> float:
        return self._rng.uniform(1.0 - JITTER, 1.0 + JITTER) * rate

    def _plan(self, now: Now) -> None:
        """Set when the next poll is: when it is wanted, or when the hours for it have come."""
        if not self._allowed or self._polling or self.rules.rate is None:
            self._due = None
            return
        at = max(self._wanted, self._floor, now.mono)
        self._due = at if self._told or not self.rules.period else self._within(at, now)

    def _within(self, at: float, now: Now) -> float | None:
        """Return the first moment from `at` on that is in the hours, spread behind their beginning; both monotonic."""
        wall = now.wall + at - now.mono
        opens = windows.opens(self.rules.period, wall)
        if opens is None:
            return None
        if opens <= wall:
            return at
        ends = windows.ends(self.rules.period, opens)
        room = min(SPREAD, (ends - opens) / 2 if ends is not None else 0.0)
        return now.mono + opens - now.wall + self._rng.uniform(0.0, room)
