"""Puts bearer tokens on requests: has one asked for where there is none, for all callers together (engine/bearer.py).

The client secret goes to the token endpoint alone, over a connection of its own, and only where `protocols/token`
lets it go: to the WFM's own host, or to one that the owner has listed. Nothing of it outlives the process.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from margod import trust
from margod.model import reasons
from margod.model.bearer import Grant, NoToken
from margod.model.errors import MargodError
from margod.model.outcome import Kind, Outcome
from margod.model.redact import without
from margod.model.text import clean
from margod.model.wire import Answer, SignedRequest, Sink, TransportFailure
from margod.protocols.answers import error_text, read_object
from margod.service.imports import late
from margod.shell import proxy as proxies
from margod.shell.disk import Disk
from margod.shell.situation import Situation
from margod.wfm import Proxy, WfmClient

if TYPE_CHECKING:
    from margod.engine import bearer as b
    from margod.protocols import token as t
    from margod.shell.exchange import Exchange
else:  # what only a device of the `token` generation needs
    b = late("margod.engine.bearer")
    t = late("margod.protocols.token")

log: Final = structlog.get_logger()

HIDDEN_TOKENS: Final = 6
"""So many Git tokens beside the vault's are hidden, the newest."""
_PROXY: Final = "proxy-"
"""How the codes of what a proxy does begin: they say whose doing it is, whatever the host that is asked."""


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a token is asked for and with what; `name` tells it apart from every other."""

    name: str
    credentials: t.Credentials = field(repr=False)
    endpoint: t.Place
    own: bool
    """Whether the endpoint is the WFM's own host."""
    secrets: tuple[str, ...] = field(repr=False)
    """Those of the enrolment, which no answer shows."""
    situation: Situation = field(repr=False)
    """Under which it was judged: whoever is asked is verified by this and reached by this, not by a later one."""


