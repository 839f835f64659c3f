"""What can go wrong for the person who runs the development WFM, in one sentence."""

from __future__ import annotations


class DevWfmError(Exception):
    """It cannot start or cannot do what was asked; the message is for a person and names what to change."""


class NotFound(DevWfmError):
    """There is no such client or request."""


class Ambiguous(DevWfmError):
    """The id fits more than one."""


class NotPossible(DevWfmError):
    """What was asked does not fit the client's state."""
