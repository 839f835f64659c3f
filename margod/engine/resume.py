"""Going on where an earlier process stood. The wall clock may have jumped meanwhile and is not believed far."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from margod.engine import policy
from margod.engine.messages import Memory, Now
from margod.engine.policy import Schedule
from margod.model import reasons
from margod.model.state import State

_SCHEDULES: Final = {
    State.PENDING_APPROVAL: policy.PENDING,
    State.REJECTED: policy.REJECTED,
    State.REFUSED: policy.REJECTED,
    State.BLOCKED: policy.BLOCKED,
    State.UNTRUSTED: policy.UNTRUSTED,
}
_CAP: Final[dict[State, float]] = {
    State.PENDING_APPROVAL: policy.PENDING.cap,
    State.REJECTED: policy.REJECTED.cap,
    State.BLOCKED: policy.BLOCKED.cap,
    State.UNTRUSTED: policy.UNTRUSTED.cap,
    State.ONBOARDED: policy.BLOCKED.cap,
    State.ENROLLED: policy.BLOCKED.cap,
    State.REFUSED: policy.REJECTED.cap,
}
"""The longest wait that a restart takes over in each state, seconds (others: TRYING's), whatever the clock says."""

LATE: Final = 10.0
"""Seconds by which a wait has to be over for its device to have been without power: then many come back with it."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The wait to go on with: when it ends, before when nothing may leave (both monotonic), and its schedule."""

    due: float
    floor: float
    schedule: Schedule


def resume(memory: Memory, now: Now, rng: Random) -> Resumed:
    """Return the rest of the wait in `memory`: never longer than the state's schedule or a day's Retry-After."""
    schedule = _SCHEDULES.get(memory.state, policy.TRYING)
    cap = _CAP.get(memory.state, policy.TRYING.cap)
    next_at = memory.at + schedule.delay(memory.streak, rng) if memory.next_at is None else memory.next_at
    # Never more than what was left when it was written: a clock that was ahead then must not lengthen the wait now.
    floor = policy.floor(min(memory.floor_at - now.wall, memory.floor_at - memory.at) if memory.floor_at else None)
    left = min(max(next_at - now.wall, 0.0), max(next_at - memory.at, 0.0), cap)
    if now.wall - next_at > LATE:
        left = rng.uniform(0.0, policy.SPREAD)
    if memory.reason is reasons.FIRST_USE_ASKED:  # what was offered is not remembered: a person has to see it again
        left = 0.0
    if left < floor:  # the end of a Retry-After is one moment for all
        left = floor + rng.uniform(0.0, policy.SPREAD)
    return Resumed(now.mono + left, now.mono + floor, schedule)