class Bearing:
    """The bearer token of one exchange's device."""

    def __init__(self, exchange: Exchange, disk: Disk) -> None:
        """Nothing is asked for before a request needs a token."""
        self._exchange, self._disk = exchange, disk
        self._machine: b.Bearer | None = None
        self._target: _Target | None = None
        self._waiting: dict[int, asyncio.Future[b.Give | b.TurnAway]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._callers = 0
        self._borne = ""
        """The bearer token that was last on a request."""
        self._unseen: dict[str, None] = {}

    def hides(self, *tokens: str) -> None:
        """Have what a WFM says shown without these as well: Git tokens of which the records do not know yet."""
        for token in filter(None, tokens):
            self._unseen.pop(token, None)
            self._unseen[token] = None
        for old in tuple(self._unseen)[:-HIDDEN_TOKENS]:
            del self._unseen[old]

    async def send(
        self,
        client: WfmClient,
        request: SignedRequest,
        *,
        lane: str,
        base: str,
        records: Mapping[str, bytes],
        seconds: float | None = None,
        into: Sink | None = None,
    ) -> Answer | TransportFailure:
        """Send `request` as `client` does, with a bearer token on it if it bears one.

        `records` are the enrolment's that the token is for, `base` the WFM's root URL. A 401 is answered with another
        token, once. NoToken: there is none, and nothing was sent.
        """
        send = partial(client.send, seconds=seconds, into=into)
        if not request.bears:
            bare = await send(request)
            return _said(bare, request, *self._secrets(records)) if self._has_secrets() else bare
        if self._silent():
            return TransportFailure(reasons.DOWNTIME, "", sent=False)
        if isinstance(target := self._target_of(records, base), NoToken):
            return target
        self._target, self._callers = target, self._callers + 1
        caller, machine = self._callers, self._opened()
        given = await self._token(caller, machine.wanted(caller, lane, target.name, time.monotonic()))
        result: Answer | TransportFailure | None = None
        while isinstance(given, b.Give):
            if self._silent():
                return TransportFailure(reasons.DOWNTIME, "", sent=False)
            self._borne = given.grant.value
            answer = await send(t.bearing(request, given.grant, base))
            # By then another lane may have a newer token: the one that was sent is hidden too.
            result = _said(answer, request, given.grant.value, *self._secrets(records))
            if not isinstance(result, Answer) or result.status != 401:
                if isinstance(result, Answer):
                    machine.borne(lane, given.serial)
                return result
            if self._is_past(target):
                return result  # the device is at another WFM by now: no token is asked for the old one's sake
            said = clean(f"HTTP 401: {text}" if (text := error_text(result)) else "HTTP 401")
            spurned = machine.spurned(caller, lane, given.serial, given.place, time.monotonic(), said=said)
            given = await self._token(caller, spurned)
        if result is not None and given.outcome.reason is reasons.BEARER_TOKEN_REFUSED:
            return result
        return _no_token(_unsent(given))  # also after a 401: the WFM did nothing, and this is what it takes

    def slept(self, seconds: float) -> None:
        """Count a suspend."""
        if self._machine is not None:
            self._machine.slept(seconds, time.monotonic())

    def retry(self) -> None:
        """A person asks: end the waits that this device has laid on itself."""
        if self._machine is not None:
            self._machine.retry(time.monotonic())

    def close(self) -> None:
        """End a renewal under way."""
        for task in self._tasks:
            task.cancel()

    def _has_secrets(self) -> bool:
        return self._exchange.ground.generation.name == "token"

    def _secrets(self, records: Mapping[str, bytes]) -> tuple[str, ...]:
        """Return all that is never shown of what a server says."""
        return (self._borne, *t.secrets(records), *self._unseen)

    def _silent(self) -> bool:
        return self._exchange.silent

    def _is_past(self, target: _Target) -> bool:
        return self._target is None or self._target.name != target.name

    def _opened(self) -> b.Bearer:
        if self._machine is None:
            self._machine = b.Bearer(random.Random())  # noqa: S311 - jitter, no secret
        return self._machine

    def _target_of(self, records: Mapping[str, bytes], base: str) -> _Target | NoToken:
        credentials = t.stored_credentials(records)
        if credentials is None:
            return _no_token(Outcome(Kind.UNREACHABLE, reasons.NOT_ENROLLED, sent=False))
        situation, listed = self._exchange.situation, self._exchange.ground.config.token.allowed_hosts or ()
        place = situation.place if situation else None
        if situation is None or place is None or base not in place.urls:
            return _no_token(Outcome(Kind.UNREACHABLE, reasons.WFM_CHANGED, sent=False))
        try:
            own = {t.read_place(url).authority for url in place.urls}
            endpoint = t.read_place(credentials.token_endpoint, query=True)
        except t.NotUsable as error:
            return _no_token(Outcome(Kind.BAD_ANSWER, reasons.TOKEN_ENDPOINT_UNUSABLE, str(error), sent=False))
        try:
            t.Origins.of(base, (*own, *listed)).check(endpoint)
        except t.NotUsable as error:
            return _no_token(Outcome(Kind.BAD_ANSWER, reasons.TOKEN_ENDPOINT_NOT_ALLOWED, str(error), sent=False))
        secret = hashlib.sha256(credentials.secret.encode()).hexdigest()
        name = "\n".join((*sorted(place.urls), endpoint.url, credentials.client_id, secret))
        secrets = self._secrets(records)
        return _Target(name, credentials, endpoint, endpoint.authority in own, secrets, situation)

    async def _token(self, caller: int, commands: list[b.Command]) -> b.Give | b.TurnAway:
        """Wait until `caller` is given a token or turned away."""
        given: asyncio.Future[b.Give | b.TurnAway] = asyncio.get_running_loop().create_future()
        self._waiting[caller] = given
        try:
            self._carry_out(commands)
            return await given
        finally:
            del self._waiting[caller]
            self._opened().gone(caller)

    def _carry_out(self, commands: list[b.Command]) -> None:
        for command in commands:
            if isinstance(command, b.Ask):
                assert self._target is not None
                task = asyncio.ensure_future(self._ask(command, self._target))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif (waits := self._waiting.get(command.caller)) is not None and not waits.done():
                waits.set_result(command)

    async def _ask(self, ask: b.Ask, target: _Target) -> None:
        """Ask for a token, and tell whoever waits for it."""
        try:
            found = await self._asked(target)
        except MargodError as error:
            found = Outcome(Kind.UNREACHABLE, error.reason, error.message, sent=False)
        except Exception as error:  # who waits is told, whatever it is
            log.error("internal-error", lane="token", exc_info=error)
            found = Outcome(Kind.BUSY, reasons.INTERNAL_ERROR, type(error).__name__, sent=False)
        machine = self._opened()
        if isinstance(found, Grant):
            log.debug("bearer-token", endpoint=target.endpoint.url, lifetime=found.lifetime)
            self._carry_out(machine.granted(ask.number, found))
        else:
            log.debug("no-bearer-token", code=found.reason.code, detail=found.detail)
            self._carry_out(machine.denied(ask.number, found, time.monotonic()))

    async def _asked(self, target: _Target) -> Grant | Outcome:
        """Make the one request that has the secret in it. Raises MargodError."""
        if self._exchange.silent:
            return Outcome(Kind.UNREACHABLE, reasons.DOWNTIME, sent=False)
        situation, keeper = target.situation, self._exchange.ground.keeper
        if not target.own:
            situation = await self._disk.run(partial(self._elsewhere, situation, target.endpoint))
        client = self._exchange.connect(situation)
        try:
            log.debug("request", lane="token", method="POST", url=target.endpoint.url)
            result = await client.send(t.token_request(target.endpoint, target.credentials))
        finally:
            await client.close()
        if target.own:
            keeper.take(result)  # another host's time is not the WFM's
        found = t.read_grant(target.credentials, result, *target.secrets, self._borne)
        if isinstance(found, Grant) or target.own or not isinstance(result, TransportFailure):
            return found
        return _of_another_host(target.endpoint.authority, keeper.explain(found))

    def _elsewhere(self, situation: Situation, endpoint: t.Place) -> Situation:
        """Return the situation for a host that is not the WFM's: its trust, its proxy. In the disk thread."""
        ground, policy, place = self._exchange.ground, situation.policy, situation.place
        assert policy is not None
        assert place is not None
        file = ground.config.trust.token_endpoint_ca_file
        if file is not None:
            anchors = trust.read_ca_file(file, ground.clock(), setting="trust.token_endpoint_ca_file")
            policy = replace(policy, anchors=anchors)
        proxy: Proxy | None = proxies.choose(ground.config, ground.env, endpoint.url)
        there = replace(place, urls=(endpoint.origin,), addresses=())
        return replace(situation, policy=replace(policy, any_name=False), place=there, proxy=proxy)


def _said(result: Answer | TransportFailure, request: SignedRequest, *secrets: str) -> Answer | TransportFailure:
    """Return what came back without what it may repeat, because it is shown.

    Whole is what is taken: a root CA, and JSON that a 200 or 201 brings where it was asked for. To a report only the
    status is an answer, and a success that the door hands on has gone into its sink.
    """
    taken = False
    if isinstance(result, Answer) and result.status in (200, 201):
        asked, bears = request.method == "GET", request.bears
        taken = (asked and not bears) or ((asked or not bears) and bool(read_object(result)))
    return result if taken else without(result, *secrets)


def _of_another_host(host: str, outcome: Outcome) -> Outcome:
    """Return the outcome with the words for a host that is not the WFM's: what is said of the WFM would be wrong."""
    if outcome.kind is Kind.CLOCK or outcome.reason.code.startswith(_PROXY):
        return outcome
    detail = clean(f"{host}: {outcome.reason.code}: {outcome.detail}".removesuffix(": "))
    if outcome.kind is Kind.UNTRUSTED:
        return replace(outcome, kind=Kind.BAD_ANSWER, reason=reasons.TOKEN_ENDPOINT_UNTRUSTED, detail=detail)
    return replace(outcome, reason=reasons.TOKEN_ENDPOINT_UNREACHABLE, detail=detail)


def _unsent(given: b.TurnAway) -> Outcome:
    """Return what the token endpoint's answer means for a request that was never made."""
    outcome = given.outcome
    left = None if outcome.retry_after is None else max(0.0, given.until - time.monotonic())
    return replace(outcome, sent=False, lost=False, records={}, retry_after=left)


def _no_token(outcome: Outcome) -> NoToken:
    return NoToken(outcome.reason, outcome.detail, sent=False, outcome=outcome)
