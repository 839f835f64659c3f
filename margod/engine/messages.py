"""The engine's vocabulary: what the shell tells it (events) and what it asks the shell for (commands).

The words are neutral: an *enrolment record* is whatever a generation of the specification leaves behind when a WFM has
accepted a device (a client id, a secret, a certificate chain). The engine never looks inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, TypeAlias

from margod.engine.doubt import NONE, Doubt
from margod.engine.interception import NO_TRAIL, Trail
from margod.engine.now import Now as Now  # noqa: PLC0414 - one of these words
from margod.model import reasons
from margod.model.outcome import Kind, Outcome, Step
from margod.model.reasons import Reason
from margod.model.state import State


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something on this device that has to be mended before any request can leave it."""

    state: State
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What configuration and vault say at one moment.

    `binding` names this identity at this WFM; nothing remembered under another binding counts. `enrolled` means that
    the enrolment record of this binding is stored. `reported` and `report` are digests of the last accepted report
    ("" if none) and of the one that holds now. `forms` lists the dialect forms a step may take, the specification's
    first. `trust` names what the WFM is verified by: a failure under another one says nothing.
    `former`: an enrolment record of another place is at hand that may hold here; it is confirmed before
    a new one is asked for.
    """

    obstacle: Obstacle | None
    binding: str
    trusted: bool
    enrols: bool
    enrolled: bool
    reported: str
    report: str
    can_reissue: bool
    trust: str = ""
    former: bool = False
    forms: Mapping[Step, tuple[str, ...]] = field(default_factory=dict)

    def next_step(self, *, former_asked: bool) -> Step | None:
        """Return what is missing first; None if nothing is."""
        if not self.trusted:
            return Step.FETCH_TRUST
        if self.enrols and not self.enrolled:
            return Step.CONFIRM if self.former and not former_asked else Step.ENROL
        return Step.REPORT if self.report != self.reported else None

    @property
    def trust_name(self) -> str:
        """What the WFM is verified by, for this identity at this place: success under it is evidence."""
        return f"{self.binding}|{self.trust}"

    @property
    def key(self) -> str:
        """What has to be the same for a remembered wait to hold on; otherwise the next attempt is made at once."""
        forms = ";".join(f"{step.value}={','.join(names)}" for step, names in sorted(self.forms.items(), key=str))
        return f"{self.binding}|{forms}|{self.trust}|{self.report if self.enrolled else ''}"


IN_PART: Final = "in part"
"""In `Facts.reported`, until a look tells more exactly: some of the report was accepted."""

SPOKEN: Final = frozenset({State.PENDING_APPROVAL, State.REJECTED, State.BLOCKED})
"""What the WFM has said and a failing network does not take back."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What survives a restart: where the machine stood at `at` (Unix seconds) under the facts named by `key`."""

    at: float
    key: str
    state: State
    reason: Reason
    detail: str
    since: float
    attempt: int
    streak: int
    next_at: float | None
    """None: an attempt was under way and nobody knows what came of it."""
    floor_at: float = 0.0
    """No request before this, because the WFM said so (Retry-After)."""
    upkeep: Mapping[Step, float] = field(default_factory=dict)
    """When each upkeep is next due, Unix seconds."""
    doubt: Doubt = NONE
    """Its times are seconds before `at`, negative."""
    trail: Trail = NO_TRAIL
    """Under which trust the WFM was verified, and for how long somebody else has answered in its place."""

    def holds_under(self, facts: Facts) -> bool:
        """Return whether an engine with these facts may go on here."""
        nothing_left = facts.next_step(former_asked=False) is None
        if self.key != facts.key:
            return False
        if not facts.enrolled:
            return self.state in (State.ONBOARDING, State.UNTRUSTED, *SPOKEN)
        return self.state is State.REFUSED or (
            self.state in (State.ONBOARDED, State.ENROLLED) and nothing_left is (self.state is State.ENROLLED)
        )


