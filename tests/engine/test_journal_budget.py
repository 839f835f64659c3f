"""How much a device that is offline writes: the engine's own lines over simulated time, as the journal prints them."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import structlog

from margod.engine import messages as m
from margod.engine.policy import DAY, Policy
from margod.model import reasons
from margod.model.outcome import Step
from margod.model.reason import Reason
from margod.model.wire import Answer, Request, TransportFailure
from margod.service import journal
from tests.engine.world import World, accepting, answer

WEEK = 7 * DAY
BUDGET = 50_000
"""Bytes a week."""

DETAIL = "wfm.plant-17.example.com port 8443: [Errno -3] Temporary failure in name resolution, via proxy.example:3128"


@pytest.fixture
def unchanged() -> Iterator[None]:
    """Give structlog back as it was."""
    yield
    structlog.reset_defaults()


def unsent(*kinds: Reason, times: int) -> Callable[[Step, Request], Answer | TransportFailure]:
    """Return a network on which each request fails, by each of these reasons so many times in turn."""
    asked = iter(range(10**9))
    return lambda _step, _request: TransportFailure(kinds[next(asked) // times % len(kinds)], DETAIL, sent=False)


def written(notes: list[m.Note]) -> tuple[int, Counter[str]]:
    """Return how many bytes the journal gets of these notes at level info, and how many lines of each event."""
    out = io.StringIO()
    journal.configure("info", "logfmt", out)
    log = structlog.get_logger()
    for note in notes:
        getattr(log, note.level.value)(note.event, **note.data)
    text = out.getvalue()
    return len(text.encode()), Counter(line.split()[0].split(">")[-1] for line in text.splitlines())


def offline(world: World, seconds: float) -> None:
    """Let the device be without its WFM for this long."""
    end = world.now.mono + seconds
    while world.engine.due is not None and world.engine.due < end:
        world.until_due()


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("enrolled", [False, True], ids=["new", "enrolled"])
@pytest.mark.parametrize(
    ("kinds", "times"),
    [
        ((reasons.DNS_FAILED,), 1),
        ((reasons.DNS_FAILED, reasons.CONNECT_FAILED), 1),
        ((reasons.DNS_FAILED, reasons.TLS_UNKNOWN_ISSUER, reasons.TIMED_OUT, reasons.PROXY_UNREACHABLE), 12),
    ],
    ids=["one-kind", "two-in-turn", "captive-portal"],
)
def test_a_week_offline_is_within_the_budget(enrolled: bool, kinds: tuple[Reason, ...], times: int) -> None:
    """Under 50 kB however the network fails, and never silent: each kind is said, a day has a line, the end is said."""
    policy = Policy(upkeep={Step.CONFIRM: DAY})
    world = World(policy=policy) if enrolled else World(policy=policy, server=unsent(*kinds, times=times))
    world.settle()
    world.server = unsent(*kinds, times=times)
    offline(world, WEEK)
    size, lines = written(world.notes)
    assert size < BUDGET, lines
    said = [note.data["code"] for note in world.notes if note.level is m.Level.WARNING]
    assert {kind.code for kind in kinds} <= set(said)
    assert lines["still-failing"] >= 6
    world.server = accepting
    world.notes.clear()
    world.until_due()
    assert "recovered" in {note.event for note in world.notes}


@pytest.mark.usefixtures("unchanged")
def test_a_week_of_answers_that_alternate_is_within_the_budget() -> None:
    """A WFM that is half up, and answers now so, now so, fills no journal either."""
    answers = iter([answer(503), answer(500), answer(429), answer(404)] * 10**5)
    world = World(server=lambda _step, _request: next(answers))
    world.settle()
    offline(world, WEEK)
    size, lines = written(world.notes)
    assert size < BUDGET, lines
