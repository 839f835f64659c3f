"""A Git token that a person hands over: what is said of it before it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pytest

from margod.model.errors import MargodError
from margod.shell.gittokens import require_time_left

if TYPE_CHECKING:
    from margod.shell.timekeeper import Timekeeper


@dataclass
class Keeper:
    """A clock that says 1000, to be believed or not."""

    believed: bool

    def plausible(self) -> bool:
        """Return what it was made with."""
        return self.believed

    def wall(self) -> float:
        """Return the time."""
        return 1000.0


def keeper(*, believed: bool) -> Timekeeper:
    """Return such a clock."""
    return cast("Timekeeper", Keeper(believed))


@pytest.mark.parametrize("end", [1.0, 1000.0])
def test_an_end_that_is_past(end: float) -> None:
    """It is refused with the option's name; a clock that cannot be believed decides nothing."""
    with pytest.raises(MargodError, match="--expires-at is 1970-01-01T00:") as caught:
        require_time_left(end, keeper(believed=True))
    assert caught.value.code == "git-token-ended"
    require_time_left(end, keeper(believed=False))


@pytest.mark.parametrize("end", [None, 1001.0])
def test_an_end_to_come(end: float | None) -> None:
    """Or none."""
    require_time_left(end, keeper(believed=True))
