"""Four hundred engines and a WFM that comes back: the short part of the campaign, and proof that a storm is noticed."""

from __future__ import annotations

import gc
import math
from random import Random

import pytest

from margod.engine import policy, upkeep
from tests.faults.campaign import carry_out
from tests.faults.storm import LONG, STORIES, Fleet, Part, Wfm, allowed, busiest, part, storm, together, weather


def test_no_second_sees_more_than_two_percent() -> None:
    """Outages, one Retry-After for all, announcements, power cuts: spread, and all are enrolled."""
    run = carry_out(storm, seed=4, scale=0.03)
    assert len(run.figures) == len(STORIES) - len(LONG) + 1


def test_the_busiest_second_is_found() -> None:
    """Any second counts, not only whole ones, and a device counts once."""
    assert busiest([]) == 0
    assert busiest([(0.6, 1), (0.9, 1), (1.2, 2), (1.5, 3), (1.95, 4), (5.0, 5)]) == 3


def test_parts_are_counted_together() -> None:
    """What is played in parts, a week's outage in the long campaign, is judged by what the WFM saw of all at once."""
    one, other = (
        Part([(at, first + 1), (at + 0.5, first + 2)], 7.0 + first, 20, 5.0) for at, first in ((9.0, 0), (9.4, 500))
    )
    whole = together("x", [one, other])
    assert (whole.most, whole.took, whole.requests, whole.counts[0]) == (4, 507.0, 40, 4)
    assert together("x", [one, Part([], None, 3, 5.0)]).took is None
    name = "back after 2 min"
    parts = [part(name, 100, 4, first) for first in (0, 100)]
    assert {device for each in parts for _, device in each.seen} == set(range(200))
    assert together(name, parts).took is not None


def test_an_engine_makes_no_cycles() -> None:
    """So that an outage of a week, played without the collector, keeps within its memory."""
    part("back after 1 h", 10, 4)
    gc.collect()
    fleet = Fleet(50, 4, Wfm(alive=False))
    fleet.start()
    fleet.run(60.0)
    gc.collect()
    gc.disable()
    try:
        fleet.run(36_000.0)
        assert fleet.attempts > 5_000
        assert gc.collect() < 100
    finally:
        gc.enable()


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
