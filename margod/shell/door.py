"""The door: requests of other programs on the device go to the WFM in the device's name, by rules.

Each user has one request under way at a time; those of different users go side by side, each over a connection of its
own, a few of them overall. Which requests go through is decided in model/door.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import structlog

from margod.engine.audit import Audit
from margod.model import reasons
from margod.model.door import ANSWER_LIMIT, Asked, DoorClosed, DoorError, Opened, Rule, inwards, judge, named
from margod.model.outcome import Kind, Step
from margod.model.reasons import Side
from margod.model.text import clean
from margod.model.wire import Answer, Sink, TransportFailure
from margod.protocols import Context
from margod.shell.courier import Courier
from margod.shell.ground import Ground
from margod.shell.users import Users
from margod.shell.work import Work

TOGETHER: Final = 4
"""Requests that are under way at a time: a connection of some 100 KiB each."""
WAITING: Final = 8
"""Requests of one user that may wait for that user's turn."""
PATIENCE: Final = 20.0
"""Seconds that a request waits for one of the connections."""
LONGEST: Final = 600.0
"""Seconds for a whole answer; between two pieces of it wfm.timeout counts."""

_ANOTHER: Final = "The enrolment that this was asked under is not in force any more; nothing was sent."

log: Final = structlog.get_logger()

_Key: TypeAlias = tuple[str, int, str, str]
"""The event, the user, the method, and the route or the rule that refused it."""


@dataclass(slots=True)
class _Queue:
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    held: int = 0


