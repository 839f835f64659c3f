"""What the local sockets ask of the daemon (local.Controller): to show what is so, and to do what a person wants."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from margod.engine.messages import Cause, Woken
from margod.model import reasons
from margod.model.door import Asked
from margod.model.errors import MargodError
from margod.model.state import State
from margod.model.text import duration, timestamp
from margod.model.wire import Answer, Sink
from margod.shell import status
from margod.shell.actions import Actions
from margod.shell.device import device_of
from margod.shell.devicewatch import DeviceWatch
from margod.shell.disk import Disk
from margod.shell.finder import Finder
from margod.shell.ground import Ground
from margod.shell.lane import Lane
from margod.shell.polling import DesiredState
from margod.shell.reports import Reports
from margod.shell.resetting import Order
from margod.shell.rotation import Rotation
from margod.shell.settings import Settings
from margod.shell.situation import Warned
from margod.shell.timekeeper import Timekeeper
from margod.shell.work import Work

if TYPE_CHECKING:
    from margod.shell.door import Door

log: Final = structlog.get_logger()

STUCK: Final = 60.0
"""Seconds by which an attempt may be late, for a look that does not end, before the daemon counts as unhealthy."""


class Controls:
    """The daemon as its sockets see it; the daemon itself adds the loop, the reload and the events."""

    _settings: Settings
    _started_at: float
    _ground: Ground
    _keeper: Timekeeper
    _disk: Disk
    _lane: Lane
    _actions: Actions
    _rotation: Rotation
    _work: Work
    _devices: DeviceWatch
    _reports: Reports
    _desired: DesiredState
    _finder: Finder
    _door: Door | None = None

    def status(self) -> dict[str, object]:
        """Return the status document."""
        situation = self._actions.situation
        warnings = [*self._settings.warnings(), *(situation.warnings if situation else ()), *self._keeper.warnings()]
        if not self._actions.state_writable:
            warnings.append(Warned(reasons.STATE_NOT_WRITABLE, reasons.STATE_NOT_WRITABLE.says))
        renewing = self._actions.renewing
        warnings += [*renewing.warnings(), *self._actions.reporting.warnings(), *self._reports.warnings()]
        document = status.document(
            self._lane.condition,
            situation,
            (*warnings, *self._desired.warnings()),
            self._started_at,
            self._actions.offered,
            protocol=self._ground.config.wfm.protocol,
            presented=renewing.presented,
            adopt_after=self._ground.config.trust.adopt_after,
        )
        return {
            **document,
            "clock": self._keeper.document(),
            "downtime": self._keeper.downtime.document(),
            "discovery": self._finder.document(situation),
            "rotation": self._rotation.document(),
            **self._work.document(),
        }

    async def capabilities(self) -> dict[str, object]:
        """Return what this device would report, from a look of its own, and what the WFM took last."""
        from margod.shell import described  # for who asks

        ground = self._ground
        device = await self._disk.run(lambda: device_of(ground.config, ground.directory, ground.generation))
        await self._devices.asked(device)
        situation, settling = self._actions.situation, ground.settling
        due = ground.clock() + settling.due - time.monotonic() if settling.waits and settling.due else None

        def describe() -> dict[str, object]:
            records = ground.vault.records if ground.vault is not None else {}
            known = situation.client_id if situation else None
            return described.document(device, ground.generation, records, known, settling=settling.waits, due=due)

        return await self._disk.run(describe)

    def healthy(self) -> bool:
        """Return whether the loop makes progress and what must be remembered can be written."""
        due = self._lane.engine.attempt_due  # also of a wait that a look came into which does not end
        on_time = due is None or time.monotonic() - due < STUCK
        return on_time and self._actions.state_writable and self._ground.vault is not None

    def identity(self) -> dict[str, object] | None:
        """Return the identity document."""
        known = self._actions.situation
        return None if known is None or known.identity is None else status.identity_document(known.identity, known)

    def next_identity(self) -> dict[str, object] | None:
        """Return the identity document of the candidate, if there is one."""
        identity = self._rotation.identity()
        return None if identity is None else status.identity_document(identity, None)

    async def forward(self, asked: Asked, body: Callable[[], Awaitable[bytes]], into: Sink) -> Answer:
        """Have the WFM asked what another program on the device wants to know. Raises DoorError."""
        if self._door is None:
            from margod.shell.door import Door  # most devices have no program that asks

            self._door = Door(self._ground, self._work)
        return await self._door.forward(asked, body, into)

    def deployments(self) -> dict[str, object]:
        """Return what the WFM wants to run here, as it is mirrored."""
        return self._desired.deployments()

    async def deployment(self, deployment_id: str) -> tuple[str, bytes]:
        """Return digest and YAML of a mirrored deployment."""
        return await self._desired.deployment(deployment_id)

    async def adopt_deployments(self, version: int) -> dict[str, object]:
        """Remember by which version of the desired state the agent works."""
        await self._desired.adopt(version)
        return self._desired.deployments()

    async def accept_deployments(self) -> dict[str, object]:
        """Let the next desired state be taken whatever its version is."""
        return {"message": self._desired.accept().removesuffix("; ") + "."}

    async def hand_git_token(self, url: str, token: str, expires_at: float | None) -> dict[str, object]:
        """Take a Git token that a person hands over."""
        return await self._desired.hand(url, token, expires_at)

    async def retry(self) -> dict[str, object]:
        """End the engine's wait early, as far as the WFM allows; with the root CA that is in its file by now."""
        candidate, lane = self._rotation.lane, self._lane
        self._actions.bearing.retry()  # before those whose requests need a token
        self._work.wake(Cause.OPERATOR)
        mended = await self._disk.run(self._ground.ca_file_changed)
        if candidate is not None:
            lane.wake(Cause.OPERATOR)
            lane = candidate if lane.condition.state is State.ENROLLED else lane  # whose wait it is
        before = lane.engine.attempt_due
        if mended:
            await self._lane.look_again()  # tries at once by itself
        reads = lane.engine.looks
        lane.wake(Cause.OPERATOR)
        condition, due = lane.condition, lane.engine.attempt_due
        at = None if condition.next_attempt_at is None else timestamp(condition.next_attempt_at)
        if condition.downtime is not None:
            message = self._keeper.downtime.says()
        elif condition.next_attempt_at is None and (words := self._desired.words()):
            message = words
        elif reads:
            message = "trying as soon as what is stored has been read"
        elif before is None:
            message = f"nothing waits: {condition.reason.says}"
        elif due is None:
            message = "trying now"
        else:
            wait = max(1.0, due - time.monotonic())
            message = f"trying in {duration(wait)}" if due < before else f"the next attempt is in {duration(wait)}"
            if wait > 2.0:
                message += ": early ones are made once a minute at most, and never before the WFM allows it"
        return {"next_attempt_at": at, "message": message}

    async def start_downtime(self, seconds: float) -> dict[str, object]:
        """Begin a downtime of so many seconds, 1 minute to 30 days, from now on."""
        downtime = self._keeper.downtime
        downtime.start(seconds)
        self._govern(Cause.CLOCK)
        log.info("downtime-begun", seconds=int(seconds))
        message = f"No request leaves this device until {downtime.until_words()}."
        return {"message": f"{message}{await self._keep_downtime(' It is not kept over a restart')}"}

    async def stop_downtime(self) -> dict[str, object]:
        """End the downtime that was begun by hand; the windows of schedule.downtime stay."""
        downtime = self._keeper.downtime
        message = "No downtime was begun by hand."
        if downtime.stop():
            message = "The downtime is over."
            log.info("downtime-ended")
        kept = await self._keep_downtime(" After a restart it goes on")
        self._govern(Cause.OPERATOR)
        return {"message": f"{message} {downtime.says()}".strip() + kept}

    async def _keep_downtime(self, otherwise: str) -> str:
        """Have it hold after a restart; return the words for where it does not."""
        try:
            kept = await self._disk.run(self._ground.save_downtime)
        except MargodError as error:
            return f"{otherwise}: {error.message}"
        return "" if kept else f"{otherwise}: the state directory cannot be written."

    def _govern(self, cause: Cause | None = None) -> None:
        """Have every engine go by the downtimes as they are now; `cause`: and look at once."""
        rules = replace(self._settings.policy, gate=self._keeper.downtime.gate)
        lanes = [self._lane, *([self._rotation.lane] if self._rotation.lane else [])]
        for lane in lanes:
            lane.engine.rules = rules
        if cause is not None:
            for lane in lanes:
                lane.wake(cause)
            self._work.wake(cause)

    async def accept_trust(self, fingerprint: str) -> dict[str, object]:
        """Take the offered root CA that a person has compared."""
        anchor = await self._actions.accept(fingerprint)
        await self._lane.look_again()
        self._lane.post(Woken(Cause.OPERATOR))  # the same kind of trust, another root: worth an attempt now
        return {"message": f"Taken: {anchor.subject}, {anchor.fingerprint}"}

    async def forget_trust(self) -> dict[str, object]:
        """Drop the root CA that is kept, and download it anew."""
        await self._actions.forget()
        await self._lane.look_again()
        return {"message": "Forgotten; the root CA is downloaded anew."}

    async def adopt_hardware(self) -> dict[str, object]:
        """Take the hardware that this device has now for its own."""
        await self._disk.run(self._ground.adopt_hardware)
        await self._lane.look_again()
        self._lane.wake(Cause.OPERATOR)
        return {"message": "Adopted: the identity belongs to this hardware."}

    async def rotate(self) -> dict[str, object]:
        """Have another identity onboarded beside the one in force, to take its place."""
        return await self._rotation.rotate()

    async def abort_rotation(self) -> dict[str, object]:
        """Give up the identity that was to take the place of the one in force."""
        return await self._rotation.abort()

    async def reset(self, *, unregister: bool, new_identity: bool, wipe: bool) -> dict[str, object]:
        """End the enrolment and start again, or clear everything. Raises MargodError if it was not done."""
        order = Order(unregister, new_identity, wipe)
        message = await self._actions.resetting.ask(order, self._lane.look_again)
        await self._lane.looked()  # it was done at the begin of a look: until its end the status is the former one
        return {"message": message}

    async def report(self, deployment_id: str, body: bytes, uid: int) -> dict[str, object]:
        """Take a report of a deployment into the outbox."""
        return await self._reports.report(deployment_id, body, uid)

    async def reports(self, after: int) -> dict[str, object]:
        """Return what the outbox holds, a page of it."""
        return await self._reports.listed(after)

    async def retry_reports(self, number: int | None) -> dict[str, object]:
        """Take parked reports up again."""
        return await self._reports.retry(number)

    async def drop_reports(self, number: int | None) -> dict[str, object]:
        """Remove a report, or all that are parked."""
        return await self._reports.drop(number)

    async def reset_clock(self) -> dict[str, object]:
        """Forget the floor of the clock and what was learnt about the time."""
        self._keeper.reset()
        await self._disk.run(self._ground.save_floor)
        await self._lane.look_again()
        self._lane.wake(Cause.OPERATOR)
        return {"message": "Forgotten; the clock is believed again, unless it is behind this margod's release."}

    async def choose(self, instance: str) -> dict[str, object]:
        """Take the discovered WFM of this instance name from now on. Raises MargodError if that has no effect."""
        answer = await self._finder.choose(instance, self._actions.situation)
        await self._lane.look_again()
        self._lane.wake(Cause.OPERATOR)  # a person chose, for this device: no fleet has to be spread
        return answer

    async def _shut_door(self) -> None:
        if self._door is not None:
            await self._door.close()
