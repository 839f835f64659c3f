"""Reasons of the door for local programs; part of the table in reasons.py."""

from __future__ import annotations

from margod.model.reason import Side
from margod.model.reason import reason as _reason

DOOR_CLOSED = _reason(
    "door-closed",
    Side.DEVICE,
    "margod does not forward this request to the WFM.",
    "See the message; door.allow in the configuration opens routes, docs/agent.md says which are open.",
)
DOOR_BUSY = _reason(
    "door-busy",
    Side.DEVICE,
    "Too many requests of this user wait for the WFM already.",
    "Make one request at a time, and wait for its answer.",
)
