"""What the lanes beside the enrolment are told of a downtime, and how a fleet of them comes out of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from margod.engine.enrolment import Enrolment
from margod.engine.messages import Cause, Now
from margod.engine.policy import SPREAD, Policy
from margod.model.state import Condition
from margod.shell.work import Work


class Told:
    """A lane that notes what it is told."""

    name = "told"

    def __init__(self) -> None:
        self.silent: list[bool] = []
        self.woken: list[Cause] = []

    def consider(self, _: object, condition: Condition) -> None:
        self.silent.append(condition.downtime is not None)

    def wake(self, cause: Cause) -> None:
        self.woken.append(cause)

    def slept(self, seconds: float) -> None:
        raise AssertionError(seconds)

    def document(self) -> dict[str, object]:
        return {}

    async def close(self) -> None:
        return


def work(told: Told, monkeypatch: pytest.MonkeyPatch, spread: float) -> tuple[Work, Condition, SimpleNamespace]:
    """Return lanes whose moment behind a downtime is after so many seconds."""
    monkeypatch.setattr("margod.shell.work.random.Random.uniform", lambda *_: spread)
    condition = Enrolment(Policy(), cast("Any", None), Now(0.0, time.time())).condition(Now(0.0, 0.0))
    keeper = SimpleNamespace(wall=time.time)
    lane = SimpleNamespace(
        ground=SimpleNamespace(keeper=keeper), actions=SimpleNamespace(situation=None), condition=condition
    )
    made = Work(cast("Any", lane), cast("Any", None), lambda: None)
    made.sidelines.append(told)
    return made, condition, lane


async def test_they_go_on_at_a_moment_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the end they rest on until the moment that was drawn, and are told by themselves."""
    told = Told()
    lanes, condition, _ = work(told, monkeypatch, 0.05)
    lanes.consider(None, condition)
    lanes.consider(None, replace(condition, downtime=time.time() + 60.0))
    lanes.consider(None, condition)
    assert told.silent == [False, True, True]
    async with asyncio.timeout(20.0):
        while told.silent[-1]:
            await asyncio.sleep(0.01)
    lanes.consider(None, condition)
    assert told.silent[-1] is False
    await lanes.close()


async def test_a_person_does_not_wait_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who ends a downtime by hand, or asks for an attempt behind one, has them go on at once."""
    told = Told()
    lanes, condition, _ = work(told, monkeypatch, SPREAD)
    lanes.consider(None, replace(condition, downtime=time.time() + 60.0))
    lanes.consider(None, condition)
    lanes.wake(Cause.NETWORK)
    assert told.silent == [True, True]
    lanes.wake(Cause.OPERATOR)
    assert told.silent == [True, True, False]
    assert told.woken == [Cause.NETWORK, Cause.OPERATOR]
    await lanes.close()


async def test_one_that_begins_again_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A downtime that begins in that time is one, whatever was drawn."""
    told = Told()
    lanes, condition, lane = work(told, monkeypatch, 0.02)
    silent = replace(condition, downtime=time.time() + 60.0)
    lanes.consider(None, silent)
    lanes.consider(None, condition)
    lane.condition = silent
    lanes.consider(None, silent)
    await asyncio.sleep(0.1)  # the moment that was drawn passes, and nothing is to come of it
    assert all(told.silent)
    await lanes.close()
