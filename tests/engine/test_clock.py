"""The engine and the clock: steps, suspends, and failures that are the clock's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from margod.engine import messages as m
from margod.engine.policy import DAY, SPREAD
from margod.model import reasons
from margod.model.outcome import Kind, Outcome, Step
from margod.model.state import Connection, State
from margod.model.wire import Answer, Request
from tests.engine.world import World, accepting, answer

NO_TIME = m.Obstacle(State.WAITING_FOR_CLOCK, reasons.CLOCK_IMPLAUSIBLE, "it says 1970")


def busy(step: Step, request: Request) -> Answer:
    """A WFM that asks to come again in an hour."""
    return answer(503, retry_after="3600") if step is Step.ENROL else accepting(step, request)


def test_the_clock_is_waited_for_and_then_nothing_is() -> None:
    """While it cannot be right nothing is asked; the look after it was set goes on at once."""
    world = World(obstacle=NO_TIME)
    world.settle()
    for _ in range(3):
        world.until_due()
    assert world.condition() == (State.WAITING_FOR_CLOCK, "clock-implausible")
    assert world.asked == []
    world.obstacle = None
    world.now = m.Now(world.now.mono, world.now.wall + 1.7e9)
    world.tell(m.Reread())
    world.tell(m.Woken(m.Cause.CLOCK))
    world.settle()
    assert world.condition()[0] is State.ENROLLED


def test_an_obstacle_that_went_under_a_retry_after_is_not_shown_any_longer() -> None:
    """What was in the way is mended, and the WFM's word still holds the next request back."""
    world = World(server=busy)
    world.settle()
    world.obstacle = NO_TIME
    world.tell(m.Reread())
    world.settle()
    assert world.condition()[0] is State.WAITING_FOR_CLOCK
    world.obstacle = None
    world.tell(m.Reread())
    world.settle()
    assert world.condition() == (State.ONBOARDING, "asking")
    assert len(world.asked) == 1
    assert world.until_due() >= 3_500


def test_steps_wake_a_wait_once_a_minute_spread() -> None:
    """A hundred steps in a retry wait bring it forward once, within two minutes, never before a Retry-After."""
    world = World(server=lambda *_: answer(404))
    world.settle()
    begun = world.now.mono
    for turn in range(100):
        world.now = m.Now(world.now.mono, world.now.wall + (1e8 if turn % 2 else -1e8))
        world.tell(m.Woken(m.Cause.CLOCK))
    world.settle()
    assert world.engine.due is not None
    assert begin_within(world.engine.due - begun)
    assert len(world.asked) == 1
    held = World(server=busy)
    held.settle()
    held.tell(m.Woken(m.Cause.CLOCK))
    assert held.until_due() >= 3_599


def begin_within(wait: float) -> bool:
    """Whether a wait is one that a wake leaves."""
    return 0.0 <= wait <= SPREAD


@pytest.mark.parametrize("slept", [600.0, 3_000.0, 30 * DAY])
def test_what_was_slept_was_waited(slept: float) -> None:
    """A wait that passed in a suspend is over within a minute, also a Retry-After; one that did not is the shorter."""
    world = World(server=busy)
    world.settle()
    assert world.engine.due is not None
    before = world.engine.due - world.now.mono
    world.tell(m.Slept(slept))
    left = world.engine.due - world.now.mono
    assert left == before - slept if before > slept else begin_within(left)
    assert len(world.asked) == 1
    world.tell(m.Woken(m.Cause.OPERATOR))
    world.settle()
    assert len(world.asked) == (2 if slept > 3_600 else 1), "the WFM's word counted the time slept"


def test_upkeep_slept_over_is_made_up() -> None:
    """An enrolled device that slept for a week asks within a minute, not after what was left of the day."""
    world = World()
    world.engine.rules = replace(world.policy, upkeep={Step.CONFIRM: DAY})
    world.settle()
    assert world.condition()[0] is State.ENROLLED
    world.tell(m.Slept(7 * DAY))
    assert world.engine.due is not None
    assert begin_within(world.engine.due - world.now.mono)


@pytest.mark.parametrize("first", [202, 403])
def test_a_wrong_clock_takes_nothing_back(first: int) -> None:
    """What the WFM has said stays when the clock is what fails; the connection says so."""
    world = World(server=lambda *_: answer(first))
    world.settle()
    state = world.condition()
    world.pass_time(DAY)
    world.tell(m.Due())
    while not isinstance(command := world.queue.pop(0), m.Send):
        if (event := world.perform(command)) is not None:
            world.tell(event)
    world.tell(m.Done(command.step, Outcome(Kind.CLOCK, reasons.CLOCK_IMPLAUSIBLE, sent=False)))
    condition = world.engine.condition(world.now)
    assert (condition.state, condition.reason.code) == state
    assert condition.connection is Connection.CLOCK
    assert condition.last_error is not None
    assert condition.last_error.reason is reasons.CLOCK_IMPLAUSIBLE
