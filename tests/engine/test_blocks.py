"""A block under which nobody is known ends, and the device goes on as what it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from margod.engine import messages as m
from margod.engine.policy import DAY
from margod.model import reasons
from margod.model.outcome import Kind, Outcome
from margod.model.state import State
from tests.engine.test_upkeep import UNKNOWN, enrolled, let_pass, steps
from tests.engine.world import DEVICE, World, accepting, answer


class Unkept(World):
    """A device whose disk has room for an intent, and none for what is accepted."""

    is_full = True

    def keep(self, command: m.Keep) -> m.Event:
        """Make records durable, once there is room."""
        return m.KeepFailed("No space left on device") if self.is_full else super().keep(command)


def block(world: World) -> None:
    """Let a look find a state directory that does not last: who the device is was not even looked at."""
    obstacle = m.Obstacle(State.BLOCKED, reasons.STATE_VOLATILE, "on a tmpfs")
    unknown = replace(
        world.facts(), obstacle=obstacle, binding="", trusted=False, enrolled=False, reported="", report=""
    )
    world.tell(m.Examined(unknown, m.History()))
    assert world.condition() == (State.BLOCKED, "state-volatile")
    world.queue.clear()
    world.pass_time(5.0)


def unblock(world: World) -> None:
    """Let the next look find everything as it was."""
    world.tell(world.examined())
    world.settle()


@pytest.mark.parametrize("tries", [False, True])
def test_an_id_that_could_not_be_kept_yet_outlives_a_block(tries: bool) -> None:
    """The WFM gave it, the disk was full: it is kept once there is room, under its own name, and no second is asked."""
    world = Unkept()
    world.settle()
    assert (world.enrolments(), world.condition()[1]) == (1, "state-not-writable")
    block(world)
    world.is_full = False
    if tries:
        assert world.engine.due is not None
        world.pass_time(world.engine.due - world.now.mono)
        assert world.engine.handle(m.Due(), world.now) == [m.Examine()]
    unblock(world)
    assert world.condition() == (State.ENROLLED, "enrolled")
    assert steps(world) == ["enrol", "report"]


def test_an_id_of_another_enrolment_is_not_kept() -> None:
    """Who is somebody else after the block is given nothing of the one before."""
    world = Unkept()
    world.settle()
    block(world)
    world.is_full = False
    world.certificate += 1
    unblock(world)
    assert steps(world) == ["enrol", "enrol", "report"]


def test_who_was_refused_is_refused_after_a_block() -> None:
    """A moment's block takes no word back: not a day's enrolment more, and the WFM is asked at once, as ever."""
    world = enrolled()
    world.server = lambda step, request: UNKNOWN
    let_pass(world, 2 * DAY)
    assert world.condition() == (State.REFUSED, "forgotten")
    since = world.engine.condition(world.now).since
    block(world)
    asked = len(world.asked)
    unblock(world)
    assert world.condition() == (State.REFUSED, "forgotten")
    assert world.engine.condition(world.now).since == since
    assert len(world.asked) > asked
    world.server = accepting
    world.until_due()
    assert world.condition() == (State.ENROLLED, "enrolled")


def test_who_was_not_refused_asks_at_once_after_a_block() -> None:
    """Where nothing is refused and no Retry-After runs, a person has mended something and wants to see it."""
    world = World(server=lambda step, request: answer(202))
    world.settle()
    block(world)
    asked = world.enrolments()
    unblock(world)
    assert world.enrolments() == asked + 1


def test_a_block_that_has_gone_is_no_last_error() -> None:
    """A Retry-After that holds the next request back holds no mended block in the status."""
    world = World(server=lambda step, request: answer(429, retry_after="3600"))
    world.settle()
    block(world)
    world.notes.clear()
    unblock(world)
    condition = world.engine.condition(world.now)
    assert (world.enrolments(), condition.last_error) == (1, None)
    assert (world.notes[0].event, world.notes[0].data["code"]) == ("recovered", "state-volatile")


def test_a_wait_of_a_device_that_rested_is_shown_and_stays() -> None:
    """A block is looked at again at a time that the status names, and that a person may have come at once."""
    world = enrolled()
    block(world)
    assert world.engine.condition(world.now).next_attempt_at is not None
    assert world.engine.handle(m.Woken(m.Cause.OPERATOR), world.now) == [m.Examine()]


def test_who_comes_back_to_an_enrolment_does_not_rest_there() -> None:
    """The Retry-After of a report that is still to be made is not overwritten by the next upkeep's time."""
    world = enrolled()
    world.capabilities = replace(DEVICE, serial_number="SN-2")
    world.server = lambda step, request: answer(503, retry_after="3600")
    world.tell(world.examined())
    world.settle()
    here = world.examined()
    world.server = accepting
    world.tell(replace(here, facts=replace(here.facts, binding="elsewhere", reported=here.facts.report)))
    world.settle()
    world.tell(here)
    world.settle()
    due = world.engine.due
    assert due is not None
    assert world.engine.condition(world.now).next_attempt_at is not None
    world.tell(m.Heard(Outcome(Kind.ACCEPTED, reasons.ENROLLED), 60.0))
    assert world.engine.due == due