@dataclass(frozen=True, slots=True)
class History:
    """What was recorded under the present binding.

    `unanswered`: an enrolment request may have reached the WFM and its answer was lost. `settled`: the WFM has
    answered in a way (202, 403, 409, or not at all) after which another dialect form could register a second time.
    """

    unanswered: bool = False
    reissued: bool = False
    settled: bool = False
    form: Mapping[Step, str] = field(default_factory=dict)
    tried: tuple[str, ...] = ()
    memory: Memory | None = None

    def after(self, outcome: Outcome) -> History:
        """Return what is remembered after an enrolment request that was not accepted."""
        settled = self.settled or outcome.kind in (Kind.PENDING, Kind.FORBIDDEN, Kind.CONFLICT)
        settled = settled or (outcome.lost and outcome.reason is not reasons.WFM_ERROR)
        unanswered = self.unanswered or outcome.lost
        if settled is self.settled and unanswered is self.unanswered:  # nothing new, as with most failures
            return self
        return replace(self, settled=settled, unanswered=unanswered)


# Events.


@dataclass(frozen=True, slots=True)
class Examined:
    """Configuration and vault were read: at start, at a reload, after `Examine` and after `Reissue`."""

    facts: Facts
    history: History


@dataclass(frozen=True, slots=True)
class Reread:
    """Look again, but not while something is under way that a look could undercut: what it commits binds answers."""


@dataclass(frozen=True, slots=True)
class Due:
    """The time that `Enrolment.due` named has come."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The intent is durable."""


@dataclass(frozen=True, slots=True)
class RecordFailed:
    """The intent could not be made durable."""

    detail: str


@dataclass(frozen=True, slots=True)
class Done:
    """A request has ended, one way or the other."""

    step: Step
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Kept:
    """The records of an accepted step are durable."""


@dataclass(frozen=True, slots=True)
class KeepFailed:
    """The records of an accepted step could not be made durable; they are still in memory."""

    detail: str


class Cause(Enum):
    """Who asks for a wait to end early."""

    OPERATOR = "operator"
    NETWORK = "network"
    CLOCK = "clock"


@dataclass(frozen=True, slots=True)
class Woken:
    """Something happened that makes it worth trying again now."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class Slept:
    """The device was suspended for so many seconds (> 0), which the monotonic clock does not know of."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Heard:
    """A request that another lane made in this enrolment's name has ended so; its next one is `wait` seconds away."""

    outcome: Outcome
    wait: float


Event: TypeAlias = Examined | Reread | Due | Recorded | RecordFailed | Done | Kept | KeepFailed | Woken | Slept | Heard


# Commands.


@dataclass(frozen=True, slots=True)
class Examine:
    """Read the files and the vault again; answer with `Examined`."""


@dataclass(frozen=True, slots=True)
class RecordIntent:
    """Make it durable that an enrolment request is about to leave; answer with `Recorded` or `RecordFailed`."""

    form: str
    tried: tuple[str, ...]
    attempt: int
    streak: int


@dataclass(frozen=True, slots=True)
class Send:
    """Make the request of `step` in this form; answer with `Done`."""

    step: Step
    form: str


@dataclass(frozen=True, slots=True)
class RecordAnswer:
    """Make the enrolment answer durable, best effort: nothing waits for it."""

    outcome: Outcome
    memory: Memory
    settled: bool


@dataclass(frozen=True, slots=True)
class Keep:
    """Make the records of an accepted step durable; answer with `Kept` or `KeepFailed`."""

    step: Step
    records: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reissue:
    """Make a new certificate over the same key; answer with `Examined`."""


class Level(Enum):
    """How loud a line in the journal is."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Note:
    """One line for the journal: a fixed word and its data."""

    level: Level
    event: str
    data: Mapping[str, str | int | float]


Command: TypeAlias = Examine | RecordIntent | Send | RecordAnswer | Keep | Reissue | Note
