"""Somebody else in the WFM's place: interception for a day after earlier success, then lost trust; never a request."""

from __future__ import annotations

from dataclasses import replace

import pytest

from margod.engine import messages as m
from margod.engine.interception import LASTS, Interception
from margod.engine.policy import SPREAD, Policy
from margod.model import reasons
from margod.model.outcome import Kind, Outcome, Step
from margod.model.reasons import Reason
from margod.model.state import Connection, State
from margod.model.wire import Answer, Request, TransportFailure
from tests.engine.world import World, accepting, answer

HOUR, DAY = 3_600.0, 86_400.0
ELSE = TransportFailure(reasons.TLS_UNKNOWN_ISSUER, "self-signed certificate", sent=False)


def stranger(step: Step, request: Request) -> Answer | TransportFailure:
    """Nobody we know."""
    return ELSE


def waiting(step: Step, request: Request) -> Answer | TransportFailure:
    """A WFM whose person has not approved."""
    return answer(202)


def connection(world: World) -> Connection:
    """What the last exchange was like."""
    return world.engine.condition(world.now).connection


def until(world: World, seconds: float) -> None:
    """Make every attempt for so long."""
    end = world.now.mono + seconds
    while world.engine.due is not None and world.engine.due <= end:
        world.until_due()
    world.pass_time(end - world.now.mono)


def test_before_any_success_it_is_untrusted_at_once() -> None:
    """A wrong root CA in the configuration is not blamed on the network."""
    world = World(server=stranger)
    world.settle()
    assert (world.condition(), connection(world)) == (
        (State.UNTRUSTED, "tls-unknown-issuer"),
        Connection.UNTRUSTED,
    )


def test_a_pending_device_stays_pending_for_a_day() -> None:
    """What the WFM has said stands while somebody else answers; after a day the trust counts as lost."""
    world = World(server=waiting)
    world.settle()
    world.server = stranger
    world.until_due()
    assert (world.condition(), connection(world)) == (
        (State.PENDING_APPROVAL, "pending-approval"),
        Connection.INTERCEPTED,
    )
    error = world.engine.condition(world.now).last_error
    assert error is not None
    assert error.reason is reasons.INTERCEPTED
    until(world, 23 * HOUR)
    assert world.condition()[0] is State.PENDING_APPROVAL
    until(world, 3 * HOUR)
    assert (world.condition(), connection(world)) == (
        (State.UNTRUSTED, "tls-unknown-issuer"),
        Connection.UNTRUSTED,
    )
    world.server = waiting
    world.until_due()
    assert (world.condition()[0], connection(world)) == (State.PENDING_APPROVAL, Connection.ONLINE)
    world.server = stranger
    world.until_due()
    assert connection(world) is Connection.INTERCEPTED, "a day of its own"


def test_the_day_goes_on_over_a_restart() -> None:
    """Restarting is no way to be intercepted for ever; time in which no margod ran does not count."""
    world = World(server=waiting)
    world.settle()
    world.server = stranger
    world.until_due()
    until(world, 20 * HOUR)
    memory = world.engine.memory(world.now)
    assert memory is not None
    world.pass_time(30 * DAY)
    world.start()
    world.queue.clear()
    found = world.examined()
    world.tell(replace(found, history=replace(found.history, memory=replace(memory, at=world.now.wall))))
    world.settle()
    until(world, HOUR)
    assert world.condition()[0] is State.PENDING_APPROVAL
    until(world, 5 * HOUR)
    assert world.condition()[0] is State.UNTRUSTED


def test_an_enrolled_device_stays_enrolled() -> None:
    """Only the connection says it: intercepted, after a day untrusted, online again."""
    world = World(policy=Policy(upkeep={Step.REFRESH_TRUST: DAY}))
    world.settle()
    world.server = stranger
    world.until_due()
    assert (world.condition()[0], connection(world)) == (State.ENROLLED, Connection.INTERCEPTED)
    until(world, 26 * HOUR)
    assert (world.condition()[0], connection(world)) == (State.ENROLLED, Connection.UNTRUSTED)
    world.server = accepting
    until(world, 2 * HOUR)
    assert (world.condition()[0], connection(world)) == (State.ENROLLED, Connection.ONLINE)


