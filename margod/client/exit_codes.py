"""The exit codes of `margod status` and `margod wait`, for scripts and units."""

from __future__ import annotations

from typing import Final

UNREACHABLE: Final = 1
"""No daemon answered."""
WORKING: Final = 3
"""margod is working on it; also what a state means that this version does not know."""

EXIT_CODES: Final[dict[str, int]] = {
    "enrolled": 0,
    "starting": WORKING,
    "discovering": WORKING,
    "onboarding": WORKING,
    "onboarded": WORKING,
    "pending-approval": 4,
    "rejected": 4,
    "refused": 4,
    "untrusted": 5,
    "blocked": 5,
}
"""By state: 0 done, 3 working on it, 4 waits for a person at the WFM, 5 needs the operator here."""


REASON_CODES: Final[dict[str, int]] = {"several-wfms": 5}
"""By reason, where it says more than the state."""


def exit_code(state: str, reason: str = "") -> int:
    """Return the exit code of a state, or of the reason for it."""
    return REASON_CODES.get(reason, EXIT_CODES.get(state, WORKING))
