"""The way of one request of the enrolment: built, signed, sent, and what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import Final

import structlog

from margod import trust
from margod.model import reasons
from margod.model.errors import MargodError, TrustError
from margod.model.outcome import Kind, Outcome, Step
from margod.model.wire import Answer, Request, SignedRequest, TransportFailure
from margod.protocols import CA_ANSWER, Context
from margod.shell import anchoring, first_contact, vouching
from margod.shell.exchange import Exchange, log_result, unsent
from margod.shell.place import Place, placed
from margod.shell.records import ANCHORS, WFM
from margod.shell.reporting import Ask
from margod.shell.situation import Situation, is_valid
from margod.wfm import Proxy

log: Final = structlog.get_logger()


class Sending(Exchange):
    """An exchange that carries out the engine's steps."""

    async def _send(self, step: Step, form: str) -> Outcome:
        """Build, sign and send the request of a step, and say what came of it; once more under a root just adopted."""
        outcome = await self._attempt(step, form, adopts=True)
        return outcome or await self._attempt(step, form, adopts=False) or unsent(reasons.TLS_UNKNOWN_ISSUER)

    async def _attempt(self, step: Step, form: str, *, adopts: bool) -> Outcome | None:
        """Do what `_send` says; None (only where it `adopts`): another root is an anchor now, under which to ask."""
        situation = self.situation
        who = situation.who(step) if situation else None
        if situation is None or who is None or situation.place is None:
            return unsent(reasons.NO_URL)
        if await self.find_time(situation):
            await self.take_time()
        if (outcome := self._not_to_be_sent(situation, step)) is not None:
            return outcome
        generation, context, identity = self.ground.generation, who.context, who.identity
        place, url = situation.place, situation.place.url
        try:
            situation = await self.by_its_proxy(situation, place)
        except MargodError as error:
            return Outcome(Kind.UNREACHABLE, error.reason, error.message, sent=False)

        if step is Step.FETCH_TRUST and situation.unverified is not None:
            return placed(place, await self._ask_a_stranger(situation.unverified, context, url, situation.proxy))

        def signed(request: Callable[[], Request]) -> Callable[[str], SignedRequest]:
            # In the disk thread: the first signature imports the signing library.
            created = self.ground.keeper.created
            return lambda url: generation.authenticate(request(), url, identity.signer, created())

        build = signed(lambda: generation.request(step, form, context))

        def ask(request: Callable[[], Request]) -> Awaitable[Answer | TransportFailure]:
            return self._ask_in_time(self._opened(situation), place, step, signed(request), context.records)

        try:
            outcome = await self._outcome(step, form, context, ask)
        except TrustError as error:
            return Outcome(Kind.UNTRUSTED, error.reason, error.message, sent=False)
        if adopts and outcome.reason is reasons.TLS_UNKNOWN_ISSUER and await self.adopt(situation):
            return None
        if step is Step.CONFIRM and outcome.kind is Kind.ACCEPTED:
            return replace(outcome, records=who.records)
        if step is Step.FETCH_TRUST and outcome.kind is Kind.ACCEPTED:
            outcome = placed(place, self._read_anchors(outcome, url, situation.retired))
            tried = await self._try_anchors(situation, outcome, place, build)
            return tried if isinstance(tried, Outcome) else generation.outcome(step, form, context, tried)
        return await self.about_trust(step, situation, outcome)

    async def _outcome(self, step: Step, form: str, context: Context, ask: Ask) -> Outcome:
        """Ask what the step asks: one question, but for a report, which may be about several devices."""
        generation = self.ground.generation
        if step is Step.REPORT:
            return await self.reporting.report(generation, form, context, ask)
        return generation.outcome(step, form, context, await ask(lambda: generation.request(step, form, context)))

    def _not_to_be_sent(self, situation: Situation, step: Step) -> Outcome | None:
        if self.silent:  # it began while this was on its way here
            return unsent(reasons.DOWNTIME)
        identity, keeper = situation.identity, self.ground.keeper
        times = (self._wall(), keeper.likely())
        if step is Step.ENROL and identity and not any(is_valid(identity, at) for at in times):
            self.wants_look = True  # the clock was set since: the look makes another certificate, or says what to do
            return unsent(reasons.CERTIFICATE_EXPIRED)
        if step is Step.CONFIRM and situation.former is None and situation.client_id is None:
            return Outcome(Kind.UNKNOWN, reasons.CLIENT_UNKNOWN, sent=False)  # the root CA has come, and is another one
        return None

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
        log_result(Step.FETCH_TRUST, result)
        outcome = generation.outcome(Step.FETCH_TRUST, "spec", context, result)
        ask = config.trust.first_use == "ask"
        asked = await first_contact.judge(
            policy, outcome, situation, url, self._wall(), protocol=generation.name, ask=ask
        )
        if asked.outcome.sent:
            self.offered = asked.offered
        return asked.outcome

    async def _try_anchors(
        self, situation: Situation, outcome: Outcome, place: Place, build: Callable[[str], SignedRequest]
    ) -> Outcome | TransportFailure:
        """Ask once more under the downloaded root alone: one that does not vouch for this WFM is never kept."""
        if outcome.kind is not Kind.ACCEPTED:
            return outcome
        if self.silent:
            return unsent(reasons.DOWNTIME)
        assert situation.policy is not None
        offered = trust.decode_certificates(outcome.records[ANCHORS], self._wall(), limit=trust.KEPT_LIMIT)
        anchors = await vouching.vouching(situation, offered)
        if not anchors:
            return Outcome(Kind.BAD_ANSWER, reasons.CA_ANSWER_INVALID, "a root CA of more than 8 KiB")
        policy = replace(situation.policy, anchors=anchors)
        try:
            client = self.connect(replace(situation, policy=policy))
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
