"""What goes to the WFM and what comes back: one connection, requests, answers, root CAs, by the present situation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
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
from margod.shell import bootstrap, first_contact, presenting, renewal
from margod.shell.attention import Attention
from margod.shell.bearing import Bearing
from margod.shell.disk import Disk
from margod.shell.ground import Ground
from margod.shell.place import Names, Place
from margod.shell.records import ANCHORS
from margod.shell.renewing import Renewing, may_ask
from margod.shell.reporting import Reporting
from margod.shell.resetting import Leaving, Resetting, unregister
from margod.shell.situation import Situation
from margod.wfm import WfmClient, at

log: Final = structlog.get_logger()

ENROLMENT: Final = "enrolment"
"""The lane of the enrolment's own requests."""
EMPTY: Final[Mapping[str, bytes]] = MappingProxyType({})


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
        self.reporting = Reporting()
        self.bearing = Bearing(self, disk)
        self._attention = Attention()

    @property
    def silent(self) -> bool:
        """Whether it is downtime: nothing leaves this device, not even to look who is there."""
        return self.ground.keeper.downtime.closed

    async def close(self) -> None:
        """Close the connection to the WFM."""
        self.bearing.close()
        if self._client is not None:
            await self._client.close()

    async def _unregister(self) -> None:
        if self.silent:
            raise MargodError(reasons.DOWNTIME)
        disk, ground = self._disk, self.ground
        leaving = Leaving(lambda: disk.run(ground.leave), lambda: disk.run(ground.stay), ground.keeper.created())
        await unregister(self.situation, ground.generation, self._opened, self._names, leaving)

    async def find_time(self, situation: Situation) -> bool:
        """Ask the WFM for the time, where the owner wants it and the clock cannot be right; return whether it said."""
        keeper, wfm = self.ground.keeper, self.ground.config.wfm
        if self.ground.config.clock.bootstrap != "wfm" or keeper.plausible() or keeper.downtime.closed:
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
        before_anchors = self.situation.anchors if self.situation else ()
        moved = self.situation is None or self.situation.url != situation.url or before_anchors != situation.anchors
        if moved or not may_ask(situation, self.ground.config):
            self.offered = ()
        if moved:
            self.renewing.forget()
            self.reporting.forget()
            self.bearing.retry()  # what kept a token endpoint from being believed may be mended
        known = self.situation.identity if self.situation else None
        identity = situation.identity
        if identity is not None and (known is None or known.fingerprint != identity.fingerprint):
            until = timestamp(identity.not_after)
            about = {"subject": identity.subject, "source": identity.source, "valid_until": until}
            log.info("identity", certificate=identity.fingerprint, **about, wfm=situation.url or "", **self.about)
        if situation.moved:
            log.info("wfm-changed", wfm=situation.url or "", enrolment=situation.moved)
        self.situation = situation
        self._attention.tell(situation.warnings, self.about, whole=situation.facts.obstacle is None)
        wanted = self.connects_by(situation)
        if self._client is not None and wanted != self._client_for:
            await self._client.close()
            self._client = None
        self._client_for = wanted

    async def take_time(self) -> None:
        """Have connections go by the time that `find_time` has found."""
        if self.situation is not None:
            await self._take(self.situation)

    def connects_by(self, situation: Situation) -> object:
        """Return what a connection is made by; one that was made by something else is not used any more."""
        addresses = situation.place.addresses if situation.place else ()
        own_clock = self.ground.keeper.shift != 0.0
        return situation.policy, situation.url, addresses, self.ground.config.wfm.timeout, situation.proxy, own_clock

    async def by_its_proxy(self, situation: Situation, place: Place) -> Situation:
        """Return the situation with the proxy as its file has it: the credentials may be others by now.

        Raises MargodError.
        """
        if self.ground.config.wfm.proxy_credentials_file is None:  # nothing to read: no turn of the disk for it
            proxy = self.ground.proxy(place)
        else:
            proxy = await self._disk.run(lambda: self.ground.proxy(place))
        if proxy != situation.proxy:
            situation = replace(situation, proxy=proxy)
            await self._take(situation)
        return situation

    async def _ask_in_time(
        self,
        client: WfmClient,
        place: Place,
        step: Step,
        build: Callable[[str], SignedRequest],
        records: Mapping[str, bytes] = EMPTY,
    ) -> Answer | TransportFailure:
        """Ask; once more, signed in the WFM's time, where it was a refusal that told it."""
        used = self.ground.keeper.correction()
        result = await self._ask(client, place, step, build, records)
        refused = isinstance(result, Answer) and result.status in (400, 401)
        if refused and abs(self.ground.keeper.correction() - used) > OFFSET_FROM:
            result = await self._ask(client, place, step, build, records)
        return result

    async def _ask(
        self,
        client: WfmClient,
        place: Place,
        step: Step,
        build: Callable[[str], SignedRequest],
        records: Mapping[str, bytes] = EMPTY,
    ) -> Answer | TransportFailure:
        """Send what `build` makes of a URL; a discovered WFM may bear any of several configured names."""
        result: Answer | TransportFailure = TransportFailure(reasons.TLS_WRONG_HOST, "", sent=False)
        for url in self._names.urls(place):
            request = await self._disk.run(partial(build, url))
            if self.silent:
                return TransportFailure(reasons.DOWNTIME, "", sent=False)
            log.debug("request", step=step.value, method=request.method, url=request.url)
            result = await self.bearing.send(client, request, lane=ENROLMENT, base=url, records=records)
            self.ground.keeper.take(result)
            log_result(step, result)
            if not self._names.wrong(url, result):
                break
        return result

    async def adopt(self, situation: Situation) -> bool:
        """Make a root that was vouched for long enough an anchor, now that the WFM's chain verifies under it alone.

        True only if it is one afterwards. What follows another ground has its anchors, and asks that one to adopt.
        """
        if self.silent:
            return False
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

    async def about_trust(self, step: Step, situation: Situation, outcome: Outcome) -> Outcome:
        """Take in what an outcome says of the root CA: another one offered, or somebody else in the WFM's place.

        With trust.on_change: ask the root CA that is offered there is shown, for a person to compare.
        """
        config = self.ground.config
        if outcome.reason is reasons.TLS_UNKNOWN_ISSUER:
            if self.silent:
                return outcome
            if may_ask(situation, config):
                await self._offer(situation)
            return await self.renewing.refused(situation, outcome)
        met = outcome.sent and outcome.kind not in (Kind.UNREACHABLE, Kind.UNTRUSTED)
        if met:  # verified: whoever it was is gone with his offer
            self.renewing.presented, self.offered = None, ()
        if step is Step.REFRESH_TRUST and outcome.kind is Kind.ACCEPTED:
            return await self.renewing.heard(situation, outcome, config.trust.adopt_after, config.trust.pin or ())
        return outcome

    async def _offer(self, situation: Situation) -> None:
        """Have the roots that are offered now, by nobody knows whom, for a person to compare."""
        self.offered = await first_contact.offered(situation, self.ground.config, self.ground.generation, self._wall())

    async def accept(self, fingerprint: str) -> trust.Anchor:
        """Keep the offered root CA that a person has compared. Raises MargodError, in a downtime for one unseen yet."""
        situation = self.situation
        if situation is None:
            raise TrustError(reasons.NOT_OFFERED)
        here = (*situation.withdrawn, *(each.anchor for each in situation.staged))
        known = (*self.offered, *here)
        if all(anchor.fingerprint != fingerprint for anchor in known) and may_ask(situation, self.ground.config):
            if self.silent:
                raise MargodError(reasons.DOWNTIME)
            await self._offer(situation)  # a restart, or another server by now: what counts is what is offered now
        offered, in_use = (*self.offered, *situation.withdrawn), frozenset[str]()
        if len(situation.anchors) > 1:  # a full vault lets go of an old one, which must not be one that is needed
            needed = [a for a in situation.anchors if self.silent or await presenting.verifies(situation, a)]
            in_use = frozenset([anchor.fingerprint for anchor in needed])
        await self._disk.run(lambda: self.ground.accept(situation, offered, fingerprint, in_use))
        known = (*offered, *here)
        found = next(anchor for anchor in known if anchor.fingerprint == fingerprint)
        log.info("root-ca-accepted", fingerprint=found.fingerprint, subject=found.subject)
        return found

    def _opened(self, situation: Situation) -> WfmClient:
        if self._client is None:
            self._client = self.connect(situation)
        return self._client

    def connect(self, situation: Situation) -> WfmClient:
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


def unsent(reason: Reason) -> Outcome:
    return Outcome(Kind.UNREACHABLE, reason, sent=False)


def log_result(step: Step, result: Answer | TransportFailure) -> None:
    if isinstance(result, Answer):
        log.debug("answer", step=step.value, status=result.status, bytes=len(result.body))
    else:
        log.debug("no-answer", step=step.value, code=result.reason.code, detail=result.detail, sent=result.sent)
