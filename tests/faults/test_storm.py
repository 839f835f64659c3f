"""Four hundred engines and a WFM that comes back: the short part of the campaign, and proof that a storm is noticed."""

from __future__ import annotations

import math
from random import Random

import pytest

from margod.engine import policy, upkeep
from tests.faults.campaign import carry_out
from tests.faults.storm import LONG, STORIES, allowed, busiest, storm, weather


def test_no_second_sees_more_than_two_percent() -> None:
    """Outages, one Retry-After for all, announcements, power cuts: spread, and all are enrolled."""
    run = carry_out(storm, seed=4, scale=0.03)
    assert len(run.figures) == len(STORIES) - len(LONG) + 1


def test_the_busiest_second_is_found() -> None:
    """Any second counts, not only whole ones, and a device counts once."""
    assert busiest([]) == 0
    assert busiest([(0.6, 1), (0.9, 1), (1.2, 2), (1.5, 3), (1.95, 4), (5.0, 5)]) == 3


def _at_once(mono: float, last: float, floor: float, _rng: Random, *, told: bool) -> float:
    return math.inf if floor > mono and not told else max(mono, last + policy.WAKE_INTERVAL)


@pytest.mark.parametrize(
    ("name", "where", "what", "value"),
    [
        ("looked for since 1 h, then announced", policy, "found", lambda _looked_for, mono: mono),
        ("back after 1 h, announced to all", policy, "wake", _at_once),
        ("one Retry-After for all, 1 h", policy, "after_floor", lambda floor, _window, _rng: floor),
        ("one Retry-After, power cut meanwhile", policy, "SPREAD", 1.0),
        ("power cut of 1 h in an outage", policy, "SPREAD", 1.0),
        ("enrolled: power cut of 3 days", upkeep, "SPREAD", 1.0),
    ],
)
def test_each_spread_matters(
    monkeypatch: pytest.MonkeyPatch, name: str, where: object, what: str, value: object
) -> None:
    """Without any one of the engine's measures some second sees far more than it may."""
    monkeypatch.setattr(where, what, value)
    assert weather(name, 500, seed=4).most > 2 * allowed(500)
