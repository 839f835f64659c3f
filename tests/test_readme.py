"""README.md says what is so: every reason code, state and exit code stands in it as the program has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from margod.client import exit_code
from margod.model.reasons import REASONS, Reason, Side
from margod.model.state import State

README = (Path(__file__).parent.parent / "README.md").read_text()


def row(reason: Reason) -> str:
    """Return the line of the troubleshooting table."""
    return f"| `{reason.code}` | {reason.side.value} | {reason.says} | {reason.hint.replace('|', chr(92) + '|')} |"


@pytest.mark.parametrize("reason", [r for r in REASONS.values() if r.side is not Side.NONE], ids=lambda r: r.code)
def test_every_reason_is_explained(reason: Reason) -> None:
    """The table has each reason in the very words that the program uses."""
    assert row(reason) in README.splitlines()


@pytest.mark.parametrize("state", list(State), ids=lambda s: s.value)
def test_every_state_has_its_exit_code(state: State) -> None:
    """The table of states has each state with the exit code of `status`."""
    rows = [line.rsplit("|", 2)[1].strip() for line in README.splitlines() if line.startswith(f"| `{state.value}` |")]
    assert [cell for cell in rows if cell.isdigit()] == [str(exit_code(state.value))]
