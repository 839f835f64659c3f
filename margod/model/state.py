"""The public condition of a device: its state, its connection, and what goes with them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from margod.model.reasons import Reason


class State(Enum):
    """How far the enrolment has come; for a device that is not enrolled, the obstacle (design, section 3)."""

    STARTING = "starting"
    WAITING_FOR_CLOCK = "waiting-for-clock"
    DISCOVERING = "discovering"
    UNTRUSTED = "untrusted"
    ONBOARDING = "onboarding"
    PENDING_APPROVAL = "pending-approval"
    REJECTED = "rejected"
    BLOCKED = "blocked"
    ONBOARDED = "onboarded"
    ENROLLED = "enrolled"
    REFUSED = "refused"


class Connection(Enum):
    """What the last exchange with the WFM was like; `idle` until there was one, `downtime` while there may be none."""

    IDLE = "idle"
    ONLINE = "online"
    OFFLINE = "offline"
    INTERCEPTED = "intercepted"
    UNTRUSTED = "untrusted"
    CLOCK = "clock"
    DOWNTIME = "downtime"


@dataclass(frozen=True, slots=True)
class LastError:
    """What went wrong last: the reason, what the server or the system said (cleaned, <= 200 characters), and when."""

    reason: Reason
    detail: str
    at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Condition:
    """All that the engine says of itself at one moment. Times are Unix seconds."""

    state: State
    reason: Reason
    detail: str
    since: float
    attempt: int
    """Attempts at the present step since it last succeeded, >= 0."""
    next_attempt_at: float | None
    last_error: LastError | None
    connection: Connection
    connection_since: float
    downtime: float | None = None
    """No request leaves before this; infinity: no end is in sight; None while there is no downtime."""
