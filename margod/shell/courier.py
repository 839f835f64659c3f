"""Calls of an enrolled device beside the enrolment's own: polls, reports, what local agents ask for.

Each lane has a courier and a connection of its own: a bundle that takes minutes keeps nothing else waiting.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from margod.engine.timekeeping import OFFSET_FROM
from margod.identity import Identity
from margod.model import reasons
from margod.model.errors import MargodError, TrustError
from margod.model.outcome import Kind, Outcome, Step
from margod.model.reasons import Reason
from margod.model.wire import Answer, Request, SignedRequest, Sink, TransportFailure
from margod.protocols import Context
from margod.shell.disk import Disk
from margod.shell.exchange import Exchange
from margod.shell.place import Names, Place
from margod.shell.situation import Situation
from margod.wfm import WfmClient

log: Final = structlog.get_logger()

AHEAD: Final = 5.0
"""Seconds for which a signature that was made ahead is used: it bears the time at which it was made."""


class Courier:
    """Sends one lane's requests, one after the other, by the situation that its exchange is in at that moment.

    What holds for the enrolment's requests holds for these: the proxy's file is read anew, the clock's offset is learnt
    and used, a root CA that was vouched for long enough becomes an anchor.
    """

    def __init__(self, exchange: Exchange, disk: Disk, lane: str) -> None:
        """Send in the name of the device that `exchange` knows; `lane` is for the journal."""
        self._exchange, self._disk, self._lane = exchange, disk, lane
        self._client: WfmClient | None = None
        self._client_for: object = None
        self._names = Names()
        self._turn = asyncio.Lock()
        self._ahead: dict[int, _Ahead] = {}

    @property
    def situation(self) -> Situation | None:
        """The situation, if it is that of an enrolled device that may ask for something; otherwise None."""
        known = self._exchange.situation
        if known is None or known.client_id is None or known.identity is None or known.context is None:
            return None
        if known.facts.obstacle is not None or known.place is None or known.leaving:
            return None
        return known

    @property
    def context(self) -> Context | None:
        """What its requests are built from; None if the device is not enrolled."""
        known = self.situation
        return known.context if known else None

    @property
    def binding(self) -> str:
        """The name of this identity at this WFM; empty if the device is not enrolled."""
        known = self.situation
        return known.facts.binding if known else ""

    async def call(
        self, request: Request, *, seconds: float | None = None, into: Sink | None = None
    ) -> Answer | TransportFailure:
        """Sign and send `request`, return what came of it. Raises nothing but CancelledError.

        `seconds` (> 0) bounds the exchange instead of wfm.timeout. A success goes `into` a sink where there is one;
        then wfm.timeout is for each piece of it (WfmClient.send). A request that waits for its turn is made for the
        enrolment that it was given under, or not at all.
        """
        binding = self.binding
        async with self._turn:
            result = await self._call(request, binding, seconds, into)
            situation = self.situation
            unknown = isinstance(result, TransportFailure) and result.reason is reasons.TLS_UNKNOWN_ISSUER
            if unknown and situation is not None and await self._exchange.adopt(situation):
                result = await self._call(request, binding, seconds, into)
            return result

    async def ask_whether_known(self) -> Outcome:
        """Return what the WFM says of this device: ACCEPTED, or why not. Raises nothing but CancelledError.

        Where there is no route for the question, it is told once more what the device can do, which changes nothing.
        """
        context, binding, generation = self.context, self.binding, self._exchange.ground.generation
        if context is None:
            return Outcome(Kind.UNREACHABLE, reasons.NOT_ENROLLED, sent=False)
        form = generation.forms(Step.CONFIRM)[0]
        result = await self.call(generation.request(Step.CONFIRM, form, context))
        outcome = generation.outcome(Step.CONFIRM, form, context, result)
        _, form = generation.reported(context.records)
        if outcome.reason is not reasons.NO_CONFIRM_ROUTE or generation.report_problem(form, context):
            return outcome
        if self.binding != binding:  # what is known of the former enrolment says nothing of this one
            return Outcome(Kind.UNREACHABLE, reasons.NOT_ENROLLED, sent=False)
        result = await self.call(generation.request(Step.REPORT, form, context))
        outcome = generation.outcome(Step.REPORT, form, context, result)
        knows = outcome.kind is Kind.INVALID  # who finds fault with what a client says knows the client
        return Outcome(Kind.ACCEPTED, reasons.ENROLLED) if knows else outcome

    def hides(self, *tokens: str) -> None:
        """Have what the WFM says shown without these Git tokens, in every lane of the device."""
        self._exchange.bearing.hides(*tokens)

    def sign_ahead(self, request: Request) -> None:
        """Begin to sign what is to be called next while another call is under way; used if nothing changes till then.

        A queue that drains does not wait for its signatures.
        """
        situation = self.situation
        if situation is None or situation.place is None or situation.identity is None:
            return
        url, identity = self._names.urls(situation.place)[0], situation.identity
        used = self._exchange.ground.keeper.correction()
        signing = asyncio.ensure_future(self._disk.run(partial(self._sign, request, identity, url)))
        signing.add_done_callback(lambda done: done.cancelled() or done.exception())  # it is signed anew then
        self._ahead = {key: each for key, each in self._ahead.items() if not each.is_old()}
        self._ahead[id(request)] = _Ahead(request, url, identity, used, time.monotonic(), signing)

    async def close(self) -> None:
        """End what is under way and close the connection; it is opened anew where it is needed."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _call(
        self, request: Request, binding: str, seconds: float | None, into: Sink | None
    ) -> Answer | TransportFailure:
        situation = self.situation
        if self._exchange.silent:
            return _unsent(reasons.DOWNTIME)
        if situation is not None and await self._exchange.find_time(situation):
            await self._exchange.take_time()
        if situation is None or situation.place is None or situation.facts.binding != binding:
            return _unsent(reasons.NOT_ENROLLED)
        place = situation.place
        try:
            situation = await self._exchange.by_its_proxy(situation, place)
            client = await self._opened(situation)
        except (MargodError, TrustError) as error:
            return _unsent(error.reason, error.message)
        keeper = self._exchange.ground.keeper
        used = keeper.correction()
        result = await self._ask(client, situation, place, request, seconds=seconds, into=into)
        refused = isinstance(result, Answer) and result.status in (400, 401)
        if refused and abs(keeper.correction() - used) > OFFSET_FROM:
            result = await self._ask(client, situation, place, request, seconds=seconds, into=into)
        return result

    async def _ask(
        self,
        client: WfmClient,
        situation: Situation,
        place: Place,
        request: Request,
        *,
        seconds: float | None,
        into: Sink | None,
    ) -> Answer | TransportFailure:
        ground, identity = self._exchange.ground, situation.identity
        assert identity is not None, "looked at by `situation`"
        result: Answer | TransportFailure = _unsent(reasons.TLS_WRONG_HOST)
        for url in self._names.urls(place):
            signed = await self._signed(request, identity, url)
            if self._exchange.silent:
                return _unsent(reasons.DOWNTIME)
            log.debug("request", lane=self._lane, method=signed.method, url=signed.url)
            result = await self._exchange.bearing.send(
                client,
                signed,
                lane=self._lane,
                base=url,
                records=situation.context.records if situation.context else {},
                seconds=seconds,
                into=into,
            )
            ground.keeper.take(result)
            if isinstance(result, Answer):
                log.debug("answer", lane=self._lane, status=result.status, bytes=len(result.body))
            else:
                log.debug("no-answer", lane=self._lane, code=result.reason.code, detail=result.detail, sent=result.sent)
            if not self._names.wrong(url, result):
                break
        return result

    async def _signed(self, request: Request, identity: Identity, url: str) -> SignedRequest:
        ahead = self._ahead.pop(id(request), None)
        used = self._exchange.ground.keeper.correction()
        if ahead is not None and ahead.fits(request, url, identity, used):
            with suppress(Exception):
                return await ahead.signing
        return await self._disk.run(partial(self._sign, request, identity, url))

    def _sign(self, request: Request, identity: Identity, url: str) -> SignedRequest:
        """Sign, in the disk thread, as all signing."""
        ground = self._exchange.ground
        return ground.generation.authenticate(request, url, identity.signer, ground.keeper.created())

    async def _opened(self, situation: Situation) -> WfmClient:
        wanted = self._exchange.connects_by(situation)
        if self._client is not None and wanted != self._client_for:
            await self.close()
        if self._client is None:
            self._client, self._client_for = self._exchange.connect(situation), wanted
        return self._client


@dataclass(frozen=True, slots=True)
class _Ahead:
    """A request that is being signed before its turn, by what it is signed with."""

    request: Request
    url: str
    identity: Identity
    correction: float
    at: float
    signing: asyncio.Task[SignedRequest]

    def is_old(self) -> bool:
        """Return whether its signature may be too old by now."""
        return time.monotonic() - self.at > AHEAD

    def fits(self, request: Request, url: str, identity: Identity, correction: float) -> bool:
        """Return whether it is what would be signed now."""
        same = self.request is request and self.identity is identity and self.url == url
        return same and self.correction == correction and not self.is_old()


def _unsent(reason: Reason, detail: str = "") -> TransportFailure:
    return TransportFailure(reason, detail, sent=False)
