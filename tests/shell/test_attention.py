"""What a person should know is said once, and once when it is over."""

from __future__ import annotations

from structlog.testing import capture_logs

from margod.model import reasons
from margod.shell.attention import Attention
from margod.shell.situation import Warned

BROKEN = Warned(reasons.CAPABILITIES_INVALID, "a.json")
OTHER = Warned(reasons.CAPABILITIES_INVALID, "b.json")
FILES = Warned(reasons.IDENTITY_FILES_IGNORED, "files")


def said(attention: Attention, *warned: Warned, whole: bool = True) -> list[tuple[str, str, str]]:
    """Tell it; return level, event and code of each line."""
    with capture_logs() as lines:
        attention.tell(warned, {"lane": "x"}, whole=whole)
    assert all(line["lane"] == "x" for line in lines)
    return [(line["log_level"], line["event"], line["code"]) for line in lines]


def test_each_is_said_once_and_its_end_once() -> None:
    """By code: while another of the same code is left, nothing has recovered."""
    attention = Attention()
    assert said(attention, BROKEN, OTHER) == [("warning", "needs-attention", "capabilities-invalid")] * 2
    assert said(attention, BROKEN, OTHER) == []
    assert said(attention, OTHER, FILES) == [("warning", "needs-attention", "identity-files-ignored")]
    assert said(attention, FILES) == [("info", "recovered", "capabilities-invalid")]
    assert said(attention) == [("info", "recovered", "identity-files-ignored")]
    assert said(attention) == []


def test_what_was_not_looked_at_has_not_recovered() -> None:
    """A look that ended early says nothing of the rest: neither that it is over, nor that it is new."""
    attention = Attention()
    said(attention, BROKEN)
    assert said(attention, FILES, whole=False) == [("warning", "needs-attention", "identity-files-ignored")]
    assert said(attention, BROKEN) == [("info", "recovered", "identity-files-ignored")]
