"""Carries out the engine's commands: each one ends in the event that the engine waits for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import structlog

from margod import trust
from margod.engine import messages as m
from margod.model import reasons
from margod.model.errors import MargodError, TrustError
from margod.model.outcome import Kind, Outcome, Step
from margod.model.reasons import Reason
from margod.model.state import State
from margod.model.text import timestamp
from margod.model.wire import Answer, SignedRequest, TransportFailure
from margod.protocols import Context
from margod.protocols.signed.generation import CA_ANSWER
from margod.shell import anchoring, first_contact
from margod.shell.disk import Disk
from margod.shell.ground import Ground
from margod.shell.place import Names, Place, placed
from margod.shell.records import ANCHORS, WFM
from margod.shell.resetting import Resetting, unregister
from margod.shell.situation import Situation, blocked_by, is_valid
from margod.vault import ledger
from margod.wfm import Proxy, WfmClient, at

log: Final = structlog.get_logger()


class Actions:
    """The shell around the engine. Holds the present situation and the one connection to the WFM."""

    def __init__(self, ground: Ground, disk: Disk, wall: Callable[[], float] = time.time) -> None:
        """Work on `ground`, through `disk`."""
        self.ground = ground
        self.situation: Situation | None = None
        self.offered: tuple[trust.Anchor, ...] = ()
        """Root CAs that wait for a person to accept one."""
        self.config = ground.config
        """The configuration wanted; in force for the ground from the next look on."""
        self.wants_look = False
        """Whether what was found on the way makes another look worth it; whoever acts on it takes it back."""
        self.state_writable = True
        self.resetting = Resetting(ground, disk)
        self.prepare: Callable[[], None] = lambda: None
        """Called in the disk thread before each look that the engine asked for, never in the midst of a request."""
        self.about: dict[str, str] = {}
        """Stands in what the journal says of this device's way, where there are two."""
        self._disk = disk
        self._wall = wall
        self._client: WfmClient | None = None
        self._client_for: object = None
        self._names = Names()

    async def perform(self, command: m.Command) -> m.Event | None:
        """Carry out one command; None for those that nothing waits for. Raises nothing but CancelledError."""
        match command:
            case m.Note():
                getattr(log, command.level.value)(
                    command.event, **command.data, **self._for_approval(command), **self.about
                )
                return None
            case m.Examine():
                return await self.examine()
            case m.RecordIntent():
                return await self._record_intent(command)
            case m.RecordAnswer():
                await self._record_answer(command)
                return None
            case m.Send():
                return m.Done(command.step, await self._send(command.step, command.form))
            case m.Keep():
                return await self._keep(command)
            case m.Reissue():
                return await self._reissue()

    def failed(self, command: m.Command, error: Exception) -> m.Event | None:
        """Return the event that keeps the engine going after an error that nobody foresaw."""
        detail = type(error).__name__
        match command:
            case m.Examine():
                return m.Examined(blocked_by(reasons.INTERNAL_ERROR, detail), m.History())
            case m.RecordIntent():
                return m.RecordFailed(detail)
            case m.Send():
                return m.Done(command.step, Outcome(Kind.UNREACHABLE, reasons.INTERNAL_ERROR, detail, lost=True))
            case m.Keep() | m.Reissue():
                return m.KeepFailed(detail)
            case m.Note() | m.RecordAnswer():
                return None

    async def examine(self) -> m.Examined:
        """Look at configuration and vault again, after what a person has ordered to be reset."""
        await self.resetting.carry_out(self._unregister)
        self.ground.config = self.config

        def look() -> Situation:
            self.prepare()
            return self.ground.examine()

        situation = await self._disk.run(look)
        await self._take(situation)
        return m.Examined(situation.facts, situation.history)

    async def _unregister(self) -> None:
        generation, created = self.ground.generation, int(self._wall())
        await unregister(self.situation, generation, self._opened, self._names, created)

    async def close(self) -> None:
        """Close the connection to the WFM."""
        if self._client is not None:
            await self._client.close()

    async def _take(self, situation: Situation) -> None:
        """Make `situation` the present one; a connection made under another trust is closed."""
        before = self.situation.warnings if self.situation else ()
        asks = situation.unverified is not None and situation.unverified.source == anchoring.FIRST_USE
        if not asks or self.situation is None or self.situation.url != situation.url:
            self.offered = ()
        known = self.situation.identity if self.situation else None
        identity = situation.identity
        if identity is not None and (known is None or known.fingerprint != identity.fingerprint):
            until = timestamp(identity.not_after)
            about = {"subject": identity.subject, "source": identity.source, "valid_until": until}
            log.info("identity", certificate=identity.fingerprint, **about, wfm=situation.url or "", **self.about)
        if situation.moved:
            log.info("wfm-changed", wfm=situation.url or "", enrolment=situation.moved)
        self.situation = situation
        for warned in situation.warnings:
            if warned not in before:
                about = {"code": warned.reason.code, "message": warned.message, "hint": warned.reason.hint}
                log.warning("needs-attention", **about, **self.about)
        addresses = situation.place.addresses if situation.place else ()
        wanted = (situation.policy, situation.url, addresses, self.ground.config.wfm.timeout, situation.proxy)
        if self._client is not None and wanted != self._client_for:
            await self._client.close()
            self._client = None
        self._client_for = wanted

    def _for_approval(self, note: m.Note) -> dict[str, str]:
        """Return what a person who decides about this device has to compare, for the lines that wait for one."""
        known = self.situation
        waits = {state.value for state in (State.PENDING_APPROVAL, State.REJECTED)}
        if note.event != "state" or note.data["state"] not in waits or known is None or known.identity is None:
            return {}
        return {"wfm": known.url or "", "certificate": known.identity.fingerprint}

    async def _record_intent(self, command: m.RecordIntent) -> m.Event:
        facts = self.situation.facts if self.situation else None
        entry = ledger.intent(command, facts.key if facts else "", self._wall())
        vault = self.ground.vault
        if vault is None:
            return m.RecordFailed(reasons.STATE_UNUSABLE.says)
        try:
            await self._disk.run(lambda: self.ground.append(entry))
        except MargodError as error:
            self.state_writable = False
            return m.RecordFailed(error.message)
        self.state_writable = True
        return m.Recorded()

    async def _record_answer(self, command: m.RecordAnswer) -> None:
        vault = self.ground.vault
        if vault is None:
            return
        try:
            await self._disk.run(lambda: self.ground.append(ledger.answer(command)))
        except MargodError as error:
            self.state_writable = False
            log.warning("answer-not-recorded", code=error.code, message=error.message, hint=error.hint)

    async def _send(self, step: Step, form: str) -> Outcome:
        """Build, sign and send the request of a step, and say what came of it."""
        situation = self.situation
        who = situation.who(step) if situation else None
        if situation is None or who is None or situation.place is None:
            return _unsent(reasons.NO_URL)
        if (outcome := self._not_to_be_sent(situation, step)) is not None:
            return outcome
        generation, context, identity = self.ground.generation, who.context, who.identity
        place, url = situation.place, situation.place.url
        try:  # the file with the credentials may be another one by now
            proxy = await self._disk.run(lambda: self.ground.proxy(place))
        except MargodError as error:
            return Outcome(Kind.UNREACHABLE, error.reason, error.message, sent=False)
        if proxy != situation.proxy:
            situation = replace(situation, proxy=proxy)
            await self._take(situation)

        if step is Step.FETCH_TRUST and situation.unverified is not None:
            return placed(place, await self._ask_a_stranger(situation.unverified, context, url, proxy))

        def build(url: str) -> SignedRequest:  # in the disk thread: the first signature imports the signing library
            request = generation.request(step, form, context)
            return generation.authenticate(request, url, identity.signer, int(self._wall()))

        try:
            client = self._opened(situation)
        except TrustError as error:
            return Outcome(Kind.UNTRUSTED, error.reason, error.message, sent=False)
        result = await self._ask(client, place, step, build)
        outcome = generation.outcome(step, form, context, result)
        if step is Step.CONFIRM and outcome.kind is Kind.ACCEPTED:
            return replace(outcome, records=who.records)
        if step is Step.FETCH_TRUST and outcome.kind is Kind.ACCEPTED:
            outcome = placed(place, self._read_anchors(outcome, url))
            if outcome.kind is Kind.ACCEPTED:
                failure = await self._try_anchors(situation, outcome.records[ANCHORS], place, build)
                return outcome if failure is None else generation.outcome(step, form, context, failure)
        return outcome

    def _not_to_be_sent(self, situation: Situation, step: Step) -> Outcome | None:
        if step is Step.ENROL and situation.identity and not is_valid(situation.identity, self._wall()):
            self.wants_look = True  # the clock was set since: the look makes another certificate, or says what to do
            return _unsent(reasons.CERTIFICATE_EXPIRED)
        if step is Step.CONFIRM and situation.former is None and situation.client_id is None:
            return Outcome(Kind.UNKNOWN, reasons.CLIENT_UNKNOWN, sent=False)  # the root CA has come, and is another one
        return None

    async def _ask(
        self, client: WfmClient, place: Place, step: Step, build: Callable[[str], SignedRequest]
    ) -> Answer | TransportFailure:
        """Send what `build` makes of a URL; a discovered WFM may bear any of several configured names."""
        result: Answer | TransportFailure = TransportFailure(reasons.TLS_WRONG_HOST, "", sent=False)
        for url in self._names.urls(place):
            request = await self._disk.run(partial(build, url))
            log.debug("request", step=step.value, method=request.method, url=request.url)
            result = await client.send(request)
            _log_result(step, result)
            if not self._names.wrong(url, result):
                break
        return result

    async def _ask_a_stranger(
        self, policy: trust.UnverifiedPolicy, context: Context, url: str, proxy: Proxy | None
    ) -> Outcome:
        """Download the root CA without knowing from whom, and let `policy` judge it."""
        config, generation = self.ground.config, self.ground.generation
        place = self.situation.place if self.situation else None
        addresses, seconds = place.addresses if place else (), config.wfm.timeout
        result = await first_contact.fetch(
            policy, generation, context, url, seconds=seconds, proxy=proxy, addresses=addresses
        )
        _log_result(Step.FETCH_TRUST, result)
        outcome = generation.outcome(Step.FETCH_TRUST, "spec", context, result)
        ask = config.trust.first_use == "ask"
        asked = first_contact.judge(policy, outcome, url, self._wall(), ask=ask)
        if asked.outcome.sent:
            self.offered = asked.offered
        return asked.outcome

    async def accept(self, fingerprint: str) -> trust.Anchor:
        """Keep the offered root CA that a person has compared. Raises TrustError or StateNotWritable."""
        offered = self.offered
        await self._disk.run(lambda: self.ground.accept(offered, fingerprint))
        found = next(anchor for anchor in offered if anchor.fingerprint == fingerprint)
        log.info("root-ca-accepted", fingerprint=found.fingerprint, subject=found.subject)
        return found

    async def forget(self) -> None:
        """Drop the root CA that is kept. Raises TrustError or StateNotWritable."""
        await self._disk.run(self.ground.forget)
        log.info("root-ca-forgotten")

    async def _try_anchors(
        self, situation: Situation, anchors: bytes, place: Place, build: Callable[[str], SignedRequest]
    ) -> TransportFailure | None:
        """Ask once more under the downloaded root alone: one that does not vouch for this WFM is never kept."""
        assert situation.policy is not None
        policy = replace(situation.policy, anchors=trust.decode_certificates(anchors, self._wall()))
        try:
            client = self._connect(replace(situation, policy=policy))
        except TrustError as error:
            return TransportFailure(error.reason, error.message, sent=False)
        try:
            result = await self._ask(client, place, Step.FETCH_TRUST, build)
        finally:
            await client.close()
        return result if isinstance(result, TransportFailure) else None

    def _read_anchors(self, outcome: Outcome, url: str) -> Outcome:
        """Turn the Certificate API's answer into the anchors that are kept."""
        try:
            anchors = trust.decode_answer(outcome.records[CA_ANSWER], self._wall())
        except TrustError as error:
            return replace(outcome, kind=Kind.BAD_ANSWER, reason=error.reason, detail=error.message, records={})
        for anchor in anchors:
            log.info("root-ca-offered", fingerprint=anchor.fingerprint, subject=anchor.subject)
        record = anchoring.record({"url": url}, self.ground.config.wfm.protocol, anchoring.SYSTEM)
        return replace(outcome, records={ANCHORS: trust.to_pem(anchors), WFM: record})

    def _opened(self, situation: Situation) -> WfmClient:
        if self._client is None:
            self._client = self._connect(situation)
        return self._client

    def _connect(self, situation: Situation) -> WfmClient:
        """Return a client for the WFM of this situation, by its proxy and at its addresses. Raises TrustError."""
        if situation.policy is None:
            raise TrustError(reasons.NO_ANCHOR)
        addresses = situation.place.addresses if situation.place else ()
        return WfmClient(
            situation.policy.ssl_context(),
            timeout=self.ground.config.wfm.timeout,
            proxy=situation.proxy,
            resolver=at(addresses) if addresses else None,
            any_name=situation.policy.any_name,
        )

    async def _keep(self, command: m.Keep) -> m.Event:
        """Make an accepted step's records durable: an enrolment by one fsynced line, everything else by a commit."""
        vault = self.ground.vault
        if vault is None:
            return m.KeepFailed(reasons.STATE_UNUSABLE.says)
        entry = ledger.accepted(command.records, self._wall())

        def keep() -> Situation:
            if command.step is Step.ENROL:
                self.ground.append(entry)
            elif command.step is Step.CONFIRM:
                self.ground.claim(command.records)
            else:
                self.ground.keep(command.records)
            return self.ground.examine()

        try:
            situation = await self._disk.run(keep)
        except MargodError as error:
            self.state_writable = False
            return m.KeepFailed(error.message)
        self.state_writable = True
        await self._take(situation)
        about = {"client_id": situation.client_id or "", "wfm": situation.url or "", **self.about}
        log.info("accepted", step=command.step.value, **about)
        return m.Kept()

    async def _reissue(self) -> m.Event:
        try:
            await self._disk.run(self.ground.reissue)
        except MargodError as error:
            return m.KeepFailed(error.message)
        return await self.examine()


def _unsent(reason: Reason) -> Outcome:
    return Outcome(Kind.UNREACHABLE, reason, sent=False)


def _log_result(step: Step, result: Answer | TransportFailure) -> None:
    if isinstance(result, Answer):
        log.debug("answer", step=step.value, status=result.status, bytes=len(result.body))
    else:
        log.debug("no-answer", step=step.value, code=result.reason.code, detail=result.detail, sent=result.sent)
