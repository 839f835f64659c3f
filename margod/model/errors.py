"""The errors of margod. Every foreign exception is translated into one of these at the boundary where it appears.

    MargodError                 code, message, hint: what happened, and what a person can do
    ├── ConfigError             the YAML: all problems at once, each with file, line and key      (exit 78)
    ├── StateInUse              another margod holds the state directory                          (exit 75)
    ├── StateUnusable           the state directory cannot be used: mode, owner, kind, format     (blocked)
    ├── StateNotWritable        a write failed: full, read-only, I/O error                        (goes on, retries)
    ├── OutboxUnusable          the outbox cannot be read or written                              (goes on, retries)
    ├── OutboxDamaged           the outbox is not what was written                                (a new one is begun)
    ├── OutboxFull              there is no room for another report                               (507 to the agent)
    ├── IdentityError           key or certificate cannot be used                                 (blocked)
    ├── TrustError              the root CA is missing or cannot be used                          (untrusted)
    ├── SettingError            one value is wrong; the configuration collects these
    └── DaemonUnreachable       the client side of the local sockets: no answer                   (exit 1)

A failure of the network is not an exception: `model.wire.TransportFailure` is returned like an answer.
"""

from __future__ import annotations

from typing import NamedTuple

from margod.model.reasons import Reason


class MargodError(Exception):
    """An error with a stable code, one sentence of what happened and one of what to do."""

    def __init__(self, reason: Reason, message: str = "", *, hint: str = "") -> None:
        """Say what happened: `message` defaults to the reason's own sentence, `hint` to the reason's own."""
        self.reason = reason
        self.message = message or reason.says
        self.hint = hint or reason.hint
        super().__init__(self.message)

    @property
    def code(self) -> str:
        """The stable code, as in the README's troubleshooting table."""
        return self.reason.code

    def diagnostics(self) -> str:
        """Return the two lines that a person at a terminal is shown."""
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class Problem(NamedTuple):
    """One thing wrong in the configuration: where it stands, what was expected, what to do."""

    file: str
    line: int | None
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        """Return `file:line: key: message (hint)`, leaving out what is not known."""
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        what = f"{self.key}: {self.message}" if self.key else self.message
        return f"{where}: {what} ({self.hint})" if self.hint else f"{where}: {what}"


class ConfigError(MargodError):
    """The configuration cannot be used. `problems` holds every one of them, in the order of the files."""

    def __init__(self, reason: Reason, problems: tuple[Problem, ...]) -> None:
        """Take all problems; the message counts them and shows each on its own line."""
        self.problems = problems
        head = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(reason, "\n".join([f"configuration: {head}", *(f"  {p}" for p in problems)]))


class StateInUse(MargodError):
    """Another margod holds the lock on the state directory."""


class StateUnusable(MargodError):
    """The state directory is not fit: wrong kind, mode, owner or format. Nothing in it was changed."""


class StateNotWritable(MargodError):
    """A write to the state directory failed; what was stored before is still there."""


class OutboxUnusable(MargodError):
    """The outbox cannot be read or written now, or is a newer margod's; nothing in it was changed."""


class OutboxDamaged(MargodError):
    """The outbox is not what was written."""


class OutboxFull(MargodError):
    """The outbox has no room for another report."""


class IdentityError(MargodError):
    """The device's key or certificate cannot be used."""


class TrustError(MargodError):
    """The WFM's root CA is missing or cannot be used."""


class SettingError(ValueError):
    """A value is not one of those that a setting takes. The message says what was expected."""


class DaemonUnreachable(MargodError):
    """No daemon answered on the local socket."""
