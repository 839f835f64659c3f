"""What the device is shown as being: state, reason, connection, last error; and the journal's lines about them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from margod.engine.failures import FailureLog, state_note
from margod.engine.gate import View
from margod.engine.interception import NO_TRAIL, Interception, Trail
from margod.engine.messages import Facts, Level, Memory, Note, Now
from margod.model import reasons
from margod.model.outcome import Kind, Outcome, Step
from margod.model.reasons import Reason
from margod.model.state import Condition, Connection, LastError, State
from margod.model.text import duration, timestamp

_CONNECTIONS: Final = {
    Kind.UNREACHABLE: Connection.OFFLINE,
    Kind.UNTRUSTED: Connection.UNTRUSTED,
    Kind.INTERCEPTED: Connection.INTERCEPTED,
    Kind.CLOCK: Connection.CLOCK,
}


def until(view: View) -> str:
    """Return when a downtime ends, for people, to stand behind `until`."""
    return "further notice" if view.until is None or view.lasting else timestamp(view.until)


class Picture:
    """The public side of a machine: it is told what came to pass, and what it returns is for the journal."""

    def __init__(self, now: Now) -> None:
        """Begin in `starting`."""
        self.state, self.reason, self.detail, self.since = State.STARTING, reasons.STARTING, "", now.wall
        self._last_error: LastError | None = None
        self._connection, self._connection_since = Connection.IDLE, now.wall
        self._failures = FailureLog()
        self._interception = Interception()
        self._silent_since: float | None = None
        self._said_before = Connection.IDLE

    def condition(self, attempt: int, next_at: float | None) -> Condition:
        """Return it whole. `next_at`: when the next attempt is, Unix seconds."""
        return Condition(
            state=self.state,
            reason=self.reason,
            detail=self.detail,
            since=self.since,
            attempt=attempt,
            next_attempt_at=next_at,
            last_error=self._last_error,
            connection=self._connection,
            connection_since=self._connection_since,
        )

    def looked_for(self, now: Now) -> float:
        """Return for how many seconds a WFM has been looked for; 0 if none is."""
        return max(0.0, now.wall - self.since) if self.state is State.DISCOVERING else 0.0

    def restore(self, state: State, reason: Reason, detail: str, since: float) -> None:
        """Go on with what an earlier process showed."""
        self.state, self.reason, self.detail, self.since = state, reason, detail, since

    def enter(self, state: State, reason: Reason, detail: str, now: Now, next_at: float | None) -> list[Note]:
        """Show this from now on; a line if it is another state or reason than before."""
        changed = state is not self.state
        told = changed or reason is not self.reason
        self.reason, self.detail = reason, detail
        if changed:
            self.state, self.since = state, now.wall
        if not told:
            return []
        note = state_note(self.condition(0, next_at), now)
        return [replace(note, level=Level.DEBUG) if self._failures.is_old_news(reason) else note]

    def waits(self, reason: Reason, state: State, now: Now) -> list[Note]:
        """A person is waited for: not a failure, but said once a day."""
        return self._failures.waiting(reason, self.since if state is self.state else None, now)

    def failed(self, reason: Reason, detail: str, wait: float, now: Now) -> Note:
        """Something went wrong; the next attempt is `wait` seconds away."""
        self._last_error = LastError(reason, detail, now.wall)
        return self._failures.failed(reason, detail, wait, now)

    def recovered(self, now: Now) -> list[Note]:
        """Nothing is wrong any more; a line if something was."""
        self._last_error = None
        note = self._failures.recovered(now)
        return [] if note is None else [note]

    def mended(self, reason: Reason, now: Now) -> list[Note]:
        """What stood in the way, for `reason`, does so no more; what went wrong last may be something else."""
        return self.recovered(now) if self._last_error is not None and self._last_error.reason is reason else []

    def exchanged(self, step: Step, outcome: Outcome, facts: Facts | None, now: Now) -> Outcome:
        """Take in what an exchange says of the connection; return its outcome, as interception where it is one."""
        outcome = self._interception.judge(step, outcome, facts.trust_name if facts else "", now.mono)
        self._connect(outcome.kind, now)
        return outcome

    def recall(self, facts: Facts, memory: Memory | None, now: Now) -> None:
        """Take over what an earlier process knew of the trust; an enrolled device was let in by a verified WFM."""
        let_in = Trail(facts.trust_name) if facts.reported else NO_TRAIL
        self._interception.recall(memory.trail if memory and memory.trail.proven else let_in, now.mono)

    def trail(self, now: Now) -> Trail:
        """Return what should survive a restart of that."""
        return self._interception.trail(now.mono)

    def falls_silent(self, view: View, now: Now) -> list[Note]:
        """It is downtime; a line where it begins. Once it is over the connection is what it was last."""
        if self.reason is reasons.DOWNTIME:
            self.detail = f"until {until(view)}"
        if self._silent_since is not None:
            return []
        self._silent_since, self._said_before = now.mono, self._connection
        self._connection, self._connection_since = Connection.DOWNTIME, now.wall
        return [Note(Level.INFO, "downtime", {"until": until(view), "by": view.by, "message": reasons.DOWNTIME.says})]

    def speaks_again(self, now: Now) -> list[Note]:
        """The downtime is over."""
        if self._silent_since is None:
            return []
        lasted, self._silent_since = now.mono - self._silent_since, None
        self._connection, self._connection_since = self._said_before, now.wall
        return [Note(Level.INFO, "downtime-over", {"after": duration(lasted)})]

    def _connect(self, kind: Kind, now: Now) -> None:
        connection = _CONNECTIONS.get(kind, Connection.ONLINE)
        if self._silent_since is not None:
            self._said_before = connection
        elif connection is not self._connection:
            self._connection, self._connection_since = connection, now.wall
