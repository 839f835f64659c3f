"""`margod reset`: what a person orders is carried out at the next look, when no request is under way.

An answer that arrives for what was reset would be taken for the new enrolment's; so nothing is reset while one can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from margod.model import reasons
from margod.model.errors import MargodError
from margod.model.wire import Answer, TransportFailure
from margod.protocols import Generation
from margod.protocols.answers import error_text
from margod.shell.disk import Disk
from margod.shell.ground import Ground
from margod.shell.place import Names
from margod.shell.situation import Situation
from margod.wfm import WfmClient

log: Final = structlog.get_logger()

PATIENCE: Final = 20.0
"""Seconds that whoever asks is kept waiting; the local API answers within 30."""
UNREGISTER: Final = 10.0
"""Seconds that the WFM is given to unregister the device."""
RELEASE: Final = 5.0
"""Seconds that the outbox's disk is given to close its file before a wipe."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done: unregister at the WFM first, make a new key, or clear everything."""

    unregister: bool = False
    new_identity: bool = False
    wipe: bool = False


@dataclass(frozen=True, slots=True)
class Leaving:
    """What keeps that the device is on its way out, in the disk thread; `created`: the DELETE's time, Unix seconds."""

    begin: Callable[[], Awaitable[bool]]
    take_back: Callable[[], Awaitable[None]]
    created: int


class Resetting:
    """At most one order, from the moment it is given until it is done, refused or withdrawn."""

    def __init__(self, ground: Ground, disk: Disk) -> None:
        """Reset what `ground` stands on."""
        self.let_go: Callable[[], Awaitable[None]] = _nothing
        """Closes what else is open in the state directory, before a wipe begins."""
        self.resume: Callable[[], None] = lambda: None
        """Lets that go on, where a wipe was not done."""
        self._ground = ground
        self._disk = disk
        self._order: Order | None = None
        self._done: asyncio.Future[str] | None = None

    async def ask(self, order: Order, look: Callable[[], Awaitable[None]]) -> str:
        """Have it carried out by `look`; return what was done. Raises MargodError if it was not, or not in time.

        An order that has not begun by then is withdrawn, as it is where whoever asks is cancelled.
        """
        if self._done is not None:
            raise MargodError(reasons.NOT_RESET, "Another reset is under way.", hint="Wait for its end.")
        done = self._done = asyncio.get_running_loop().create_future()
        self._order = order
        try:
            async with asyncio.timeout(PATIENCE):
                await look()
                return await asyncio.shield(done)
        except TimeoutError:
            if self._order is not order:
                hint = "Do not repeat it before the journal says what came of it: `reset` or `reset-failed`."
                raise MargodError(reasons.NOT_RESET, "It has begun and is not done yet.", hint=hint) from None
            hint = "Repeat it in a minute."
            raise MargodError(reasons.NOT_RESET, "A request to the WFM is under way.", hint=hint) from None
        finally:
            if self._order is order:  # otherwise it has begun, and ends by itself
                self._order = self._done = None

    async def carry_out(self, unregister: Callable[[], Awaitable[None]]) -> None:
        """Do what was ordered, if anything was. Raises nothing but CancelledError: who ordered it is told."""
        order, done, self._order = self._order, self._done, None
        if order is None or done is None:
            return
        try:
            if order.wipe:
                await self._release()
            if order.unregister:
                await unregister()
            result: str | Exception = await self._disk.run(lambda: self._reset(order))
        except asyncio.CancelledError:
            done.cancel()
            raise
        except Exception as error:  # who asked is told
            result = error
            if order.wipe:
                self.resume()
        finally:
            self._done = None
        if isinstance(result, str):
            log.warning("reset", unregistered=order.unregister, new_identity=order.new_identity, wiped=order.wipe)
        else:
            log.warning("reset-failed", message=getattr(result, "message", type(result).__name__))
        if done.done():
            return
        if isinstance(result, str):
            done.set_result(result)
        else:
            done.set_exception(result)
            done.exception()  # it may be that nobody waits any more

    async def _release(self) -> None:
        """Have the outbox closed. Raises MargodError if that takes too long: nothing else waits for its disk."""
        try:
            async with asyncio.timeout(RELEASE):
                await self.let_go()
        except TimeoutError:
            hint = "Repeat it in a minute."
            raise MargodError(reasons.NOT_RESET, "The disk does not let go of the outbox.", hint=hint) from None

    def _reset(self, order: Order) -> str:
        if order.wipe:
            self._ground.wipe()
            return "Cleared. margod makes nothing new until it is started again."
        self._ground.reset(new_identity=order.new_identity)
        what = "a new key and certificate" if order.new_identity else "the same key"
        return f"Reset: this device onboards anew with {what}. The former enrolment is archived."


async def unregister(
    situation: Situation | None,
    generation: Generation,
    client: Callable[[Situation], WfmClient],
    names: Names,
    leaving: Leaving,
) -> None:
    """Send the one DELETE that margod ever sends for the device. Raises MargodError unless the WFM confirms it.

    Before anything is sent, `leaving` makes durable that it may have
    been: an answer that is lost must not leave a device that believes itself enrolled and registers itself again.
    """
    if situation is None or situation.client_id is None:
        hint = "Run `margod reset` without --unregister."
        raise MargodError(reasons.NOT_RESET, "This device is not enrolled: there is nothing to unregister.", hint=hint)
    place, identity, context = situation.place, situation.identity, situation.context
    if place is None or identity is None or context is None:
        raise MargodError(reasons.NOT_UNREGISTERED)
    asking = generation.unregistering(context, situation.client_id)
    if asking is None:
        hint = "Remove this device in the WFM, and run `margod reset` without --unregister."
        message = f"A WFM of the generation `{generation.name}` cannot be asked to remove a device; nothing was reset."
        raise MargodError(reasons.NOT_UNREGISTERED, message, hint=hint)
    tried: list[Answer | TransportFailure] = []
    new = await leaving.begin()
    try:
        async with asyncio.timeout(UNREGISTER):
            for url in names.urls(place):
                signed = generation.authenticate(asking.request, url, identity.signer, leaving.created)
                tried.append(await client(situation).send(signed))
                if not names.wrong(url, tried[-1]):
                    break
    except TimeoutError:
        raise MargodError(reasons.NOT_UNREGISTERED, "The WFM did not answer in time.") from None
    except MargodError as error:
        said = error.message
    else:
        result = tried[-1] if tried else None
        if isinstance(result, Answer) and asking.is_done(result):
            log.info("unregistered", client_id=situation.client_id, device_id=asking.device_id, status=result.status)
            return
        known = f"HTTP {result.status}: {error_text(result)}" if isinstance(result, Answer) else _failure(result)
        said = f"{reasons.NOT_UNREGISTERED.says} {known}"
    if new and all(map(_untouched, tried)):
        await leaving.take_back()
    raise MargodError(reasons.NOT_UNREGISTERED, said)


async def _nothing() -> None:
    """Nothing else is open."""


def _untouched(result: Answer | TransportFailure) -> bool:
    """Return whether the WFM has certainly not removed the device.

    A 202 says that it will, and a 5xx may be a proxy's, about a WFM that has.
    """
    return 300 <= result.status < 500 if isinstance(result, Answer) else not result.sent


def _failure(result: TransportFailure | None) -> str:
    return "" if result is None else f"{result.reason.says} {result.detail}".strip()
