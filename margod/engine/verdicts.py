"""What each outcome but acceptance means for the state: the table of the design, complete, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from margod.engine.policy import BLOCKED, CALLS, PENDING, REJECTED, TRYING, UNTRUSTED, Schedule
from margod.model.outcome import Kind, Step
from margod.model.state import State


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state that an outcome leads to, and the schedule of the next attempt.

    `state` None: the state stays what it was if the WFM has spoken before (pending, rejected, blocked), because a
    network that fails takes nothing back; otherwise it is `onboarding`.
    """

    state: State | None
    schedule: Schedule


ENROL: Final[dict[Kind, Verdict]] = {
    Kind.PENDING: Verdict(State.PENDING_APPROVAL, PENDING),
    Kind.FORBIDDEN: Verdict(State.REJECTED, REJECTED),
    Kind.INVALID: Verdict(State.BLOCKED, BLOCKED),
    Kind.UNAUTHORIZED: Verdict(State.BLOCKED, BLOCKED),
    Kind.UNKNOWN: Verdict(State.BLOCKED, BLOCKED),
    Kind.CONFLICT: Verdict(State.BLOCKED, BLOCKED),
    Kind.WRONG_ADDRESS: Verdict(State.BLOCKED, BLOCKED),
    Kind.BAD_ANSWER: Verdict(None, TRYING),
    Kind.BUSY: Verdict(None, TRYING),
    Kind.UNREACHABLE: Verdict(None, TRYING),
    Kind.UNTRUSTED: Verdict(State.UNTRUSTED, UNTRUSTED),
    Kind.INTERCEPTED: Verdict(None, UNTRUSTED),
    Kind.CLOCK: Verdict(None, CALLS),
}
"""Everything but ACCEPTED, for the enrolment request."""

FETCH_TRUST: Final[dict[Kind, Verdict]] = {
    Kind.PENDING: Verdict(State.UNTRUSTED, UNTRUSTED),
    Kind.FORBIDDEN: Verdict(State.UNTRUSTED, UNTRUSTED),
    Kind.INVALID: Verdict(State.UNTRUSTED, UNTRUSTED),
    Kind.UNAUTHORIZED: Verdict(State.UNTRUSTED, UNTRUSTED),
    Kind.UNKNOWN: Verdict(State.UNTRUSTED, UNTRUSTED),
    Kind.CONFLICT: Verdict(State.UNTRUSTED, UNTRUSTED),
    Kind.WRONG_ADDRESS: Verdict(State.UNTRUSTED, UNTRUSTED),
    Kind.BAD_ANSWER: Verdict(State.UNTRUSTED, UNTRUSTED),
    Kind.BUSY: Verdict(None, TRYING),
    Kind.UNREACHABLE: Verdict(None, TRYING),
    Kind.UNTRUSTED: Verdict(State.UNTRUSTED, UNTRUSTED),
    Kind.INTERCEPTED: Verdict(None, UNTRUSTED),
    Kind.CLOCK: Verdict(None, CALLS),
}
"""The same for the download of the root CA: without one there is no trust, whatever the refusal was."""

REPORT: Final[dict[Kind, Schedule]] = {
    Kind.PENDING: REJECTED,
    Kind.FORBIDDEN: REJECTED,
    Kind.INVALID: BLOCKED,
    Kind.UNAUTHORIZED: REJECTED,
    Kind.UNKNOWN: REJECTED,
    Kind.CONFLICT: REJECTED,
    Kind.WRONG_ADDRESS: REJECTED,
    Kind.BAD_ANSWER: CALLS,
    Kind.BUSY: TRYING,
    Kind.UNREACHABLE: TRYING,
    Kind.UNTRUSTED: UNTRUSTED,
    Kind.INTERCEPTED: UNTRUSTED,
    Kind.CLOCK: CALLS,
}
"""For the calls of an onboarded device only the schedule differs: no outcome takes the enrolment back."""


def verdict(step: Step, kind: Kind, *, accepted: bool, enrolled: bool) -> Verdict:
    """Return what `kind` (not ACCEPTED) at `step` leads to.

    `accepted`: the enrolment record is stored; `enrolled`: and an earlier report was accepted.
    """
    if step is Step.FETCH_TRUST:
        found = FETCH_TRUST[kind]
        return Verdict(State.ENROLLED, found.schedule) if enrolled else found
    if accepted or step is Step.REPORT:
        schedule = CALLS if enrolled and REPORT[kind] is TRYING else REPORT[kind]
        return Verdict(State.ENROLLED if enrolled else State.ONBOARDED, schedule)
    return ENROL[kind]
