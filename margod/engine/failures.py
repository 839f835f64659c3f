"""How loud a failure is: the first of a kind is a warning, repeats are debug, then summaries, then recovery.

A network that fails in several ways by turns is one trouble: each kind is said once, until it works again. So a device
that is offline for a week writes some kilobytes, however its network fails (tests/engine/test_journal_budget.py).
"""

from __future__ import annotations

from typing import Final

from margod.engine.messages import Level, Note, Now
from margod.model.reasons import Reason
from margod.model.state import Condition, State
from margod.model.text import duration, timestamp

WAIT_INTERVAL: Final = 86_400.0
"""Seconds between two lines about a wait for a person."""
SUMMARY_INTERVAL: Final = 3_600.0
"""Seconds between two lines about a failure that goes on, on its first day."""
LATER_INTERVAL: Final = 86_400.0
"""Seconds between two such lines from the second day on."""


_FOR_A_PERSON: Final = frozenset(
    {State.PENDING_APPROVAL, State.REJECTED, State.REFUSED, State.BLOCKED, State.UNTRUSTED}
)


def state_note(condition: Condition, now: Now, *, resumed: bool = False) -> Note:
    """Return the line that says what state the device is in; what a person has to act on is a warning."""
    reason, error = condition.reason, condition.last_error
    data: dict[str, str | int | float] = {"state": condition.state.value, "code": reason.code}
    if error is None or error.reason is not reason:  # else the failure's own line says it
        data["message"] = reason.says
        if reason.hint:
            data["hint"] = reason.hint
    if condition.next_attempt_at is not None:
        data["next_in"] = duration(condition.next_attempt_at - now.wall)
    if resumed:
        data |= {"resumed": "yes", "since": timestamp(condition.since)}
    return Note(Level.WARNING if condition.state in _FOR_A_PERSON else Level.INFO, "state", data)


class FailureLog:
    """Counts failures of one kind in a row and decides which of them the journal hears about at which level."""

    def __init__(self) -> None:
        """Begin with nothing wrong."""
        self._reason: Reason | None = None
        self._began = 0.0
        self._spoke = 0.0
        self._count = 0
        self._said: set[Reason] = set()
        self._since_spoke: set[Reason] = set()
        self._quiet = False
        self._waits_said: float | None = None

    def waiting(self, reason: Reason, since: float | None, now: Now) -> list[Note]:
        """Return a line a day about a wait for a person that began at `since` (Unix seconds), or begins now (None)."""
        if self._waits_said is None or since is None:
            self._waits_said = now.mono
        if since is None or now.mono - self._waits_said < WAIT_INTERVAL:
            return []
        self._waits_said = now.mono
        lasts = duration(now.wall - since)
        return [Note(Level.WARNING, "still-waiting", {"code": reason.code, "hint": reason.hint, "for": lasts})]

    def failed(self, reason: Reason, detail: str, wait: float, now: Now) -> Note:
        """Return the line for one more failure, after which the next attempt is `wait` seconds away."""
        if self._reason is None:
            self._began = self._spoke = now.mono
        if reason is not self._reason:
            self._reason, self._count = reason, 0
        self._count += 1
        self._since_spoke.add(reason)
        data: dict[str, str | int | float] = {
            "code": reason.code,
            "count": self._count,
            "message": reason.says,
            "next_in": duration(wait),
        }
        if detail:
            data["detail"] = detail
        self._quiet = False
        if reason not in self._said:
            self._said.add(reason)
            if reason.hint:
                data["hint"] = reason.hint
            return Note(Level.WARNING, "attempt-failed", data)
        interval = SUMMARY_INTERVAL if now.mono - self._began < LATER_INTERVAL else LATER_INTERVAL
        if now.mono - self._spoke >= interval:
            data["for"] = duration(now.mono - self._began)
            others = sorted(other.code for other in self._since_spoke if other is not reason)
            if others:
                data["also"] = ",".join(others)
            self._spoke = now.mono
            self._since_spoke = {reason}
            return Note(Level.WARNING, "still-failing", data)
        self._quiet = True
        return Note(Level.DEBUG, "attempt-failed", data)

    def is_old_news(self, reason: Reason) -> bool:
        """Return whether `reason` is the latest failure, and was said before: a state because of it is no news."""
        return self._quiet and reason is self._reason

    def recovered(self, now: Now) -> Note | None:
        """Return the line that says that it works again and how long it did not, or None if nothing was wrong."""
        if self._reason is None:
            return None
        data: dict[str, str | int | float] = {
            "code": self._reason.code,
            "after": duration(now.mono - self._began),
            "count": self._count,
        }
        self._reason, self._count, self._quiet = None, 0, False
        self._said.clear()
        self._since_spoke.clear()
        return Note(Level.INFO, "recovered", data)
