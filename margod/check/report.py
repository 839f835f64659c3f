"""What a check found: lines with a verdict each, the exit code, and the document of `--json`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from margod import __version__
from margod.model import reasons
from margod.model.errors import MargodError
from margod.model.reasons import Reason
from margod.model.text import timestamp

SCHEMA: Final = 1
"""Of the document; a member may be added without a new number, none is taken away or changes its meaning."""

NAMES: Final = (
    "configuration",
    "state-directory",
    "identity",
    "root-ca",
    "clock",
    "wfm",
    "dns",
    "tcp",
    "proxy",
    "tls",
    "certificate-api",
    "signed-request",
    "secret-hosts",
    "local-socket",
)
"""The lines of a report, in order; of `signed-request` and `secret-hosts` it has one, as wfm.protocol is."""

Fact = str | int | float | bool | None | Sequence[str]


class Verdict(Enum):
    """What one line says."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at.

    `because` of a skipped line is the name of the line that it would have stood on, or `offline`,
    `downtime`, `rights`, `enrolment`. `detail` is what the other side or the system said; `facts` is the evidence.
    """

    name: str
    verdict: Verdict
    message: str
    reason: Reason | None = None
    detail: str = ""
    hint: str = ""
    because: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)


Facts = Mapping[str, Fact]


def ok(name: str, message: str, *, facts: Facts | None = None) -> Line:
    """Return a line without anything to be done."""
    return Line(name, Verdict.OK, message, facts=facts or {})


def warning(
    name: str, reason: Reason, detail: str = "", *, message: str = "", hint: str = "", facts: Facts | None = None
) -> Line:
    """Return a line that a person should know; message and hint are the reason's unless given."""
    return Line(name, Verdict.WARNING, message or reason.says, reason, detail, hint or reason.hint, "", facts or {})


def failed(
    name: str, reason: Reason, detail: str = "", *, message: str = "", hint: str = "", facts: Facts | None = None
) -> Line:
    """Return a line for what does not work; message and hint are the reason's unless given."""
    return Line(name, Verdict.FAILED, message or reason.says, reason, detail, hint or reason.hint, "", facts or {})


def error(name: str, found: MargodError, verdict: Verdict = Verdict.FAILED, *, facts: Facts | None = None) -> Line:
    """Return a line in an error's own words."""
    return Line(name, verdict, found.message, found.reason, "", found.hint, "", facts or {})


def skipped(name: str, because: str, message: str = "", hint: str = "") -> Line:
    """Return a line for what was not looked at."""
    return Line(name, Verdict.SKIPPED, message or f"because of {because}", None, "", hint, because)


def without_rights(name: str, what: str) -> Line:
    """Return a line for what this user may not look at; `what` is a path."""
    needed = reasons.CHECK_NEEDS_RIGHTS
    return Line(name, Verdict.SKIPPED, f"This user may not read {what}.", needed, "", needed.hint, "rights")


def exit_code(lines: Sequence[Line]) -> int:
    """Return 0 if nothing is wrong, 10 if there are warnings only, 11 if something failed."""
    verdicts = {line.verdict for line in lines}
    return 11 if Verdict.FAILED in verdicts else 10 if Verdict.WARNING in verdicts else 0


def document(lines: Sequence[Line], at: float, seconds: float) -> dict[str, object]:
    """Return the document: `at` in Unix seconds, `seconds` that it took."""
    return {
        "schema": SCHEMA,
        "version": __version__,
        "at": timestamp(at),
        "seconds": round(seconds, 3),
        "result": {0: "ok", 10: "warnings", 11: "failures"}[exit_code(lines)],
        "lines": [
            {
                "name": line.name,
                "verdict": line.verdict.value,
                "code": line.reason.code if line.reason else None,
                "message": line.message,
                "detail": line.detail,
                "hint": line.hint,
                "because": line.because or None,
                "facts": dict(line.facts),
            }
            for line in lines
        ],
    }
