"""What goes to the WFM and what comes back: one connection, requests, answers, root CAs, by the present situation."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Final

import structlog

from margod import trust
from margod.engine.timekeeping import OFFSET_FROM
from margod.model import reasons
from margod.model.errors import MargodError, TrustError
from margod.model.outcome import Kind, Outcome, Step
from margod.model.reasons import Reason
from margod.model.text import timestamp
from margod.model.wire import Answer, SignedRequest, TransportFailure
from margod.protocols import Context
from margod.protocols.signed.generation import CA_ANSWER
from margod.shell import anchoring, bootstrap, first_contact, presenting, renewal, vouching
from margod.shell.disk import Disk
from margod.shell.ground import Ground
from margod.shell.place import Names, Place, placed
from margod.shell.records import ANCHORS, WFM
from margod.shell.renewing import Renewing, may_ask
from margod.shell.resetting import Leaving, Resetting, unregister
from margod.shell.situation import Situation, is_valid
from margod.wfm import Proxy, WfmClient, at

log: Final = structlog.get_logger()


class Exchange:
    """The present situation, and the one connection to the WFM that it names."""

    def __init__(self, ground: Ground, disk: Disk, wall: Callable[[], float] | None = None) -> None:
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
        self.met_ripe: Callable[[], None] = lambda: None
        """Called where a ripe root may be due on a ground that only follows another, which is the one to adopt it."""
        self.about: dict[str, str] = {}
        """Stands in what the journal says of this device's way, where there are two."""
        self._disk = disk
        self._wall = wall or ground.keeper.wall
        self._client: WfmClient | None = None
        self._client_for: object = None
        self._asked_time_at = -bootstrap.EVERY
        self._names = Names()
        self.renewing = Renewing(self._wall)

    async def close(self) -> None:
        """Close the connection to the WFM."""
        if self._client is not None:
            await self._client.close()

    async def _unregister(self) -> None:
        disk, ground = self._disk, self.ground
        leaving = Leaving(lambda: disk.run(ground.leave), lambda: disk.run(ground.stay), ground.keeper.created())
        await unregister(self.situation, ground.generation, self._opened, self._names, leaving)

    async def _find_time(self, situation: Situation) -> bool:
        """Ask the WFM for the time, where the owner wants it and the clock cannot be right; return whether it said."""
        keeper, wfm = self.ground.keeper, self.ground.config.wfm
        if self.ground.config.clock.bootstrap != "wfm" or keeper.plausible():
            return False
        if time.monotonic() - self._asked_time_at < bootstrap.EVERY:
            return False
        self._asked_time_at = time.monotonic()
        seconds = min(wfm.timeout, bootstrap.LIMIT)
        found = await bootstrap.ask(situation, self.ground.generation, seconds, keeper.floor.wall, keeper.wall)
        if found is not None and not keeper.plausible():
            keeper.found(found.wall, found.at)
            return True
        return False

    async def _take(self, situation: Situation) -> None:
        """Make `situation` the present one; a connection made under another trust is closed."""
        before = self.situation.warnings if self.situation else ()
        before_anchors = self.situation.anchors if self.situation else ()
        moved = self.situation is None or self.situation.url != situation.url or before_anchors != situation.anchors
        if moved or not may_ask(situation, self.ground.config):
            self.offered = ()
        if moved:
            self.renewing.forget()
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
        own_clock = self.ground.keeper.shift != 0.0
        wanted = (
            situation.policy,
            situation.url,
            addresses,
            self.ground.config.wfm.timeout,
            situation.proxy,
            own_clock,
        )
        if self._client is not None and wanted != self._client_for:
            await self._client.close()
            self._client = None
        self._client_for = wanted

    async def _send(self, step: Step, form: str) -> Outcome:
        """Build, sign and send the request of a step, and say what came of it; once more under a root just adopted."""
        outcome = await self._attempt(step, form, adopts=True)
        return outcome or await self._attempt(step, form, adopts=False) or _unsent(reasons.TLS_UNKNOWN_ISSUER)

    async def _attempt(self, step: Step, form: str, *, adopts: bool) -> Outcome | None:
        """Do what `_send` says; None (only where it `adopts`): another root is an anchor now, under which to ask."""
        situation = self.situation
        who = situation.who(step) if situation else None
        if situation is None or who is None or situation.place is None:
            return _unsent(reasons.NO_URL)
        if await self._find_time(situation):
            await self._take(situation)  # with a client that goes by it
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
            return generation.authenticate(request, url, identity.signer, self.ground.keeper.created())

        try:
            result = await self._ask_in_time(self._opened(situation), place, step, build)
        except TrustError as error:
            return Outcome(Kind.UNTRUSTED, error.reason, error.message, sent=False)
        outcome = generation.outcome(step, form, context, result)
        if adopts and outcome.reason is reasons.TLS_UNKNOWN_ISSUER and await self._adopt(situation):
            return None
        if step is Step.CONFIRM and outcome.kind is Kind.ACCEPTED:
            return replace(outcome, records=who.records)
        if step is Step.FETCH_TRUST and outcome.kind is Kind.ACCEPTED:
            outcome = placed(place, self._read_anchors(outcome, url, situation.retired))
            tried = await self._try_anchors(situation, outcome, place, build)
            return tried if isinstance(tried, Outcome) else generation.outcome(step, form, context, tried)
        return await self._about_trust(step, situation, outcome)

    def _not_to_be_sent(self, situation: Situation, step: Step) -> Outcome | None:
        identity, keeper = situation.identity, self.ground.keeper
        times = (self._wall(), keeper.likely())
        if step is Step.ENROL and identity and not any(is_valid(identity, at) for at in times):
            self.wants_look = True  # the clock was set since: the look makes another certificate, or says what to do
            return _unsent(reasons.CERTIFICATE_EXPIRED)
        if step is Step.CONFIRM and situation.former is None and situation.client_id is None:
            return Outcome(Kind.UNKNOWN, reasons.CLIENT_UNKNOWN, sent=False)  # the root CA has come, and is another one
        return None

    async def _ask_in_time(
        self, client: WfmClient, place: Place, step: Step, build: Callable[[str], SignedRequest]
    ) -> Answer | TransportFailure:
        """Ask; once more, signed in the WFM's time, where it was a refusal that told it."""
        used = self.ground.keeper.correction()
        result = await self._ask(client, place, step, build)
        refused = isinstance(result, Answer) and result.status in (400, 401)
        if refused and abs(self.ground.keeper.correction() - used) > OFFSET_FROM:
            result = await self._ask(client, place, step, build)
        return result

    async def _ask(
        self, client: WfmClient, place: Place, step: Step, build: Callable[[str], SignedRequest]
    ) -> Answer | TransportFailure:
        """Send what `build` makes of a URL; a discovered WFM may bear any of several configured names."""
        result: Answer | TransportFailure = TransportFailure(reasons.TLS_WRONG_HOST, "", sent=False)
        for url in self._names.urls(place):
            request = await self._disk.run(partial(build, url))
            log.debug("request", step=step.value, method=request.method, url=request.url)
            result = await client.send(request)
            self.ground.keeper.take(result)
            _log_result(step, result)
            if not self._names.wrong(url, result):
                break
        return result

    async def _adopt(self, situation: Situation) -> bool:
        """Make a root that was vouched for long enough an anchor, now that the WFM's chain verifies under it alone.

        True only if it is one afterwards. What follows another ground has its anchors, and asks that one to adopt.
        """
        adopt_after = self.ground.config.trust.adopt_after
        if self.ground.follows:
            if renewal.ripe(situation.staged, adopt_after):
                self.met_ripe()
            return False
        records = await self.renewing.adoptable(situation, adopt_after)
        if not records:
            return False

        def keep() -> Situation:
            self.ground.keep(records)
            return self.ground.examine()

        try:
            adopted = await self._disk.run(keep)
        except MargodError as error:
            log.warning("answer-not-recorded", code=error.code, message=error.message, hint=error.hint)
            return False
        await self._take(adopted)
        self.wants_look = True
        return not set(trust.decode_certificates(records[ANCHORS], 0.0)) - set(adopted.anchors)

    async def _about_trust(self, step: Step, situation: Situation, outcome: Outcome) -> Outcome:
        """Take in what an outcome says of the root CA: another one offered, or somebody else in the WFM's place.

        With trust.on_change: ask the root CA that is offered there is shown, for a person to compare.
        """
        config = self.ground.config
        if outcome.reason is reasons.TLS_UNKNOWN_ISSUER:
            if may_ask(situation, config):
                await self._offer(situation)
            return await self.renewing.refused(situation, outcome)
        if outcome.kind not in (Kind.UNREACHABLE, Kind.UNTRUSTED):  # verified: whoever it was is gone with his offer
            self.renewing.presented, self.offered = None, ()
        if step is Step.REFRESH_TRUST and outcome.kind is Kind.ACCEPTED:
            return await self.renewing.heard(situation, outcome, config.trust.adopt_after, config.trust.pin or ())
        return outcome

    async def _offer(self, situation: Situation) -> None:
        """Have the roots that are offered now, by nobody knows whom, for a person to compare."""
        self.offered = await first_contact.offered(situation, self.ground.config, self.ground.generation, self._wall())

    async def _ask_a_stranger(
        self, policy: trust.UnverifiedPolicy, context: Context, url: str, proxy: Proxy | None
    ) -> Outcome:
        """Download the root CA without knowing from whom, and let `policy` judge it."""
        config, generation = self.ground.config, self.ground.generation
        situation = self.situation
        assert situation is not None
        addresses, seconds = situation.place.addresses if situation.place else (), config.wfm.timeout
        result = await first_contact.fetch(
            policy, generation, context, url, seconds=seconds, proxy=proxy, addresses=addresses
        )
        _log_result(Step.FETCH_TRUST, result)
        outcome = generation.outcome(Step.FETCH_TRUST, "spec", context, result)
        ask = config.trust.first_use == "ask"
        asked = await first_contact.judge(policy, outcome, situation, url, self._wall(), ask=ask)
        if asked.outcome.sent:
            self.offered = asked.offered
        return asked.outcome

    async def accept(self, fingerprint: str) -> trust.Anchor:
        """Keep the offered root CA that a person has compared. Raises TrustError or StateNotWritable."""
        situation = self.situation
        if situation is None:
            raise TrustError(reasons.NOT_OFFERED)
        here = (*situation.withdrawn, *(each.anchor for each in situation.staged))
        known = (*self.offered, *here)
        if all(anchor.fingerprint != fingerprint for anchor in known) and may_ask(situation, self.ground.config):
            await self._offer(situation)  # a restart, or another server by now: what counts is what is offered now
        offered, in_use = (*self.offered, *situation.withdrawn), frozenset[str]()
        if len(situation.anchors) > 1:  # a full vault lets go of an old one, which must not be one that is needed
            in_use = frozenset([a.fingerprint for a in situation.anchors if await presenting.verifies(situation, a)])
        await self._disk.run(lambda: self.ground.accept(situation, offered, fingerprint, in_use))
        known = (*offered, *here)
        found = next(anchor for anchor in known if anchor.fingerprint == fingerprint)
        log.info("root-ca-accepted", fingerprint=found.fingerprint, subject=found.subject)
        return found

    async def _try_anchors(
        self, situation: Situation, outcome: Outcome, place: Place, build: Callable[[str], SignedRequest]
    ) -> Outcome | TransportFailure:
        """Ask once more under the downloaded root alone: one that does not vouch for this WFM is never kept."""
        if outcome.kind is not Kind.ACCEPTED:
            return outcome
        assert situation.policy is not None
        offered = trust.decode_certificates(outcome.records[ANCHORS], self._wall(), limit=trust.KEPT_LIMIT)
        anchors = await vouching.vouching(situation, offered)
        if not anchors:
            return Outcome(Kind.BAD_ANSWER, reasons.CA_ANSWER_INVALID, "a root CA of more than 8 KiB")
        policy = replace(situation.policy, anchors=anchors)
        try:
            client = self._connect(replace(situation, policy=policy))
        except TrustError as error:
            return TransportFailure(error.reason, error.message, sent=False)
        try:
            result = await self._ask(client, place, Step.FETCH_TRUST, build)
        finally:
            await client.close()
        if isinstance(result, TransportFailure):
            return result
        return replace(outcome, records={**outcome.records, ANCHORS: trust.to_pem(anchors)})

    def _read_anchors(self, outcome: Outcome, url: str, retired: Collection[str]) -> Outcome:
        """Turn the Certificate API's answer into the anchors that are kept; not those that are `retired`."""
        try:
            answered = trust.decode_answer(outcome.records[CA_ANSWER], self._wall())
        except TrustError as error:
            return replace(outcome, kind=Kind.BAD_ANSWER, reason=error.reason, detail=error.message, records={})
        anchors = tuple(anchor for anchor in answered if anchor.fingerprint not in retired)
        if not anchors:
            said = anchoring.said_retired(answered)
            return replace(outcome, kind=Kind.UNTRUSTED, reason=reasons.ROOT_CA_RETIRED, detail=said, records={})
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
        keeper = self.ground.keeper
        return WfmClient(
            situation.policy.ssl_context(check_time=keeper.shift == 0.0),
            clock=keeper.wall if keeper.shift else None,
            timeout=self.ground.config.wfm.timeout,
            proxy=situation.proxy,
            resolver=at(addresses) if addresses else None,
            any_name=situation.policy.any_name,
        )


def _unsent(reason: Reason) -> Outcome:
    return Outcome(Kind.UNREACHABLE, reason, sent=False)


def _log_result(step: Step, result: Answer | TransportFailure) -> None:
    if isinstance(result, Answer):
        log.debug("answer", step=step.value, status=result.status, bytes=len(result.body))
    else:
        log.debug("no-answer", step=step.value, code=result.reason.code, detail=result.detail, sent=result.sent)