class Door:
    """What `ANY /v1/wfm/{path}` of the agent socket leads to."""

    def __init__(self, ground: Ground, work: Work) -> None:
        """Forward by the configuration of `ground`, with couriers of `work`."""
        self._ground, self._work = ground, work
        self._users = Users()
        self._audit: Audit[_Key] = Audit()
        self._queues: dict[int, _Queue] = {}
        self._room = asyncio.Semaphore(TOGETHER)
        self._all = [work.courier("door")]
        self._free = [*self._all]
        self._closed = False

    async def forward(self, asked: Asked, body: Callable[[], Awaitable[bytes]], into: Sink) -> Answer:
        """Return the WFM's answer; a success has gone `into` the sink. `body` is read once it is this caller's turn.

        It is read before one of the few connections is taken, so that who sends it in drops keeps none from others.
        Raises DoorError where there is no answer, and what `body` raises.
        """
        binding = self._all[0].binding
        opened, headers = await self._opened(asked)
        async with self._turn(asked.uid):
            return await self._passed(asked, opened, headers, await body(), into, binding=binding)

    async def _passed(
        self, asked: Asked, opened: Opened, headers: dict[str, str], body: bytes, into: Sink, *, binding: str
    ) -> Answer:
        """Send what was opened, under the enrolment that it was opened for. Raises DoorError if that is another now."""
        async with self._courier() as courier:
            if courier.binding != binding:
                raise DoorError(reasons.NOT_ENROLLED, _ANOTHER, status=503, retry_after=1.0, hint="Ask again.")
            context = self._context(courier)
            generation = self._ground.generation
            request = generation.forwarded(asked.method, opened.path, headers, body, ANSWER_LIMIT)
            result = await courier.call(request, seconds=LONGEST, into=into)
            outcome = generation.outcome(Step.CONFIRM, "spec", context, result)
            if outcome.kind is Kind.UNKNOWN and opened.route in generation.readable:  # others may speak of other things
                await self._work.heard(courier, binding, outcome, 0.0)
        if isinstance(result, TransportFailure):
            raise _unanswered(result, self._silent_for())
        return result

    async def close(self) -> None:
        """End what is under way, close every connection, and let nothing that waits begin; write out the counts."""
        self._closed = True
        for (event, uid, method, what), count in self._audit.rest():
            log.info(
                event, uid=uid, method=method, **{"why" if event == "door-refused" else "route": what}, count=count
            )
        self._users.close()
        await asyncio.gather(*(courier.close() for courier in self._all))

    async def _opened(self, asked: Asked) -> tuple[Opened, dict[str, str]]:
        """Return what goes to the WFM, and put it into the journal; or put there that it does not, and raise."""
        try:
            opened = judge(asked, self._client_id(), self._rules(), await self._uids(asked.method), self._why())
            headers = inwards(asked.headers)
        except DoorClosed as error:
            self._note("door-refused", asked, clean(asked.path), why=error.message)
            raise
        if self._silent_for() is None:
            self._note("door", asked, opened.route)
        else:  # the courier will not send it
            self._note("door-refused", asked, opened.route, why=reasons.DOWNTIME.says)
        return opened, headers

    def _note(self, event: str, asked: Asked, route: str, **more: str) -> None:
        method = clean(asked.method, 16)
        key = (
            event,
            asked.uid,
            method,
            more.get("why", route),
        )  # refused paths may differ without end, the rules do not
        if count := self._audit.count(key, time.monotonic()):
            who = {"uid": asked.uid, "gid": asked.gid, "pid": asked.pid}
            others = {"others": left_out} if (left_out := self._audit.take_left_out()) else {}
            log.info(event, method=method, route=route, count=count, **who, **others, **more)

    def _silent_for(self) -> float | None:
        keeper = self._ground.keeper
        until = keeper.downtime.look().until
        return None if until is None else max(1.0, until - keeper.wall())

    def _rules(self) -> list[Rule]:
        own = [Rule("GET", route) for route in self._ground.generation.readable]
        return [*own, *(self._ground.config.door.allow or ())]

    def _why(self) -> str:
        generation = self._ground.generation
        if generation.readable:
            return ""
        return f"Without one nothing is open in the generation `{generation.name}`: what there is to read holds tokens."

    async def _uids(self, method: str) -> dict[str, int]:
        names = named(rule for rule in self._rules() if rule.method == method)
        return await self._users.numbers(names) if names else {}

    def _client_id(self) -> str:
        client_id = self._ground.generation.client_id(self._context(self._all[0]).records)
        assert client_id is not None, "a courier has a context only once there is one"
        return client_id

    def _context(self, courier: Courier) -> Context:
        if (context := courier.context) is None:
            raise DoorError(reasons.NOT_ENROLLED, status=503)
        return context

    @asynccontextmanager
    async def _turn(self, uid: int) -> AsyncIterator[None]:
        """Wait for the turn of this user's requests. Raises DoorError where too many wait already."""
        queue = self._queues.setdefault(uid, _Queue())
        if queue.held > WAITING:
            raise DoorError(reasons.DOOR_BUSY, status=429, retry_after=1.0)
        queue.held += 1
        try:
            async with queue.turn:
                yield
        finally:
            queue.held -= 1
            if not queue.held:
                self._queues.pop(uid, None)

    @asynccontextmanager
    async def _courier(self) -> AsyncIterator[Courier]:
        """Lend a courier, the one that was used last if it is free: its connection may still be open."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._room.acquire()
        except TimeoutError:
            message = "Other users' requests to the WFM take all the room there is."
            raise DoorError(reasons.DOOR_BUSY, message, status=503, retry_after=PATIENCE, hint="Ask again.") from None
        try:
            if self._closed:
                raise DoorError(
                    reasons.DOOR_BUSY, "margod is stopping.", status=503, retry_after=1.0, hint="Ask again."
                )
            if not self._free:
                self._free.append(self._work.courier("door"))
                self._all += self._free
            courier = self._free.pop()
            try:
                yield courier
            finally:
                self._free.append(courier)
        finally:
            self._room.release()


def _unanswered(failure: TransportFailure, silent_for: float | None) -> DoorError:
    """Return what a failure is for the program that asked: 503 where nothing may be sent, else 504 or 502."""
    reason = failure.reason
    status = 504 if reason is reasons.TIMED_OUT else 502
    if not failure.sent and reason.side in (Side.DEVICE, Side.NONE):
        status = 503
    message = f"{reason.says} ({failure.detail})" if failure.detail else reason.says
    retry_after = silent_for if reason is reasons.DOWNTIME else None
    return DoorError(reason, message, status=status, retry_after=retry_after)
