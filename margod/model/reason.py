"""What a reason is, and the table of all of them; `reasons.py` and the `reasons_*.py` beside it fill it."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple


class Side(Enum):
    """Where the cause lies, so that nobody looks in the wrong place."""

    DEVICE = "device"
    NETWORK = "network"
    WFM = "wfm"
    NONE = "none"


class Reason(NamedTuple):
    """A stable `code` (lower-case, hyphens), whose side it is on, our sentence, and what to do (may be empty)."""

    code: str
    side: Side
    says: str
    hint: str = ""


REASONS: Final[dict[str, Reason]] = {}
"""Every reason by its code."""


def reason(code: str, side: Side, says: str, hint: str = "") -> Reason:
    """Enter a reason into the table; its code is new."""
    assert code not in REASONS, code
    REASONS[code] = Reason(code, side, says, hint)
    return REASONS[code]
