"""The lane that keeps the mirror: asks when the machine of engine/polling.py says so, and tells what came of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import structlog

from margod.config import Config
from margod.engine.failures import FailureLog
from margod.engine.messages import Cause, Due, Level, Note, Now, Slept, Woken
from margod.engine.polling import Allowed, Event, Forbidden, Polled, Polling, Ruled, Rules
from margod.engine.standing import SILENCED
from margod.model import reasons
from margod.model.errors import MargodError
from margod.model.outcome import Kind, Outcome
from margod.model.state import Condition, LastError, State
from margod.model.text import clean, duration, timestamp
from margod.shell.disk import Disk
from margod.shell.ground import Ground
from margod.shell.mirrored import ACCEPTED_FOR, HELD_BACK, SECURITY, Found, Mirrored
from margod.shell.mirroring import Mirroring
from margod.shell.situation import Situation, Warned
from margod.shell.work import Work

log: Final = structlog.get_logger()

_NEW: Final = frozenset({State.ONBOARDING, State.PENDING_APPROVAL, State.REJECTED, State.ONBOARDED})
"""A device that was this and is enrolled now has just become so; one that starts enrolled comes with its fleet."""
_NOT_ASKED: Final = frozenset({reasons.DOWNTIME, reasons.NOT_ENROLLED})
"""What was not asked is nobody's failure."""
_CALM: Final = frozenset({reasons.GIT_NOT_GIVEN})
"""What is said, and nobody's failure: it is asked again at the rate."""
PATIENCE: Final = 0.5
"""Seconds that the disk is given at a stop."""


