"""How long to wait, and the owner's settings that decide; what each failure means is in verdicts.py."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final

from margod.engine.gate import OPEN, Gate
from margod.model import reasons
from margod.model.outcome import Step
from margod.model.reasons import Reason
from margod.model.state import State

DAY: Final = 86_400.0
RETRY_AFTER_CEILING: Final = DAY
"""The longest Retry-After that is obeyed, seconds, over a verified channel (design, Retries); what an unverified one
says is cut to 5 minutes before it gets here."""
SPREAD: Final = 120.0
"""Seconds over which a fleet spreads whatever reaches all of it in one moment: an announcement, the end of a
Retry-After, power. Over 60 s it would be 167 a second of 10,000, and beside those that are due anyway and chance more
than the 2 % that one second may see (design, Budgets; tests/faults/storm.py)."""
WAKE_INTERVAL: Final = 60.0
"""At most one early attempt in so many seconds because a person asks for it; for other causes it is SPREAD."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Exponential backoff with jitter: the n-th wait in a row is drawn from (floor * w, w), w = min(first * 2^n, cap).

    Seconds. `floor` (0 to 1) keeps a draw near zero from becoming a busy loop.
    """

    first: float
    cap: float
    floor: float = 0.1

    def delay(self, streak: int, rng: Random) -> float:
        """Return the wait after `streak` (>= 0) earlier waits in a row."""
        window = self.window(streak)
        return rng.uniform(self.floor * window, window)

    def window(self, streak: int) -> float:
        """Return the longest that this wait can be."""
        return self.cap if streak > 32 else min(self.cap, self.first * 2.0**streak)


TRYING: Final = Schedule(1.0, 300.0)
CALLS: Final = Schedule(60.0, 600.0)
PENDING: Final = Schedule(10.0, 600.0)
REJECTED: Final = Schedule(60.0, 3_600.0)
BLOCKED: Final = Schedule(6 * 3_600.0, 6 * 3_600.0, floor=0.9)
UNTRUSTED: Final = Schedule(60.0, 3_600.0)
LOCAL: Final = Schedule(10.0, 300.0)
"""For what costs no request: looking at files again, writing to a disk that was full."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The owner's settings that decide what an outcome means."""

    forbidden_is_pending: bool = False
    reissue_on_conflict: bool = True
    upkeep: Mapping[Step, float] = field(default_factory=dict)
    """What an enrolled device asks from time to time: the longest time between two, seconds."""
    forgotten_after: float = DAY
    """For so many seconds a WFM has to say that it does not know or accept an enrolled device before it is refused."""
    gate: Gate = OPEN
    """When nothing may leave this device."""


FIRST_REASONS: Final = (reasons.FETCHING_CA, reasons.ASKING, reasons.REPORTING, reasons.CONFIRMING)
"""The reasons of `first_words` while nothing was said yet."""


def first_words(step: Step, *, known: bool) -> tuple[State, Reason]:
    """Return state and reason while a step is made for the first time; `known`: the WFM has accepted this device."""
    words = {
        Step.FETCH_TRUST: (State.ONBOARDING, reasons.FETCHING_CA),
        Step.ENROL: (State.ONBOARDING, reasons.ASKING),
        Step.REPORT: (State.ONBOARDED, reasons.REPORTING),
        Step.CONFIRM: (State.ONBOARDING, reasons.CONFIRMING),
    }
    enrolled = State.ENROLLED, reasons.ENROLLED
    return enrolled if known else words.get(step, enrolled)


def slept(due: float, seconds: float, now: float, rng: Random) -> float:
    """Return when a wait ends after a suspend of `seconds`, which the monotonic clock did not count.

    What fell due in it is spread: a whole fleet may wake at once.
    """
    if due - seconds > now:
        return due - seconds
    return min(due, now + rng.uniform(0.0, WAKE_INTERVAL))


def floor(retry_after: float | None) -> float:
    """Return the seconds before which no request may leave, from a Retry-After as the WFM gave it."""
    return min(max(retry_after or 0.0, 0.0), RETRY_AFTER_CEILING)


def wake(mono: float, last: float, floor: float, rng: Random, *, told: bool) -> float:
    """Return when an attempt may be made early, monotonic; infinity if not at all.

    `told`: a person asks, for this device alone: at once. Anything else reaches a fleet: it is spread. `last` is the
    time of the last early attempt of this kind (told: that a person asked for), which may be still to come; `floor` is
    the end of a Retry-After: one moment for the whole fleet, whose waits are spread behind it already.
    """
    if told:
        return max(mono, last + WAKE_INTERVAL, floor)
    return math.inf if floor > mono else max(mono + rng.uniform(0.0, SPREAD), last + SPREAD)


def found(looked_for: float, mono: float) -> float:
    """Return when to ask a WFM that was just discovered, monotonic, after looking for it for so many seconds.

    Who looked for long is one of many who hear the same announcement; a `wake` that follows it spreads them.
    """
    return mono if looked_for < SPREAD else mono + SPREAD


def after_floor(floor: float, window: float, rng: Random) -> float:
    """Return the wait that obeys a Retry-After of `floor` seconds, in a schedule whose own wait is up to `window`.

    A short one that ends a long outage is short for everybody at once: the window tells, the Retry-After does not.
    """
    return floor + rng.uniform(0.0, min(SPREAD, max(floor, window)))
