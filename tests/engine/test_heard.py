"""What another lane hears from the WFM about this device is as good as the engine's own question."""

from __future__ import annotations

import pytest

from margod.engine import messages as m
from margod.engine.policy import DAY
from margod.model import reasons
from margod.model.capabilities import Capabilities
from margod.model.outcome import Kind, Outcome, Step
from margod.model.state import Connection, State
from tests.engine.test_upkeep import UNKNOWN, enrolled, let_pass, steps
from tests.engine.world import accepting, answer

FINE = Outcome(Kind.ACCEPTED, reasons.ENROLLED)
OFFLINE = Outcome(Kind.UNREACHABLE, reasons.CONNECT_FAILED, "nobody there")
STRANGER = Outcome(Kind.UNKNOWN, reasons.CLIENT_UNKNOWN)


def test_a_poll_makes_the_question_needless() -> None:
    """Who polls once an hour and is answered asks nothing else for a month."""
    world = enrolled()
    for _ in range(30 * 24):
        let_pass(world, 3_600.0)
        world.tell(m.Heard(FINE, 3_600.0))
        world.settle()
    assert steps(world) == []
    let_pass(world, 1.2 * DAY)
    assert steps(world) == ["confirm"]


def test_a_failed_poll_is_shown_and_taken_back() -> None:
    """The connection and the last error follow a lane that cannot reach the WFM, and the state does not."""
    world = enrolled()
    world.tell(m.Heard(OFFLINE, 90.0))
    condition = world.engine.condition(world.now)
    assert (condition.state, condition.connection) == (State.ENROLLED, Connection.OFFLINE)
    assert condition.last_error is not None
    assert condition.last_error.reason is reasons.CONNECT_FAILED
    world.tell(m.Heard(FINE, 90.0))
    condition = world.engine.condition(world.now)
    assert (condition.connection, condition.last_error) == (Connection.ONLINE, None)
    assert steps(world) == []


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_poll_that_is_refused_begins_the_doubt(comes_back: bool) -> None:
    """The engine asks on its own routes then: a day on both makes it refused; one good word ends the doubt."""
    world = enrolled()
    world.server = lambda step, request: UNKNOWN
    world.tell(m.Heard(STRANGER, 600.0))
    assert world.condition() == (State.ENROLLED, "enrolled")
    let_pass(world, 600.0)
    assert steps(world)[0] == "report", "the other route is asked first"
    if comes_back:
        world.server = accepting
        world.tell(m.Heard(FINE, 600.0))
        world.settle()
        let_pass(world, 2 * DAY)
        assert world.condition() == (State.ENROLLED, "enrolled")
    else:
        let_pass(world, 2 * DAY)
        assert world.condition() == (State.REFUSED, "forgotten")
        world.server = accepting
        world.tell(m.Heard(FINE, 600.0))
        world.settle()
        assert world.condition() == (State.ENROLLED, "enrolled")


def test_a_word_against_it_makes_the_engine_ask_for_itself() -> None:
    """The next attempt is shown, a person may have it made at once, and more words of other lanes change nothing."""
    world = enrolled()
    world.server = lambda step, request: UNKNOWN
    world.tell(m.Heard(STRANGER, 600.0))
    condition = world.engine.condition(world.now)
    assert condition.next_attempt_at is not None
    world.tell(m.Heard(STRANGER, 600.0))
    assert world.engine.condition(world.now).next_attempt_at == condition.next_attempt_at
    world.tell(m.Woken(m.Cause.OPERATOR))
    world.settle()
    assert steps(world)[0] == "report"


def test_a_device_that_is_not_enrolled_hears_nothing() -> None:
    """A lane that was late is not taken for a word about another enrolment."""
    world = enrolled()
    world.records.clear()
    world.entries.clear()
    world.certificate += 1
    world.server = lambda step, request: UNKNOWN
    world.start()
    world.settle()
    before = world.condition()
    world.tell(m.Heard(FINE, 1.0))
    assert world.condition() == before
    assert Step.ENROL in {step for step, _, _ in world.asked}


@pytest.mark.parametrize("kept", [True, False])
def test_a_good_poll_mends_nothing_of_a_report(kept: bool) -> None:
    """What the WFM refuses or the disk has no room for is not over by another lane, nor said after each poll."""
    world = enrolled()
    world.capabilities = Capabilities(None, "Vendor", "Model", "SN-2")
    if kept:
        world.server = lambda step, request: answer(422, b"{}") if step is Step.REPORT else accepting(step, request)
    else:
        world.disk_full = True
    world.tell(world.examined())
    world.settle()
    for _ in range(12):
        let_pass(world, 300.0)
        world.tell(m.Heard(FINE, 300.0))
        world.settle()
    error = world.engine.condition(world.now).last_error
    assert error is not None
    assert error.reason is (reasons.CAPABILITIES_REFUSED if kept else reasons.STATE_NOT_WRITABLE)
    assert [note.event for note in world.notes].count("recovered") == 0
    failures = [note for note in world.notes if note.level is m.Level.WARNING]
    assert len(failures) <= 2, "one, and one an hour"
    world.server, world.disk_full = accepting, False
    let_pass(world, DAY)
    assert world.engine.condition(world.now).last_error is None
