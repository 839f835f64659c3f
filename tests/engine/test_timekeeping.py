"""What a clock is worth: the floor's rise, steps and suspends, offsets. Pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from margod.engine.timekeeping import (
    AGREES,
    BOUND,
    DAY,
    HOUR,
    SLACK,
    Floor,
    Moved,
    Reading,
    beyond,
    correction,
    moved,
    risen,
    vouches,
)

NOW = 1_800_000_000.0
FAR = 4_070_908_800.0  # 2099

events = st.lists(
    st.tuples(
        st.sampled_from(["sight", "reboot", "restart"]),
        st.floats(0.0, 40 * DAY),
        st.one_of(st.just(0.0), st.just(FAR - NOW), st.floats(-10 * 365 * DAY, 100 * 365 * DAY)),
    ),
    max_size=60,
)


@given(events)
def test_never_more_than_the_time_that_passed_plus_a_bound(happenings: list[tuple[str, float, float]]) -> None:
    """Whatever is seen, whatever restarts: in each boot the floor gains the time that passed and BOUND a day at most.

    It never falls and never passes what was seen.
    """
    start = floor = Floor(NOW - 30 * DAY, "boot-0", 0.0)
    true, boot, boots, granted = NOW, 0.0, 0, 1.0
    for what, passed, lie in happenings:
        true, boot = true + passed, boot + passed
        granted += passed / DAY
        if what == "reboot":
            boots, boot, granted = boots + 1, 0.0, granted + 1
        new = risen(floor, true + lie, f"boot-{boots}", boot, closing=what == "restart")
        if new is not None:
            assert floor.wall < new.wall <= true + lie - SLACK
            floor = new
        assert floor.wall <= start.wall + (true - NOW) + BOUND * granted


def test_one_spoofed_step_does_not_brick() -> None:
    """A step to 2099 lifts the floor by a day beyond the time that passed, however often it is seen in that day."""
    floor = Floor(NOW, "boot", 0.0)
    for minute in range(1, 24 * 60):
        floor = risen(floor, FAR, "boot", minute * 60.0) or floor
    assert floor.wall == NOW
    floor = risen(floor, FAR, "boot", DAY) or floor
    assert floor.wall == NOW + DAY + BOUND
    assert risen(floor, FAR, "boot", DAY + HOUR) is None


def test_an_uptime_before_the_first_rise_counts_for_nothing() -> None:
    """A machine that has run for a year when margod is installed lends its release date no year."""
    first = risen(Floor(NOW), FAR, "boot", 365 * DAY)
    assert first is not None
    assert first.wall == NOW + BOUND


def test_honest_time_is_followed() -> None:
    """With a right clock the floor stays an hour below it, by one rise a day; at the end of a process it catches up."""
    floor, rises = Floor(NOW - SLACK, "boot", 0.0), 0
    for hour in range(1, 10 * 24 + 1):
        new = risen(floor, NOW + hour * HOUR, "boot", hour * HOUR)
        rises += new is not None
        floor = new or floor
    assert floor.wall == NOW + 10 * DAY - SLACK
    assert rises == 10
    last = risen(floor, NOW + 10 * DAY + 5 * HOUR, "boot", 10 * DAY + 5 * HOUR, closing=True)
    assert last == Floor(NOW + 10 * DAY + 5 * HOUR - SLACK, "boot", 10 * DAY + 5 * HOUR)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (Reading(NOW + 60, 160, 260), Moved(0, 0)),
        (Reading(NOW + 62, 160, 260), Moved(0, 0)),
        (Reading(NOW + 60 - 1e9, 160, 260), Moved(-1e9, 0)),
        (Reading(NOW + 60 + 7200, 160, 260 + 7200), Moved(0, 7200)),
        (Reading(NOW + 60, 160, 260 + 7200), Moved(-7200, 7200)),
    ],
)
def test_steps_and_suspends(after: Reading, expected: Moved) -> None:
    """A step moves the wall clock alone, a suspend both clocks that count it; drift is neither."""
    assert moved(Reading(NOW, 100, 200), after) == expected


@pytest.mark.parametrize(
    ("offset", "synchronised", "used", "too_far"),
    [
        (None, True, 0.0, False),
        (5.0, False, 0.0, False),
        (6.0, True, 6.0, False),
        (-899.0, True, -899.0, False),
        (900.0, True, 0.0, True),
        (900.0, None, 900.0, False),
        (-86_399.0, False, -86_399.0, False),
        (86_400.0, False, 0.0, True),
    ],
)
def test_offsets(offset: float | None, synchronised: bool | None, used: float, too_far: bool) -> None:
    """Used from 5 s on, below 15 min where this clock is synchronised and below a day where it is not."""
    assert correction(offset, synchronised) == used
    assert beyond(offset, synchronised) is too_far


def test_what_vouches() -> None:
    """A Date over a verified channel, inside the certificate's validity, that agrees with the local clock."""
    valid = (NOW - DAY, NOW + DAY)
    assert vouches(AGREES, NOW, valid)
    assert not vouches(AGREES + 1, NOW, valid)
    assert not vouches(0.0, NOW, None)
    assert not vouches(0.0, NOW + 2 * DAY, valid)
    assert not vouches(0.0, NOW - 2 * DAY, valid)
