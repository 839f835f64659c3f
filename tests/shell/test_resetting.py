"""An order to reset: who gave it is told what became of it, and the outbox is shut for a wipe and for no longer."""

from __future__ import annotations

import asyncio
from typing import Final, cast

import pytest
from structlog.testing import capture_logs

from margod.model.errors import MargodError, StateNotWritable
from margod.model.reasons import NOT_RESET, STATE_NOT_WRITABLE
from margod.shell import resetting
from margod.shell.disk import Disk
from margod.shell.ground import Ground
from margod.shell.resetting import Order, Resetting

WIPE: Final = Order(wipe=True)


class FakeGround:
    """As much of Ground as an order needs."""

    def __init__(self) -> None:
        self.full = False
        self.done: list[str] = []

    def wipe(self) -> None:
        """Clear it, unless the disk is full."""
        if self.full:
            raise StateNotWritable(STATE_NOT_WRITABLE)
        self.done.append("wiped")

    def reset(self, *, new_identity: bool) -> None:
        """Begin anew."""
        self.done.append("renewed" if new_identity else "reset")


class Lane:
    """A lane whose look is held up by a request under way, or by the WFM that is to unregister the device."""

    def __init__(self) -> None:
        self.ground = FakeGround()
        self.disk = Disk()
        self.answered = asyncio.Event()
        self.unregistering, self.unregistered = asyncio.Event(), asyncio.Event()
        self.shut: list[bool] = []
        self.resetting = Resetting(cast("Ground", self.ground), self.disk)
        self.resetting.let_go = self._let_go
        self.resetting.resume = lambda: self.shut.append(False)

    async def look(self) -> None:
        """Look, once the request under way is answered."""
        await self.answered.wait()
        await self.resetting.carry_out(self._unregister)

    async def ask(self, order: Order) -> str:
        """Order it."""
        return await self.resetting.ask(order, self._begin)

    def order(self, order: Order) -> asyncio.Task[str]:
        """Order it; return what comes of it."""
        return asyncio.ensure_future(self.ask(order))

    async def _begin(self) -> None:
        self.looking = asyncio.ensure_future(self.look())

    async def _let_go(self) -> None:
        self.shut.append(True)

    async def _unregister(self) -> None:
        self.unregistering.set()
        await self.unregistered.wait()


@pytest.fixture
async def lane() -> Lane:
    """A lane; its thread ends with the process."""
    return Lane()


async def test_not_begun(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """An order that waits for a request is withdrawn in time: it is not done, and may be repeated."""
    monkeypatch.setattr(resetting, "PATIENCE", 0.01)
    with pytest.raises(MargodError) as refused:
        await lane.ask(WIPE)
    assert (refused.value.reason, "under way" in refused.value.message) == (NOT_RESET, True)
    lane.answered.set()
    await lane.looking
    assert (lane.ground.done, lane.shut) == ([], [])


async def test_begun_and_not_done_in_time(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has begun goes on: nobody is told to repeat it, and the journal says what came of it."""
    monkeypatch.setattr(resetting, "PATIENCE", 0.05)
    lane.answered.set()
    with pytest.raises(MargodError) as refused:
        await lane.ask(Order(unregister=True))
    assert (refused.value.reason, "begun" in refused.value.message) == (NOT_RESET, True)
    assert "Repeat" not in str(refused.value.hint)
    with capture_logs() as logs:
        lane.unregistered.set()
        await lane.looking
    assert lane.ground.done == ["reset"]
    assert [line["event"] for line in logs] == ["reset"]


async def test_shut_until_the_wipe_is_done(lane: Lane) -> None:
    """Another order while one is being carried out is refused, and opens nothing: the outbox stays shut."""
    lane.answered.set()
    first = lane.order(Order(unregister=True, wipe=True))
    await lane.unregistering.wait()
    with pytest.raises(MargodError, match="Another reset"):
        await lane.ask(WIPE)
    assert lane.shut == [True]
    lane.unregistered.set()
    assert "Cleared" in await first
    assert (lane.ground.done, lane.shut) == (["wiped"], [True])


async def test_nobody_waits_for_it_any_more(lane: Lane) -> None:
    """Who ordered a wipe goes away: before it begins nothing is shut; after that it is opened if the wipe fails."""
    waits = lane.order(WIPE)
    await asyncio.sleep(0)
    waits.cancel()
    await asyncio.wait([waits])
    assert (waits.cancelled(), lane.shut) == (True, [])
    lane.answered.set()
    lane.ground.full = True
    waits = lane.order(Order(unregister=True, wipe=True))
    await lane.unregistering.wait()
    waits.cancel()
    await asyncio.wait([waits])
    assert lane.shut == [True]
    with capture_logs() as logs:
        lane.unregistered.set()
        await lane.looking
    assert (lane.ground.done, lane.shut) == ([], [True, False])
    assert [line["event"] for line in logs] == ["reset-failed"]


async def test_an_outbox_that_does_not_let_go(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hangs with the outbox's file holds up no look without end: nothing is wiped, and that is said."""
    monkeypatch.setattr(resetting, "RELEASE", 0.01)

    async def hangs() -> None:
        await asyncio.Event().wait()

    lane.resetting.let_go = hangs
    lane.answered.set()
    with pytest.raises(MargodError, match="outbox"):
        await lane.ask(WIPE)
    assert (lane.ground.done, lane.shut) == ([], [False])
    await lane.looking
