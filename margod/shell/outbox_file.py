"""The outbox's file and its thread: a disk that is slow with reports keeps the identity's writes from nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from margod.deployments.items import Tally, is_there
from margod.model import reasons
from margod.model.errors import MargodError, OutboxDamaged, OutboxUnusable
from margod.shell.disk import Disk
from margod.shell.ground import Ground

if TYPE_CHECKING:
    from margod.deployments.outbox import Outbox

log: Final = structlog.get_logger()
T = TypeVar("T")

CLOSE: Final = 0.3
"""Seconds that the disk is given at a stop."""


class OutboxFile:
    """The outbox of a ground's state directory, opened when it is needed first; so is the thread it is used in."""

    def __init__(self, ground: Ground) -> None:
        """Nothing is opened yet."""
        self.tally = Tally()
        """What was held after the last call."""
        self.is_counted = False
        """Whether that is known."""
        self.fault: MargodError | None = None
        """Why it could not be used the last time."""
        self.saved: int | None = None
        """How many reports were saved when it was damaged."""
        self._ground = ground
        self._thread: Disk | None = None
        self._outbox: Outbox | None = None
        self._let_go = False

    def is_there(self) -> bool:
        """Return whether there is one from earlier. May wait for the disk."""
        found = is_there(self._ground.directory)
        self.is_counted = not found
        return found

    async def run(self, call: Callable[[Outbox], T]) -> T:
        """Return what `call` makes of the outbox, in its thread. Raises what Outbox raises."""
        self._thread = self._thread or Disk()

        def work() -> tuple[T, Tally]:
            try:
                outbox = self._opened()
                return call(outbox), outbox.tally()
            except OutboxDamaged:
                self._close()
            outbox = self._opened()  # begun anew, with what could be read
            return call(outbox), outbox.tally()

        try:
            result, self.tally = await self._thread.run(work)
        except OutboxUnusable as error:
            self.fault = error
            raise
        except OutboxDamaged as error:
            self.fault = OutboxUnusable(reasons.OUTBOX_UNUSABLE, error.message)
            raise self.fault from error
        self.is_counted, self.fault = True, None
        return result

    async def let_go(self) -> None:
        """Close it, and open it no more: the state directory is about to be cleared."""
        self._let_go = True
        if self._thread is not None:
            await self._thread.run(self._close)

    def resume(self) -> None:
        """It was not cleared."""
        self._let_go = False

    async def end(self) -> None:
        """Close it and end the thread, as far as the disk lets go in time."""
        if self._thread is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE):
                    await self._thread.run(self._close)
            self._thread.close(0.1)

    def _opened(self) -> Outbox:
        vault = self._ground.vault
        if self._let_go or vault is None or vault.wiped:
            self._close()
            raise OutboxUnusable(reasons.OUTBOX_UNUSABLE, "The state directory cannot be used now.")
        if self._outbox is None:
            from margod.deployments.salvage import open_outbox  # only now: it loads SQLite

            self._outbox, saved = open_outbox(self._ground.directory)
            if saved is not None:
                self.saved, says = saved, reasons.OUTBOX_DAMAGED
                log.warning("outbox-damaged", code=says.code, saved=saved, message=says.says, hint=says.hint)
        return self._outbox

    def _close(self) -> None:
        outbox, self._outbox = self._outbox, None
        if outbox is not None:
            with suppress(MargodError):
                outbox.close()
