"""What an answer means to the engine, in words that fit every generation of the specification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from margod.model.reasons import Reason


class Step(Enum):
    """What the engine can ask a protocol to do: the first three in the order in which a device needs them."""

    FETCH_TRUST = "fetch-trust"
    ENROL = "enrol"
    REPORT = "report"
    CONFIRM = "confirm"
    """Ask whether the WFM knows this device by the enrolment record that it has, or had at another place."""
    REFRESH_TRUST = "refresh-trust"
    """Ask a verified WFM for its root CA once more."""


class Kind(Enum):
    """The classes of outcome; the engine's policy has one line for each."""

    ACCEPTED = "accepted"
    PENDING = "pending"
    FORBIDDEN = "forbidden"
    INVALID = "invalid"
    UNAUTHORIZED = "unauthorized"
    UNKNOWN = "unknown"
    CONFLICT = "conflict"
    WRONG_ADDRESS = "wrong-address"
    BAD_ANSWER = "bad-answer"
    BUSY = "busy"
    UNREACHABLE = "unreachable"
    UNTRUSTED = "untrusted"
    INTERCEPTED = "intercepted"
    CLOCK = "clock"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The meaning of one answer or failure.

    `detail` is what the other side said, cleaned and cut to 200 characters. `records` are what an accepted step leaves
    to be kept in the vault, opaque to the engine. `retry_after` is in seconds, >= 0, as the server asked, not yet
    clamped. `other_form` names the dialect form that a known deviation asks for. `sent` is False only if the request
    certainly never reached the server. `lost`: the server may have accepted, and what it answered is not known.
    `by_clock`: the two clocks differ so far that this alone explains a refusal.
    """

    kind: Kind
    reason: Reason
    detail: str = ""
    records: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    retry_after: float | None = None
    other_form: str | None = None
    sent: bool = True
    lost: bool = False
    by_clock: bool = False
