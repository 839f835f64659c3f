"""A bearer token as it was granted (RFC 6749, 5.1), and a call that was not made for want of one."""

from __future__ import annotations

from dataclasses import dataclass, field

from margod.model.outcome import Outcome
from margod.model.wire import TransportFailure


@dataclass(frozen=True, slots=True)
class Grant:
    """The token, which its repr does not show, and for how long it holds: what was said, seconds, or None.

    `lifetime` is a finite number and nothing more: zero, negative and absurd ones are judged in engine/bearer.py.
    """

    value: str = field(repr=False)
    lifetime: float | None = None


@dataclass(frozen=True, slots=True)
class NoToken(TransportFailure):
    """A request was not sent, because there is no bearer token for it; `outcome` says why."""

    outcome: Outcome
