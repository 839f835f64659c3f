"""A word that says nothing but that this client is not accepted is enough by itself, until the next acceptance."""

from __future__ import annotations

from dataclasses import replace

import pytest

from margod.engine import messages as m
from margod.engine.policy import DAY, SPREAD, Policy
from margod.model import reasons
from margod.model.capabilities import Capabilities
from margod.model.outcome import Kind, Outcome, Step
from margod.model.state import State
from tests.engine.test_heard import FINE
from tests.engine.test_upkeep import let_pass, steps
from tests.engine.world import World

SECRET = Outcome(Kind.FORBIDDEN, reasons.CLIENT_SECRET_REFUSED, "HTTP 401: invalid_client", sent=False)
TOKEN = Outcome(Kind.UNAUTHORIZED, reasons.BEARER_TOKEN_REFUSED, "HTTP 401")
OFFLINE = Outcome(Kind.UNREACHABLE, reasons.CONNECT_FAILED, "nobody there", sent=False)
MUTE = Outcome(Kind.WRONG_ADDRESS, reasons.NO_CONFIRM_ROUTE, "HTTP 404")
WRONG = Outcome(Kind.INVALID, reasons.CAPABILITIES_REFUSED, "HTTP 422: vendor")
FORBIDDEN = Outcome(Kind.FORBIDDEN, reasons.CLIENT_REFUSED, "HTTP 403")
ABOUT_US = (Step.REPORT, Step.CONFIRM)
BOTH = pytest.mark.parametrize("word", [SECRET, TOKEN], ids=["secret", "token"])


class Worded(World):
    """A WFM of which only the meaning of what it says at some steps is given; at the others it is well."""

    words: dict[Step, Outcome]

    def send(self, command: m.Send) -> m.Done:
        """Ask, and hear the word."""
        done = super().send(command)
        return m.Done(command.step, self.words.get(command.step, done.outcome))

    def says(self, word: Outcome | None, *at: Step) -> None:
        """Have it say this from now on, and nothing else."""
        self.words = {} if word is None else dict.fromkeys(at or ABOUT_US, word)


def worded(word: Outcome | None = None, *at: Step) -> Worded:
    """Return a device that has been onboarded at such a WFM."""
    world = Worded(policy=Policy(upkeep={Step.CONFIRM: DAY}))
    world.says(word, *at)
    world.settle()
    world.asked.clear()
    return world


def changed(world: World) -> None:
    """Give the device something new to report."""
    world.capabilities = Capabilities(None, "Vendor", "Model", "SN-2")
    world.tell(world.examined())
    world.settle()


@BOTH
def test_at_the_first_report(word: Outcome) -> None:
    """A person at the WFM has to mend it: that is said at once, and who mends it has the device enrolled."""
    world = worded(word)
    assert world.condition() == (State.REFUSED, word.reason.code)
    assert world.engine.condition(world.now).detail == word.detail
    world.says(OFFLINE)
    world.until_due()
    world.restart_with_memory()
    world.until_due()
    assert world.condition() == (State.REFUSED, word.reason.code)
    world.says(WRONG, Step.REPORT)
    let_pass(world, 3_700.0)
    assert world.condition() == (State.ONBOARDED, "capabilities-refused"), "who finds fault with it knows the client"
    world.says(None)
    let_pass(world, 6 * 3_700.0)
    assert world.condition() == (State.ENROLLED, "enrolled")
    assert world.enrolments() == 0, "once, before"


@BOTH
def test_of_an_enrolled_device(word: Outcome) -> None:
    """No day has to pass; it asks once an hour from then on, keeps its id, and a network that fails changes nothing."""
    world = worded()
    assert world.condition() == (State.ENROLLED, "enrolled")
    world.says(word)
    while not steps(world):
        world.until_due()
    assert world.condition() == (State.REFUSED, word.reason.code)
    let_pass(world, DAY)
    assert world.condition() == (State.REFUSED, word.reason.code)
    assert len(steps(world)) < 60
    world.says(OFFLINE)
    world.until_due()
    world.restart_with_memory()
    world.until_due()
    assert world.condition() == (State.REFUSED, word.reason.code)
    world.says(None)
    world.until_due()
    assert world.condition() == (State.ENROLLED, "enrolled")
    assert world.enrolments() == 0


