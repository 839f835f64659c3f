"""The exit codes by state."""

from __future__ import annotations

from margod.client import EXIT_CODES, exit_code
from margod.model.state import State


def test_every_state_has_its_code() -> None:
    """Pins that the table names exactly the states of the model."""
    assert set(EXIT_CODES) == {state.value for state in State}


def test_the_contract() -> None:
    """Pins the numbers that scripts rely on, and that an unknown state counts as under way."""
    assert {state: exit_code(state) for state in ("enrolled", "onboarding", "pending-approval", "blocked")} == {
        "enrolled": 0,
        "onboarding": 3,
        "pending-approval": 4,
        "blocked": 5,
    }
    assert exit_code("of-a-later-margod") == 3
    assert (exit_code("discovering", "no-wfm-found"), exit_code("discovering", "several-wfms")) == (3, 5)
    assert (exit_code("onboarded", "capabilities-refused"), exit_code("enrolled", "capabilities-refused")) == (5, 0)
