"""The lane that carries deployments' reports to the WFM: the outbox in a thread of its own, and the machine's hands.

SQLite and the machine are loaded, and the thread begun, when the first report comes or when there is an outbox already.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, assert_never

import structlog

from margod.deployments.items import Item
from margod.engine import messages as m
from margod.model import reasons
from margod.model.deployment import FINAL
from margod.model.errors import MargodError
from margod.model.outcome import Kind, Outcome
from margod.model.report import About, Reply
from margod.model.state import Condition, Connection, State
from margod.model.text import timestamp
from margod.model.wire import Request
from margod.protocols import Context
from margod.protocols.signed.deployment_status import read_status, write_status
from margod.protocols.signed.manifest import Unacceptable
from margod.service.imports import late
from margod.shell.disk import Disk
from margod.shell.ground import Ground
from margod.shell.outbox_file import OutboxFile
from margod.shell.situation import Situation, Warned
from margod.shell.work import Work

if TYPE_CHECKING:
    from margod.deployments.outbox import Outbox
    from margod.engine import delivery as d
else:
    d = late("margod.engine.delivery")

log: Final = structlog.get_logger()

AT_ONCE: Final = 64
BYTES_AT_ONCE: Final = 256 << 10
"""Reports, and bytes of them, that are read from the outbox at a time."""
DRAIN: Final = 0.6
"""Seconds that a report under way is given at a stop: what was accepted need not be sent again."""
TELL_INTERVAL: Final = 1.0
"""Seconds between two changes of the status document: a queue that drains is not told report by report."""
PAGE: Final = 500
"""Reports of one page of the list."""


class Reports:
    """The outbox's lane (work.Sideline), and what the local sockets ask of it."""

    name: str = "outbox"

    def __init__(self, work: Work, ground: Ground, disk: Disk) -> None:
        """Deliver through `work`; the file is in `ground`'s state directory. Nothing is opened yet."""
        self._work, self._ground, self._main_disk = work, ground, disk
        self._courier = work.courier(self.name)
        self._config = ground.config
        self._machine: d.Delivery | None = None
        self._file = OutboxFile(ground)
        self._items: dict[int, Item] = {}
        self._next: tuple[Item, str, Context, Request] | None = None
        self._begun = self._looked = self._closing = False
        self._allowed, self._connection = "", Connection.IDLE
        self._timer: asyncio.TimerHandle | None = None
        self._telling: asyncio.TimerHandle | None = None
        self._told: object = None
        self._tasks: set[asyncio.Task[None]] = set()

    # What the daemon tells it (work.Sideline).

    def consider(self, situation: Situation | None, condition: Condition) -> None:  # noqa: ARG002 - the courier has it
        """Deliver while the device is enrolled; look for an outbox of earlier once the state directory is open."""
        if self._closing:
            return
        if not self._looked and self._ground.vault is not None:
            self._looked = True
            self._start(self._look())
        may_send = condition.state is State.ENROLLED and condition.downtime is None
        allowed = self._courier.binding if may_send else ""
        came_back = condition.connection is Connection.ONLINE and self._connection is not Connection.ONLINE
        self._connection = condition.connection
        if self._config is not self._ground.config:
            self._config = self._ground.config
            if self._machine is not None:
                self._machine.configure(self._ground.generation.report_forms(), self._config.outbox.supersede_after)
        if allowed != self._allowed:
            self._allowed = allowed
            if self._begun:
                self._handle(d.Allowed(allowed))
        elif came_back and self._begun:
            self._handle(d.Reachable())

    def wake(self, cause: m.Cause) -> None:
        """End a wait early, as far as the WFM allows."""
        self._handle(m.Woken(cause))

    def slept(self, seconds: float) -> None:
        """Count a suspend as time that has passed."""
        self._handle(m.Slept(seconds))

    def document(self) -> dict[str, object]:
        """Return its part of the status document (local/openapi.yaml, `Outbox`)."""
        machine = self._machine
        trouble, due = (None, None) if machine is None else (machine.trouble, machine.due)
        wait = None if due is None else max(0.0, due - time.monotonic())
        wall, tally = self._ground.keeper.wall(), self._file.tally
        return {
            "waiting": tally.waiting if self._file.is_counted else None,
            "parked": tally.parked if self._file.is_counted else None,
            "oldest": None if tally.oldest is None else timestamp(tally.oldest),
            "next_attempt_at": None if wait is None or not tally.waiting else timestamp(wall + wait),
            "last_error": None
            if trouble is None
            else {
                "code": trouble.reason.code,
                "message": trouble.reason.says,
                "hint": trouble.reason.hint,
                "detail": trouble.detail,
                "at": timestamp(trouble.at),
            },
        }

    def warnings(self) -> list[Warned]:
        """Return what a person should know."""
        found = []
        if self._file.tally.parked:
            count = "1 report is" if self._file.tally.parked == 1 else f"{self._file.tally.parked} reports are"
            found.append(Warned(reasons.REPORTS_PARKED, f"{count} parked: kept, and not sent."))
        if self._file.fault is not None:
            found.append(Warned(self._file.fault.reason, self._file.fault.message))
        if self._file.saved is not None:
            said = f"{reasons.OUTBOX_DAMAGED.says} Reports saved: {self._file.saved}."
            found.append(Warned(reasons.OUTBOX_DAMAGED, said))
        return found

    async def close(self) -> None:
        """Let the report under way end, within a second, and close the file."""
        if self._begun:
            self._handle(d.Allowed(""))
        self._closing = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN)
        for timer in (self._timer, self._telling):
            if timer is not None:
                timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await self._courier.close()
        await self._file.end()

    # What the local sockets ask of it.

    async def report(self, deployment_id: str, body: bytes, uid: int = -1) -> dict[str, object]:
        """Take a report of the user `uid`; it is durable when this returns. Raises MargodError."""
        try:
            status = read_status(deployment_id, body)
        except Unacceptable as error:
            raise MargodError(reasons.REPORT_INVALID, str(error)) from None
        kept, final, state = write_status(status), status.state in FINAL, status.state.value
        at, binding = self._ground.keeper.wall(), self._courier.binding

        def put(outbox: Outbox) -> int:
            return outbox.put(deployment_id, state, final=final, body=kept, at=at, binding=binding, uid=uid)

        async def taken() -> int:
            number = await self._file.run(put)
            self._begin()
            self._handle(d.Changed())
            return number

        # Once begun it ends, whether or not the caller waits for it: what is durable is to be sent.
        number = await asyncio.shield(asyncio.ensure_future(taken()))
        notes = self._ground.generation.report_notes(status)
        return {"number": number, **({"notes": notes} if notes else {})}

    async def listed(self, after: int = 0) -> dict[str, object]:
        """Return a page of the reports behind the number `after`, and how many there are."""
        items: list[Item] = []
        if self._begun or not self._file.is_counted:
            items = await self._file.run(lambda outbox: outbox.listed(after, PAGE))
        shown = [_shown(item) for item in items]
        return {"waiting": self._file.tally.waiting, "parked": self._file.tally.parked, "reports": shown}

    async def retry(self, number: int | None) -> dict[str, object]:
        """Let a parked report, or all of them, wait again. Raises MargodError where none is."""
        binding = self._courier.binding
        done, stays = await self._file.run(lambda outbox: outbox.retry(number, binding)) if self._begun else (0, 0)
        if number is not None and not done:
            raise MargodError(reasons.REPORT_OVERTAKEN if stays else reasons.NO_SUCH_REPORT)
        self._handle(d.Changed(anew=True))
        self._handle(m.Woken(m.Cause.OPERATOR))
        left = f"; overtaken by later reports, and still parked: {stays}" if stays else ""
        return {"message": f"Taken up again: {done}{left}."}

    async def drop(self, number: int | None) -> dict[str, object]:
        """Remove a report, parked or waiting, or all that are parked. Raises MargodError where none is.

        One that is under way at this moment may still arrive.
        """
        done = await self._file.run(lambda outbox: outbox.drop(number)) if self._begun else 0
        if number is not None and not done:
            raise MargodError(reasons.NO_SUCH_REPORT)
        log.info("reports-dropped", count=done, **({} if number is None else {"number": number}))
        self._handle(d.Changed(anew=True))
        if number is not None:  # it may have been what held up the others
            self._handle(m.Woken(m.Cause.OPERATOR))
        self._tell()
        return {"message": f"Dropped: {done}."}

    async def let_go(self) -> None:
        """Close the file, and open it no more: the state directory is about to be cleared."""
        await self._file.let_go()

    def resume(self) -> None:
        """It was not cleared: go on."""
        self._file.resume()
        self._handle(d.Changed(anew=True))

    # The machine and its hands.

    async def _look(self) -> None:
        """Take up an outbox that is there from earlier."""
        if await self._main_disk.run(self._file.is_there):
            self._begin()
        self._tell()

    def _begin(self) -> None:
        if not self._begun and not self._closing:
            self._begun = True
            forms, after = self._ground.generation.report_forms(), self._config.outbox.supersede_after
            self._machine = d.Delivery(forms, after, self._rng())
            self._handle(d.Allowed(self._allowed))
            if not self._allowed:
                self._start(self._count())

    async def _count(self) -> None:
        with suppress(MargodError):  # shown as a warning
            await self._file.run(lambda _: None)
        self._tell()

    def _handle(self, event: d.Event) -> None:
        """Give the machine an event, start what it asks for."""
        machine = self._machine
        if machine is None or self._closing:
            return
        for command in machine.handle(event, m.Now(time.monotonic(), self._ground.keeper.wall())):
            if isinstance(command, m.Note):
                getattr(log, command.level.value)(command.event, **command.data)
            elif isinstance(command, d.Tell):
                self._start(self._work.heard(self._courier, self._allowed, command.outcome, command.wait))
            else:
                self._start(self._perform(command))
        if self._timer is not None:
            self._timer.cancel()
        due = machine.due
        wait = None if due is None else max(0.0, due - time.monotonic())
        self._timer = None if wait is None else asyncio.get_running_loop().call_later(wait, self._handle, m.Due())
        self._tell()

    async def _perform(self, command: d.Load | d.Supersede | d.Deliver | d.Confirm | d.Forget | d.Park) -> None:
        event: d.Event
        try:
            event = await self._performed(command)
        except MargodError as error:
            event = d.NotStored(error.reason, error.message)
        except Exception as error:  # the lane goes on, whatever it is
            log.error("internal-error", lane=self.name, command=type(command).__name__, exc_info=error)
            event = _failed(command, type(error).__name__)
        self._handle(event)

    async def _performed(
        self, command: d.Load | d.Supersede | d.Deliver | d.Confirm | d.Forget | d.Park
    ) -> d.Loaded | d.Answered | d.Confirmed | d.Stored:
        match command:
            case d.Load():
                return await self._load(command.binding)
            case d.Supersede():
                count = await self._file.run(lambda outbox: outbox.supersede())
                if count:
                    log.info("reports-superseded", count=count)
                return d.Stored()
            case d.Deliver():
                return d.Answered(await self._deliver(command))
            case d.Confirm():
                return d.Confirmed(await self._courier.ask_whether_known())
            case d.Forget():
                await self._file.run(lambda outbox: outbox.sent(command.numbers, lasting=command.lasting))
                return d.Stored()
            case d.Park():
                await self._file.run(lambda outbox: outbox.park(command.number, command.reason.code, command.detail))
                return d.Stored()
            case _:
                assert_never(command)

    async def _load(self, binding: str) -> d.Loaded:
        def load(outbox: Outbox) -> tuple[int, list[Item]]:
            return outbox.claim(binding), outbox.upcoming(AT_ONCE, BYTES_AT_ONCE)

        parked, items = await self._file.run(load)
        if parked:
            code, hint = reasons.REPORT_OF_OTHER.code, reasons.REPORT_OF_OTHER.hint
            log.warning("reports-parked", count=parked, code=code, message=reasons.REPORT_OF_OTHER.says, hint=hint)
        self._items = {item.number: item for item in items}
        wall = self._ground.keeper.wall()
        return d.Loaded([d.Waiting(item.number, item.deployment_id, wall - item.at) for item in items])

    async def _deliver(self, command: d.Deliver) -> Reply:
        item, context = self._items[command.number], self._courier.context
        if context is None or self._courier.binding != command.binding:
            return Reply(About.MOMENT, Outcome(Kind.UNREACHABLE, reasons.NOT_ENROLLED, sent=False))
        generation = self._ground.generation
        request, following = self._request(item, command.form, context), self._items.get(command.number + 1)
        if request is None:
            log.info("report-not-said", deployment_id=item.deployment_id, state=item.state, number=item.number)
            return Reply(About.UNSAID, Outcome(Kind.ACCEPTED, reasons.ENROLLED, sent=False))
        if following is not None and (ahead := self._request(following, command.form, context)) is not None:
            # Signed while this one is under way: a long queue does not wait for its signatures.
            self._next = (following, command.form, context, ahead)
            asyncio.get_running_loop().call_soon(self._courier.sign_ahead, ahead)
        return generation.report_reply(item.deployment_id, item.body, await self._courier.call(request))

    def _request(self, item: Item, form: str, context: Context) -> Request | None:
        """Return the request of a report, or None; the one that was signed ahead, if it is that."""
        if self._next is not None and self._next[0] is item and self._next[1] == form and self._next[2] is context:
            return self._next[3]
        return self._ground.generation.report_request(form, context, item.deployment_id, item.body)

    def _tell(self) -> None:
        """Have the status document sent to whoever listens, now and then."""
        trouble = self._machine.trouble if self._machine else None
        what = self._file.tally, self._file.is_counted, trouble, self._file.fault, self._file.saved
        if what == self._told or self._closing:
            return
        if self._telling is not None:  # told in a moment, even if it is as before then: who looks now has seen it
            self._told = None
            return
        self._told = what

        def told() -> None:
            self._telling = None
            self._tell()

        self._telling = asyncio.get_running_loop().call_later(TELL_INTERVAL, told)
        self._work.tell()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("internal-error", lane=self.name, exc_info=error)

    @staticmethod
    def _rng() -> random.Random:
        return random.Random()  # noqa: S311 - jitter, no secret


def _shown(item: Item) -> dict[str, object]:
    return {
        "number": item.number,
        "deployment_id": item.deployment_id,
        "state": item.state,
        "at": timestamp(item.at),
        "parked": item.parked or None,
        "detail": item.detail,
        "overtaken": item.overtaken,
        "uid": item.uid,
    }


def _failed(command: object, detail: str) -> d.Answered | d.Confirmed | d.NotStored:
    """Return the event that keeps the machine going after an error that nobody foresaw."""
    outcome = Outcome(Kind.UNREACHABLE, reasons.INTERNAL_ERROR, detail, sent=False)
    match command:
        case d.Deliver():
            return d.Answered(Reply(About.MOMENT, outcome))
        case d.Confirm():
            return d.Confirmed(outcome)
        case _:
            return d.NotStored(reasons.INTERNAL_ERROR, detail)