@BOTH
@pytest.mark.parametrize("reported", [False, True])
def test_a_wfm_that_cannot_be_asked(word: Outcome, reported: bool) -> None:
    """A route that says nothing does not keep the other one from being asked: what is mended is noticed."""
    world = worded(None if reported else word)
    if reported:
        world.says(word, Step.REPORT)
        changed(world)
    assert world.condition() == (State.REFUSED, word.reason.code)
    world.words[Step.CONFIRM] = MUTE
    let_pass(world, DAY)
    assert world.condition() == (State.REFUSED, word.reason.code)
    world.says(MUTE, Step.CONFIRM)
    let_pass(world, 2 * 3_700.0)
    assert world.condition() == (State.ENROLLED, "enrolled")


def test_a_report_alone_that_is_refused() -> None:
    """It is no storm, and the state does not go to and fro: the other route says that the device is known."""
    world = worded()
    world.says(TOKEN, Step.REPORT)
    changed(world)
    assert world.condition() == (State.REFUSED, "bearer-token-refused")
    let_pass(world, 61.0)
    assert world.condition() == (State.ENROLLED, "enrolled")
    world.notes.clear()
    for _ in range(24 * 60):
        let_pass(world, 60.0)
        world.tell(m.Heard(FINE, 60.0))  # a poll that is well is no reason to report at once
        world.settle()
        assert world.condition() == (State.ENROLLED, "enrolled")
    assert 20 < steps(world).count("report") < 60
    assert not [note for note in world.notes if note.event == "state"]
    world.says(None)
    let_pass(world, 3_700.0)
    assert world.facts().report == world.facts().reported


def test_what_another_lane_heard() -> None:
    """One route may have its own mind: the device asks for itself before it says so."""
    world = worded()
    world.tell(m.Heard(TOKEN, 600.0))
    assert world.condition() == (State.ENROLLED, "enrolled")
    let_pass(world, 61.0)
    assert world.condition() == (State.ENROLLED, "enrolled")
    world.tell(m.Heard(TOKEN, 600.0))
    world.says(TOKEN)
    let_pass(world, 61.0)
    assert world.condition() == (State.REFUSED, "bearer-token-refused")
    world.says(None)
    world.tell(m.Heard(FINE, 600.0))
    assert world.condition() == (State.ENROLLED, "enrolled")


def test_a_route_that_is_missing_may_name_a_wait() -> None:
    """Nothing is learnt there, and the Retry-After holds for whatever is to be asked next all the same."""
    world = worded()
    world.says(replace(MUTE, retry_after=7_200.0), Step.CONFIRM)
    world.until_due()
    changed(world)
    assert steps(world) == ["confirm"]
    assert world.engine.condition(world.now).last_error is None
    assert 7_200.0 <= world.until_due() <= 7_200.0 + SPREAD
    assert steps(world) == ["confirm", "report"]


def test_a_good_word_is_no_reason_to_come_too_early() -> None:
    """What another lane hears ends the doubt, and no wait that the WFM has asked for."""
    world = worded()
    world.says(replace(TOKEN, retry_after=3_600.0), Step.CONFIRM)
    while not steps(world):
        world.until_due()
    assert world.condition() == (State.REFUSED, "bearer-token-refused")
    world.asked.clear()
    world.capabilities = Capabilities(None, "Vendor", "Model", "SN-2")
    world.tell(world.examined())
    world.tell(m.Heard(FINE, 600.0))
    world.settle()
    assert world.condition() == (State.ENROLLED, "enrolled")
    let_pass(world, 3_599.0)
    assert steps(world) == []
    let_pass(world, 3_700.0)
    assert steps(world)[0] == "report"


def test_another_word_takes_its_day() -> None:
    """A 403 beside it is no plain word: what is shown stays, with its hint, until it was said for long enough."""
    world = worded()
    world.says(SECRET)
    while not steps(world):
        world.until_due()
    world.says(FORBIDDEN)
    world.until_due()
    assert world.condition() == (State.REFUSED, "client-secret-refused")
    let_pass(world, 2 * DAY)
    assert world.condition() == (State.REFUSED, "revoked")
