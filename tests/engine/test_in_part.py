"""A report of which a part was accepted: that is durable first, then what came of the rest is waited for."""

from __future__ import annotations

from dataclasses import replace

from margod.engine import messages as m
from margod.engine.policy import Policy
from margod.model import reasons
from margod.model.outcome import Kind, Outcome, Step
from margod.model.state import State
from tests.engine.world import World, accepting

PART = {"report.json": b'{"digest":"of a part","form":"device"}'}
REFUSED = Outcome(Kind.INVALID, reasons.CHILD_REFUSED, "gw/a: HTTP 422: no", records=PART)


def at_the_report(policy: Policy | None = None) -> World:
    """Return a world whose report is on its way."""
    world = World(accepting, policy=policy or Policy())
    for _ in range(20):
        if any(isinstance(each, m.Send) and each.step is Step.REPORT for each in world.queue):
            break
        event = world.perform(world.queue.pop(0))
        if event is not None:
            world.tell(event)
    world.queue.clear()
    return world


def test_the_part_is_kept_before_the_rest_is_waited_for() -> None:
    """Keep comes first; once it is durable the device is enrolled, with the refusal as its last error."""
    world = at_the_report()
    commands = world.engine.handle(m.Done(Step.REPORT, REFUSED), world.now)
    assert commands == [m.Keep(Step.REPORT, PART)]
    world.engine.handle(m.Kept(), world.now)
    condition = world.engine.condition(world.now)
    assert condition.state is State.ENROLLED
    assert condition.last_error is not None
    assert (condition.last_error.reason, condition.last_error.detail) == (reasons.CHILD_REFUSED, REFUSED.detail)
    assert world.engine.due is not None
    assert world.engine.due > world.now.mono + 3_600.0


def test_a_disk_that_refuses_loses_neither() -> None:
    """The part is written again later, and the wait of the refusal follows it."""
    world = at_the_report()
    world.engine.handle(m.Done(Step.REPORT, REFUSED), world.now)
    world.engine.handle(m.KeepFailed("full"), world.now)
    assert world.condition() == (State.ONBOARDED, "state-not-writable")
    assert world.engine.due is not None
    world.pass_time(world.engine.due - world.now.mono)
    assert world.engine.handle(m.Due(), world.now) == [m.Keep(Step.REPORT, PART)]
    world.engine.handle(m.Kept(), world.now)
    assert world.condition()[0] is State.ENROLLED


def test_a_retry_after_in_the_midst_is_obeyed() -> None:
    """Where the WFM became busy after a part, what it says of the time holds for the rest."""
    world = at_the_report()
    busy = Outcome(Kind.BUSY, reasons.WFM_BUSY, "HTTP 503", records=PART, retry_after=900.0)
    world.engine.handle(m.Done(Step.REPORT, busy), world.now)
    world.engine.handle(m.Kept(), world.now)
    assert world.engine.due is not None
    assert world.engine.due >= world.now.mono + 900.0


def test_what_is_refused_for_days_does_not_keep_the_upkeep_from_its_turn() -> None:
    """The root CA is asked for again although a report is refused all the time."""
    world = at_the_report(Policy(upkeep={Step.REFRESH_TRUST: 86_400.0}))
    world.engine.handle(m.Done(Step.REPORT, REFUSED), world.now)
    world.engine.handle(m.Kept(), world.now)
    asked = []
    for _ in range(12):
        assert world.engine.due is not None
        world.pass_time(world.engine.due - world.now.mono)
        for command in world.engine.handle(m.Due(), world.now):
            if isinstance(command, m.Send):
                asked.append(command.step)
                outcome = replace(REFUSED, records={})
                if command.step is not Step.REPORT:
                    outcome = Outcome(Kind.WRONG_ADDRESS, reasons.CA_NOT_OFFERED)
                for further in world.engine.handle(m.Done(command.step, outcome), world.now):
                    if isinstance(further, m.Send):
                        asked.append(further.step)
                        world.engine.handle(m.Done(further.step, replace(REFUSED, records={})), world.now)
    assert Step.REFRESH_TRUST in asked
    assert asked.count(Step.REPORT) > asked.count(Step.REFRESH_TRUST)
