"""A block under which nobody is known ends, and the device goes on as what it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from margod.engine import messages as m
from margod.model import reasons
from margod.model.state import State
from tests.engine.test_upkeep import steps
from tests.engine.world import World


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
