"""An enrolled device asks from time to time; a WFM that says no has to mean it before the device counts as refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from margod.engine import messages as m
from margod.engine.policy import DAY, SPREAD, Policy
from margod.model import reasons
from margod.model.capabilities import Capabilities
from margod.model.outcome import Step
from margod.model.state import State
from margod.model.wire import Answer, Auth, Request, TransportFailure
from tests.engine.world import World, accepting, answer

HOUR = 3_600.0
UNKNOWN = answer(404, b'{"error": "no such client"}')


def enrolled(**policy: float) -> World:
    """Return a device that is enrolled and asks once a day whether it still is."""
    world = World(policy=Policy(upkeep={Step.CONFIRM: DAY}, **policy))  # type: ignore[arg-type]
    world.settle()
    assert world.condition() == (State.ENROLLED, "enrolled")
    world.asked.clear()
    return world


def let_pass(world: World, seconds: float) -> None:
    """Let so much time pass, with every attempt that falls into it."""
    end = world.now.mono + seconds
    while world.engine.due is not None and world.engine.due <= end:
        world.until_due()
    world.pass_time(end - world.now.mono)


def steps(world: World) -> list[str]:
    """Return what was asked."""
    return [step.value for step, _, _ in world.asked]


def test_a_day_sees_one_question() -> None:
    """In ten days an enrolled device asks about ten times whether it is known, and shows no next attempt."""
    world = enrolled()
    assert world.engine.condition(world.now).next_attempt_at is None
    let_pass(world, 10 * DAY)
    assert set(steps(world)) == {"confirm"}
    assert 10 <= len(world.asked) <= 13
    assert world.condition() == (State.ENROLLED, "enrolled")


def test_a_restart_does_not_ask_anew() -> None:
    """The time of the next question survives a restart; without what was remembered it is within an interval."""
    world = enrolled()
    due = world.engine.due
    assert due is not None
    world.restart_with_memory()
    assert world.engine.due == pytest.approx(due, abs=0.01)
    world.remembered = None
    world.start()
    world.settle()
    assert world.asked == []
    assert world.engine.due is not None
    assert world.now.mono + 0.4 * DAY < world.engine.due <= world.now.mono + DAY


def test_what_was_missed_is_made_up_once() -> None:
    """After a month without power there is one question, spread over two minutes."""
    world = enrolled()
    world.restart_with_memory(m.Now(5.0, world.now.wall + 30 * DAY))
    assert world.asked == []
    assert world.until_due() <= 120.0
    assert steps(world) == ["confirm"]
    assert world.until_due() > 0.5 * DAY


def test_forgotten_after_a_day_on_two_routes() -> None:
    """A WFM that does not know the id: enrolled for a day, refused then, enrolled again as soon as it knows it."""
    world = enrolled()
    world.server = lambda step, request: UNKNOWN
    world.until_due()
    first = world.now.mono
    assert world.condition() == (State.ENROLLED, "enrolled")
    error = world.engine.condition(world.now).last_error
    assert error is not None
    assert error.reason is reasons.CLIENT_UNKNOWN
    while world.condition()[0] is State.ENROLLED:
        assert world.now.mono - first < DAY + 2 * HOUR
        world.until_due()
    assert world.now.mono - first >= DAY
    assert world.condition() == (State.REFUSED, "forgotten")
    assert {"confirm", "report"} == set(steps(world))
    assert len({form for step, form, _ in world.asked if step is Step.REPORT}) == 1
    assert world.enrolments() == 0
    let_pass(world, 30 * DAY)
    assert world.condition() == (State.REFUSED, "forgotten")
    world.server = accepting
    world.until_due()
    assert world.condition() == (State.ENROLLED, "enrolled")
    assert world.engine.condition(world.now).last_error is None


def test_refused_survives_network_trouble_and_a_restart() -> None:
    """Neither a failing network nor a restart makes a refused device look enrolled."""
    world = enrolled()
    world.server = lambda step, request: UNKNOWN
    let_pass(world, 3 * DAY)
    since = world.engine.condition(world.now).since
    world.server = lambda step, request: TransportFailure(reasons.DNS_FAILED, "", sent=False)
    let_pass(world, DAY)
    assert world.condition() == (State.REFUSED, "forgotten")
    assert "no such client" in world.engine.condition(world.now).detail
    world.restart_with_memory()
    assert world.condition() == (State.REFUSED, "forgotten")
    assert world.engine.condition(world.now).since == since
    world.server = accepting
    world.until_due()
    assert world.condition()[0] is State.ENROLLED


def test_the_day_of_doubt_goes_on_over_a_restart() -> None:
    """Half a day before a restart and half a day after it make one."""
    world = enrolled()
    world.server = lambda step, request: UNKNOWN
    world.until_due()
    let_pass(world, 0.6 * DAY)
    assert world.condition()[0] is State.ENROLLED
    world.restart_with_memory(m.Now(7.0, world.now.wall + 100 * DAY))  # a wall clock that jumps is not time that passed
    world.until_due()
    assert world.condition()[0] is State.ENROLLED
    let_pass(world, 0.3 * DAY)
    assert world.condition()[0] is State.ENROLLED
    let_pass(world, 0.2 * DAY)
    assert world.condition() == (State.REFUSED, "forgotten")


_REQUEST = Request("GET", "/", Auth.NONE, {})  # nobody reads it
SAID: list[tuple[str, Callable[[Step], Answer], str | None]] = [
    ("403", lambda step: answer(403, b'{"error": "revoked"}'), "revoked"),
    ("401", lambda step: answer(401, b'{"error": "signature"}'), "revoked"),
    ("400 that says so", lambda step: answer(400, b'{"Error": "Client not found"}'), "forgotten"),
    ("401 that says so", lambda step: answer(401, b'{"error": "unknown client"}'), "revoked"),
    ("410", lambda step: answer(410, b'{"message": "the client client-1a-2b does not exist"}'), "forgotten"),
    ("404 of a gateway", lambda step: answer(404, b'{"message": "no Route matched with those values"}'), None),
    ("404 of a framework", lambda step: answer(404, b'{"status": 404, "error": "Not Found", "path": "/"}'), None),
    ("404 of nothing to do", lambda step: answer(404, b'{"error": "No desired state for this client yet"}'), None),
    ("404 about more", lambda step: answer(404, b'{"error": "client revoked: not found in the list"}'), None),
    ("401 by a wrong clock", lambda step: answer(401, b"{}", date="Fri, 21 Nov 2025 10:00:00 GMT"), None),
    ("404 of a page", lambda step: answer(404, b"<html><title>Not Found</title>"), None),
    ("404 of nobody", lambda step: answer(404), None),
    ("503", lambda step: answer(503), None),
    ("200 of a portal", lambda step: answer(200, b"<html>") if step is Step.CONFIRM else answer(503), None),
    ("one route only", lambda step: UNKNOWN if step is Step.REPORT else accepting(step, _REQUEST), None),
    ("known, but wrong", lambda step: answer(422, b"{}") if step is Step.REPORT else UNKNOWN, None),
]


@pytest.mark.parametrize(
    ("said", "reason"), [(said, reason) for _, said, reason in SAID], ids=[name for name, _, _ in SAID]
)
def test_what_counts(said: Callable[[Step], Answer], reason: str | None) -> None:
    """Only clear words on two routes make a device refused, and the reason tells forgotten from revoked."""
    world = enrolled()
    world.server = lambda step, request: said(step)
    let_pass(world, 5 * DAY)
    assert world.condition() == ((State.ENROLLED, "enrolled") if reason is None else (State.REFUSED, reason))
    assert world.enrolments() == 0


def test_silence_is_no_refusal() -> None:
    """Two words in a minute and then a cut line: neither the day that passes nor the first word after it decides."""
    world = enrolled()
    world.server = lambda step, request: UNKNOWN
    world.until_due()
    world.until_due()
    assert set(steps(world)) == {"confirm", "report"}
    world.server = lambda step, request: TransportFailure(reasons.CONNECT_REFUSED, "", sent=False)
    let_pass(world, 3 * DAY)
    assert world.condition() == (State.ENROLLED, "enrolled")
    world.server = lambda step, request: UNKNOWN
    let_pass(world, 0.9 * DAY)
    assert world.condition() == (State.ENROLLED, "enrolled")
    let_pass(world, 0.2 * DAY)
    assert world.condition() == (State.REFUSED, "forgotten")


def test_a_forgotten_device_may_turn_out_revoked() -> None:
    """The reason follows what is said now, so that nothing is begun for a device that was merely unknown before."""
    world = enrolled()
    world.server = lambda step, request: UNKNOWN
    let_pass(world, 2 * DAY)
    assert world.condition() == (State.REFUSED, "forgotten")
    world.server = lambda step, request: answer(403, b"{}")
    world.until_due()
    assert world.condition() == (State.REFUSED, "revoked")


def test_another_enrolment_is_not_refused_for_the_old_one() -> None:
    """What was said about one certificate says nothing about another, from the first moment on."""
    world = enrolled()
    world.server = lambda step, request: UNKNOWN
    let_pass(world, 2 * DAY)
    world.certificate += 1
    world.capabilities = Capabilities(None, "Vendor", "Model", "SN-2")  # a report is to be made first
    world.tell(world.examined())
    assert world.condition()[0] is not State.REFUSED


def test_one_word_of_revocation_is_enough_against_forgotten() -> None:
    """Where any of the words was not "unknown client", the device was not merely forgotten."""
    world = enrolled()
    world.server = lambda step, request: UNKNOWN if step is Step.CONFIRM else answer(403, b"{}")
    let_pass(world, 3 * DAY)
    assert world.condition() == (State.REFUSED, "revoked")


def test_an_acceptance_ends_the_doubt() -> None:
    """A WFM that was restored in between begins with a clean slate."""
    world = enrolled()
    world.server = lambda step, request: UNKNOWN
    world.until_due()
    let_pass(world, 0.9 * DAY)
    world.server = accepting
    let_pass(world, 2 * HOUR)
    world.server = lambda step, request: UNKNOWN
    let_pass(world, 0.9 * DAY)
    assert world.condition()[0] is State.ENROLLED


def test_an_enrolment_of_another_place_is_tried_first() -> None:
    """A former id that the WFM knows is taken back without an enrolment request."""
    world = World(former=True)
    world.settle()
    assert steps(world) == ["confirm", "report"]
    assert "former-1" in world.asked[0][2].path
    assert world.condition()[0] is State.ENROLLED


@pytest.mark.parametrize("said", [UNKNOWN, answer(401), answer(403), answer(404), answer(400, b"{}")])
def test_a_former_id_that_is_refused_makes_room(said: Answer) -> None:
    """Where the WFM does not know the former id, the device is onboarded anew."""
    world = World(former=True, server=lambda step, request: said if step is Step.CONFIRM else accepting(step, request))
    world.settle()
    assert steps(world) == ["confirm", "enrol", "report"]


def test_a_former_id_waits_for_the_network() -> None:
    """While nobody answers, no second id is asked for."""
    world = World(former=True, server=lambda step, request: TransportFailure(reasons.TIMED_OUT, "", sent=True))
    world.settle()
    let_pass(world, 2 * DAY)
    assert set(steps(world)) == {"confirm"}
    assert world.condition() == (State.ONBOARDING, "timed-out")
    world.server = accepting
    world.until_due()
    assert steps(world)[-2:] == ["confirm", "report"]


def test_a_retry_after_holds_over_a_restart_of_an_enrolled_device() -> None:
    """A WFM that asks an enrolled device to wait is not asked sooner because the device was started anew."""
    said: list[Answer] = []
    world = World(
        server=lambda step, request: said.pop() if said and step is Step.CONFIRM else accepting(step, request),
        policy=Policy(upkeep={Step.CONFIRM: DAY}),
    )
    world.settle()
    said.append(answer(503, retry_after="7200"))
    world.until_due()
    asked = len(world.asked)
    assert world.condition()[0] is State.ENROLLED
    world.pass_time(60)
    world.restart_with_memory()
    assert world.condition()[0] is State.ENROLLED
    assert len(world.asked) == asked
    assert 7_100 <= world.until_due() <= 7_140 + SPREAD


def test_a_shorter_interval_counts_from_the_look_that_brings_it() -> None:
    """A device that rests for a week more and is to ask every hour from now on asks within that."""
    world = enrolled()
    world.engine.rules = Policy(upkeep={Step.CONFIRM: HOUR})
    world.tell(m.Reread())
    world.settle()
    assert steps(world) == []
    assert world.engine.condition(world.now).next_attempt_at is None
    assert world.until_due() <= HOUR
    assert steps(world) == ["confirm"]
    world.engine.rules = Policy()
    world.tell(m.Reread())
    world.settle()
    assert world.engine.due is None


@pytest.mark.parametrize("retry_after", [None, "7200"])
def test_a_retry_after_of_an_upkeep_that_is_refused_holds_for_the_next(retry_after: str | None) -> None:
    """A WFM without the route of the root CA says how long to wait: nothing is asked before, and nothing is wrong."""
    world = World(policy=Policy(upkeep={Step.REFRESH_TRUST: DAY, Step.CONFIRM: 2 * DAY}))
    world.settle()
    world.asked.clear()
    refusal = answer(404) if retry_after is None else answer(404, retry_after=retry_after)
    world.server = lambda step, request: refusal if step is Step.REFRESH_TRUST else accepting(step, request)
    world.pass_time(3 * DAY)  # both are overdue
    world.tell(m.Due())
    world.settle()
    if retry_after is None:
        assert steps(world) == ["refresh-trust", "confirm"]
        return
    assert steps(world) == ["refresh-trust"]
    condition = world.engine.condition(world.now)
    assert (condition.state, condition.last_error) == (State.ENROLLED, None)
    world.tell(m.Woken(m.Cause.OPERATOR))
    world.settle()
    assert 7_200.0 <= world.until_due() <= 7_200.0 + SPREAD
    assert steps(world) == ["refresh-trust", "confirm"]
    let_pass(world, 0.5 * DAY)
    assert steps(world) == ["refresh-trust", "confirm"], "and it rests, until a day has passed"