class DesiredState:
    """What the WFM wants to run here: asked for at the rate, mirrored, shown, and adopted by the agent."""

    name = "desired_state"

    def __init__(self, work: Work, disk: Disk, ground: Ground) -> None:
        """Nothing is asked before the device is enrolled."""
        self._work, self._disk, self._ground = work, disk, ground
        self._courier = work.courier("polling")
        self._kind, self._mirroring, self._retired = "manifest", self._made("manifest"), list[Mirrored]()
        self._ways = ways_to_git(ground.config)
        self._machine = Polling(rules(ground.config), random.Random())  # noqa: S311 - jitter, no secret
        self._failures = FailureLog()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._binding, self._state = "", State.STARTING
        self._asks = self._quiet = False
        """Whether the mirror of an enrolment is open, to ask for what goes into it; whether it is downtime."""
        self._checked_at: float | None = None
        self._error: LastError | None = None
        self._closed = False

    def consider(self, _situation: Situation | None, condition: Condition) -> None:
        """Ask while the device is enrolled; begin anew where it is another enrolment."""
        before, self._state = self._state, condition.state
        self._choose(self._ground.generation.desired_state)
        wanted = rules(self._ground.config)
        if wanted != self._machine.rules:
            self._tell(Ruled(wanted))
        if (ways := ways_to_git(self._ground.config)) != self._ways:
            self._ways = ways
            self.wake(Cause.OPERATOR)
        binding = self._courier.binding if condition.state is State.ENROLLED else ""
        if binding != self._binding:
            is_new = before in _NEW or bool(self._binding and binding)
            self._binding, self._asks, self._error = binding, False, None
            self._mirroring.interrupt()
            self._tell(Forbidden())
            self._run(self._open(binding, is_new=is_new))
        elif self._asks and self._quiet is not (condition.downtime is not None):
            self._tell(Allowed(at_once=False) if self._quiet else Forbidden())
        self._quiet = condition.downtime is not None

    def wake(self, cause: Cause) -> None:
        """End a wait early."""
        if cause is Cause.OPERATOR:
            self._mirroring.retry()
        self._tell(Woken(cause))

    def slept(self, seconds: float) -> None:
        """Count a suspend."""
        self._tell(Slept(seconds))

    def document(self) -> dict[str, object]:
        """Return its part of the status document (local/openapi.yaml, `DesiredState`)."""
        held, error, next_at = self._mirroring.held, self._error, self._machine.next_at(self._now())
        return {
            "manifest_version": held.manifest.version if held else None,
            "commit": self._mirroring.commit,
            "deployments": len(held.manifest.deployments) if held else None,
            "adopted": held.adopted or None if held else None,
            "complete": self._mirroring.whole,
            "fetched_at": timestamp(held.at) if held else None,
            "checked_at": None if self._checked_at is None else timestamp(self._checked_at),
            "next_poll_at": None if next_at is None else timestamp(next_at),
            "error": None
            if error is None
            else {
                "code": error.reason.code,
                "message": error.reason.says,
                "hint": error.reason.hint,
                "detail": error.detail,
                "at": timestamp(error.at),
            },
        }

    def words(self) -> str:
        """Return when the desired state is asked for next, for whoever has asked for it to be now; "" if it is not."""
        wait = self.due_in()
        if wait is None:
            return ""
        return f"asking for the desired state {f'in {duration(wait)}' if wait > 1.0 else 'now'}"

    def due_in(self) -> float | None:
        """Return the seconds to the next poll, 0 while one is under way; None if none is planned."""
        due = self._machine.due
        if not self._asks or self._quiet or (due is None and not self._machine.polling):
            return None
        return 0.0 if due is None else max(0.0, due - time.monotonic())

    def deployments(self) -> dict[str, object]:
        """Return what is mirrored (local/openapi.yaml, `Deployments`). Raises MargodError if nothing is known."""
        held = self._mirroring.held
        if held is None:
            raise self._unknown()
        return {
            "manifestVersion": held.manifest.version,
            "commit": self._mirroring.commit,
            "fetched_at": timestamp(held.at),
            "adopted": held.adopted or None,
            "complete": self._mirroring.whole,
            "deployments": [
                {"deploymentId": one.deployment_id, "digest": one.digest} for one in held.manifest.deployments
            ],
        }

    def _unknown(self) -> MargodError:
        if self._state is State.ENROLLED:
            return MargodError(reasons.DESIRED_STATE_UNKNOWN)
        hint = "It is asked for once this device is enrolled; `margod status` says what that waits for."
        return MargodError(reasons.DESIRED_STATE_UNKNOWN, hint=hint)

    async def deployment(self, deployment_id: str) -> tuple[str, bytes]:
        """Return digest and YAML of a deployment. Raises MargodError if there is none."""
        if self._mirroring.held is None:
            raise self._unknown()
        found = await self._mirroring.text(deployment_id)
        if found is None:
            raise MargodError(reasons.DEPLOYMENT_UNKNOWN)
        digest, text = found
        if text is None:
            raise MargodError(reasons.DEPLOYMENT_DAMAGED)
        return digest, text

    async def adopt(self, version: int) -> None:
        """Remember that the agent works by this version. Raises MargodError."""
        await self._mirroring.adopt(version)
        self._work.tell()

    def accept(self) -> str:
        """Take the next one although its version or history went back, and ask for it now; return so.

        Raises MargodError where none was held back for that: what nobody has seen is not for accepting.
        """
        if self._mirroring.held is not None and (self._error is None or self._error.reason not in HELD_BACK):
            raise MargodError(reasons.NOTHING_HELD_BACK)
        self._mirroring.accept()
        self.wake(Cause.OPERATOR)
        what = "history" if self._mirroring.commit else "version"
        return (
            f"The next desired state is taken whatever its {what} is, within {duration(ACCEPTED_FOR)}; {self.words()}"
        )

    async def hand(self, url: str, token: str, expires_at: float | None) -> dict[str, object]:
        """Keep a Git token that a person hands over; return what came of it. Raises MargodError.

        `url`: of the repository, "" for the one that is known.
        """
        if self._kind != "git":
            raise MargodError(reasons.GIT_NOT_USED)
        from margod.shell.gittokens import hand, require_time_left  # for who asks

        require_time_left(expires_at, self._ground.keeper)
        return await hand(self._mirroring, self, url, token, expires_at)

    def token_file_changed(self) -> bool:
        """Return whether the file with a Git token is another one than at the last poll. In the disk thread."""
        return self._asks and self._mirroring.token_file_changed()

    def warnings(self) -> tuple[Warned, ...]:
        """Return what a person should know, while anything is asked for."""
        return self._mirroring.warnings() if self._asks else ()

    async def close(self) -> None:
        """End a poll under way and give the directory back."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._courier.close()
        with suppress(TimeoutError):  # a disk that hangs delays no stop
            async with asyncio.timeout(PATIENCE):
                await self._disk.run(self._mirroring.retire)

    def _choose(self, kind: str) -> None:
        """Mirror as the generation has it; what another one left goes when its directory is opened."""
        if kind != self._kind:
            self._retired.append(self._mirroring)
            self._mirroring.interrupt()
            self._kind, self._mirroring = kind, self._made(kind)

    def _made(self, kind: str) -> Mirrored:
        if kind == "git":
            from margod.shell.gitmirroring import GitMirroring  # only devices with a repository load it

            return GitMirroring(self._courier, self._disk, self._ground)
        return Mirroring(self._courier, self._disk, self._ground)

    async def _open(self, binding: str, *, is_new: bool) -> None:
        """Show what is mirrored for this enrolment, and begin to ask."""
        try:
            while self._retired:  # the directory is locked by whoever has it
                await self._disk.run(self._retired.pop().retire)
            await self._mirroring.open()
        except MargodError as error:
            self._fail(Outcome(Kind.UNREACHABLE, error.reason, error.message), 0.0)
        if binding and binding == self._binding:
            self._checked_at, self._asks = None, True
            if not self._quiet:
                self._tell(Allowed(at_once=is_new))
        self._work.tell()

    async def _poll(self) -> None:
        binding, context, mirroring = self._binding, self._courier.context, self._mirroring
        if context is None:
            found = Found(Outcome(Kind.UNREACHABLE, reasons.NOT_ENROLLED, sent=False))
        else:
            try:
                found = await mirroring.poll(context)
            except Exception as error:  # it goes on, whatever it is
                log.error("internal-error", lane="polling", exc_info=error)
                found = Found(Outcome(Kind.BUSY, reasons.INTERNAL_ERROR, repr(error)))
        calm = found.outcome.reason in _CALM
        self._tell(Polled(replace(found.outcome, kind=Kind.ACCEPTED) if calm else found.outcome))
        if mirroring.wants_poll:
            self._tell(Woken(Cause.OPERATOR))
        wait = max(0.0, (self._machine.due or time.monotonic()) - time.monotonic())
        self._take_in(found, wait)
        if found.said is not None and found.said.reason not in _NOT_ASKED:
            await self._work.heard(self._courier, binding, found.said, wait)
        self._work.tell()

    def _take_in(self, found: Found, wait: float) -> None:
        outcome = found.outcome
        if Kind.ACCEPTED in (outcome.kind, found.said.kind if found.said is not None else None):
            self._checked_at = self._ground.keeper.wall()
        if outcome.kind is Kind.ACCEPTED:
            self._error = None
            note = self._failures.recovered(self._now())
            if note is not None:
                self._say(note, {})
        elif found.said is not outcome and outcome.reason not in _NOT_ASKED:  # else the enrolment says it, for all
            if self._quiet and outcome.kind in SILENCED:
                return
            self._fail(outcome, wait)

    def _fail(self, outcome: Outcome, wait: float) -> None:
        reason, detail = outcome.reason, clean(outcome.detail)
        self._error = LastError(reason, detail, self._ground.keeper.wall())
        about = {"security": "yes"} if reason in SECURITY else {}
        self._say(self._failures.failed(reason, detail, wait, self._now()), about)

    def _say(self, note: Note, about: dict[str, str]) -> None:
        say: Callable[..., object] = {Level.DEBUG: log.debug, Level.INFO: log.info}.get(note.level, log.warning)
        word = "desired-state-refused" if note.event == "attempt-failed" else note.event
        say(word, lane="polling", **note.data, **about)

    def _tell(self, event: Event) -> None:
        """Hand the machine an event; poll, or wait for what it waits for."""
        if self._closed:
            return
        polls = self._machine.handle(event, self._now())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if polls:
            self._run(self._poll())
        elif (due := self._machine.due) is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, due - time.monotonic()), self._tell, Due())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("internal-error", lane="polling", exc_info=error)

    def _now(self) -> Now:
        return Now(time.monotonic(), self._ground.keeper.wall())


def ways_to_git(config: Config) -> object:
    """Return the settings by which a repository is reached; another one is worth asking at once."""
    return config.desired_state.git, config.token.allowed_hosts, config.trust.token_endpoint_ca_file


def rules(config: Config) -> Rules:
    """Return what the owner's settings say of polls."""
    polling = config.schedule.polling
    return Rules(polling.rate or None, polling.period or ())
