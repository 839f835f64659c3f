"""The vocabulary of the outbox's machine (delivery.py): what it is told and what it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from margod.engine import messages as m
from margod.model.outcome import Outcome
from margod.model.reasons import Reason
from margod.model.report import Reply


@dataclass(frozen=True, slots=True)
class Waiting:
    """A report that waits. `waited`: seconds since it was acknowledged, by the wall clock."""

    number: int
    deployment_id: str
    waited: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why nothing is sent at the moment. `at` is Unix seconds."""

    reason: Reason
    detail: str
    at: float


# Events; besides them Due, Woken and Slept of messages.py.


@dataclass(frozen=True, slots=True)
class Allowed:
    """Reports may leave in the name of this enrolment from now on; "": they may not."""

    binding: str


@dataclass(frozen=True, slots=True)
class Changed:
    """There may be more to send. `anew`: what was loaded is not what holds any more."""

    anew: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """The oldest reports that wait, in order; none: nothing waits."""

    reports: Sequence[Waiting]


@dataclass(frozen=True, slots=True)
class Answered:
    """The WFM has answered the report that is under way, or nobody has."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What came of `Confirm`."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Stored:
    """What was to be written is durable."""


@dataclass(frozen=True, slots=True)
class NotStored:
    """The outbox could not be read or written."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Reachable:
    """Another lane has just been answered."""


Event: TypeAlias = (
    Allowed | Changed | Loaded | Answered | Confirmed | Stored | NotStored | Reachable | m.Due | m.Woken | m.Slept
)


# Commands; besides them Note of messages.py.


@dataclass(frozen=True, slots=True)
class Load:
    """Read what waits for this enrolment; answer with `Loaded` or `NotStored`."""

    binding: str


@dataclass(frozen=True, slots=True)
class Supersede:
    """Leave out states that were overtaken; answer with `Stored` or `NotStored`."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send a report in this form, in the name of this enrolment alone; answer with `Answered`."""

    number: int
    form: str
    binding: str


@dataclass(frozen=True, slots=True)
class Confirm:
    """Ask, changing nothing, whether the WFM knows this device; answer with `Confirmed`."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Remove reports that were accepted; answer with `Stored` or `NotStored`.

    Not `lasting`: written before the next request leaves, and synced by what is written later.
    """

    numbers: tuple[int, ...]
    lasting: bool


@dataclass(frozen=True, slots=True)
class Park:
    """Set a report aside; answer with `Stored` or `NotStored`."""

    number: int
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell the enrolment what was heard about the device; the next request is `wait` seconds away."""

    outcome: Outcome
    wait: float


Command: TypeAlias = Load | Supersede | Deliver | Confirm | Forget | Park | Tell | m.Note
