"""A word that says nothing but that this client is not accepted is enough by itself, until the next acceptance."""

from __future__ import annotations

import pytest

from margod.engine import messages as m
from margod.engine.policy import DAY, Policy
from margod.model import reasons
from margod.model.outcome import Kind, Outcome, Step
from margod.model.state import State
from tests.engine.test_heard import FINE
from tests.engine.test_upkeep import let_pass, steps
from tests.engine.world import World

SECRET = Outcome(Kind.FORBIDDEN, reasons.CLIENT_SECRET_REFUSED, "HTTP 401: invalid_client", sent=False)
TOKEN = Outcome(Kind.UNAUTHORIZED, reasons.BEARER_TOKEN_REFUSED, "HTTP 401")
OFFLINE = Outcome(Kind.UNREACHABLE, reasons.CONNECT_FAILED, "nobody there", sent=False)


class Worded(World):
    """A WFM of which only the meaning of what it says to an accepted device is given; None: it is well."""

    word: Outcome | None = None

    def send(self, command: m.Send) -> m.Done:
        """Ask, and hear the word."""
        done = super().send(command)
        told = self.word is not None and command.step in (Step.REPORT, Step.CONFIRM)
        return m.Done(command.step, self.word) if told and self.word is not None else done


def worded(word: Outcome | None) -> Worded:
    """Return a device that has been onboarded at such a WFM."""
    world = Worded(policy=Policy(upkeep={Step.CONFIRM: DAY}))
    world.word = word
    world.settle()
    return world


@pytest.mark.parametrize("word", [SECRET, TOKEN], ids=["secret", "token"])
def test_at_the_first_report(word: Outcome) -> None:
    """A person at the WFM has to mend it: that is said at once, and who mends it has the device enrolled."""
    world = worded(word)
    assert world.condition() == (State.REFUSED, word.reason.code)
    assert world.engine.condition(world.now).detail == word.detail
    world.word = None
    let_pass(world, 3_700.0)
    assert world.condition() == (State.ENROLLED, "enrolled")
    assert world.enrolments() == 1


@pytest.mark.parametrize("word", [SECRET, TOKEN], ids=["secret", "token"])
def test_of_an_enrolled_device(word: Outcome) -> None:
    """No day has to pass; it asks once an hour from then on, keeps its id, and a network that fails changes nothing."""
    world = worded(None)
    assert world.condition() == (State.ENROLLED, "enrolled")
    world.asked.clear()
    world.word = word
    while not steps(world):
        world.until_due()
    assert world.condition() == (State.REFUSED, word.reason.code)
    let_pass(world, DAY)
    assert world.condition() == (State.REFUSED, word.reason.code)
    assert len(steps(world)) < 60
    world.word = OFFLINE
    world.until_due()
    world.restart_with_memory()
    world.until_due()
    assert world.condition() == (State.REFUSED, word.reason.code)
    world.word = None
    world.until_due()
    assert world.condition() == (State.ENROLLED, "enrolled")
    assert world.enrolments() == 0


def test_what_another_lane_heard() -> None:
    """One route may have its own mind: the device asks for itself before it says so."""
    world = worded(None)
    world.tell(m.Heard(TOKEN, 600.0))
    assert world.condition() == (State.ENROLLED, "enrolled")
    let_pass(world, 61.0)
    assert world.condition() == (State.ENROLLED, "enrolled")
    world.tell(m.Heard(TOKEN, 600.0))
    world.word = TOKEN
    let_pass(world, 61.0)
    assert world.condition() == (State.REFUSED, "bearer-token-refused")
    world.word = None
    world.tell(m.Heard(FINE, 600.0))
    assert world.condition() == (State.ENROLLED, "enrolled")