def test_an_enrolled_device_without_a_memory_was_let_in_once() -> None:
    """A power cut that takes runtime.json does not make an interception of the same trust look like a wrong one."""
    world = World(policy=Policy(upkeep={Step.REFRESH_TRUST: DAY}))
    world.settle()
    world.start()
    world.settle()
    world.server = stranger
    world.until_due()
    assert connection(world) is Connection.INTERCEPTED


def test_another_trust_has_proven_nothing() -> None:
    """After a change of the root CA in the configuration a failure is that change's fault, at once."""
    world = World(server=waiting)
    world.settle()
    world.server = stranger
    found = world.examined()
    world.tell(replace(found, facts=replace(found.facts, trust="another")))
    world.settle()
    assert world.condition() == (State.UNTRUSTED, "tls-unknown-issuer")


@pytest.mark.parametrize("reason", [reasons.TLS_EXPIRED, reasons.TLS_WRONG_HOST, reasons.TLS_NOT_YET_VALID])
def test_other_causes_keep_their_names(reason: Reason) -> None:
    """An expired certificate of the right root CA is nobody's interception."""
    known = Interception()
    known.judge(Step.REPORT, Outcome(Kind.ACCEPTED, reasons.ENROLLED), "t", 0.0)
    failed = Outcome(Kind.UNTRUSTED, reason, sent=False)
    assert known.judge(Step.REPORT, failed, "t", 1.0) == failed


def test_a_download_from_anybody_proves_nothing() -> None:
    """Who answered while nobody was verified is no earlier success."""
    known = Interception()
    known.judge(Step.FETCH_TRUST, Outcome(Kind.ACCEPTED, reasons.ENROLLED), "t", 0.0)
    failed = Outcome(Kind.UNTRUSTED, reasons.TLS_UNKNOWN_ISSUER, sent=False)
    assert known.judge(Step.ENROL, failed, "t", 1.0).kind is Kind.UNTRUSTED
    known.judge(Step.ENROL, Outcome(Kind.PENDING, reasons.PENDING_APPROVAL), "t", 2.0)
    assert known.judge(Step.ENROL, failed, "t", 3.0).kind is Kind.INTERCEPTED
    assert known.judge(Step.ENROL, failed, "t", 3.0 + LASTS).kind is Kind.UNTRUSTED


def test_what_was_offered_first_is_asked_for_again_at_once() -> None:
    """A restart forgets the root that a person may accept; the next process asks without waiting."""
    memory = m.Memory(
        at=1_000_000.0,
        key="k",
        state=State.UNTRUSTED,
        reason=reasons.FIRST_USE_ASKED,
        detail="",
        since=1_000_000.0,
        attempt=9,
        streak=8,
        next_at=1_003_600.0,
    )
    from random import Random

    from margod.engine.resume import resume

    now = m.Now(5.0, 1_000_001.0)
    assert resume(memory, now, Random(1)).due == 5.0
    due = resume(replace(memory, floor_at=1_000_061.0), now, Random(1)).due
    assert 65.0 <= due <= 65.0 + SPREAD, "but never below a Retry-After"


def test_what_was_never_sent_proves_nobody() -> None:
    """A request that was not made (no bearer token for it) is no evidence that the WFM was there, nor ends a search."""
    unsent = Outcome(Kind.FORBIDDEN, reasons.CLIENT_SECRET_REFUSED, sent=False)
    unknown = Outcome(Kind.UNTRUSTED, reasons.TLS_UNKNOWN_ISSUER, sent=False)
    judged = Interception()
    judged.judge(Step.REPORT, unsent, "trust", 0.0)
    assert judged.trail(0.0).proven == ""
    judged.judge(Step.REPORT, replace(unsent, sent=True), "trust", 0.0)
    assert judged.judge(Step.REPORT, unknown, "trust", 10.0).kind is Kind.INTERCEPTED
    judged.judge(Step.REPORT, unsent, "trust", 20.0)
    assert judged.judge(Step.REPORT, unknown, "trust", 10.0 + LASTS).kind is Kind.UNTRUSTED
