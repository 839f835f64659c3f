"""The whole examination, in order: what a line stands on has been looked at before it, or the line is skipped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from margod import trust
from margod.check import judge, network, report, secrets
from margod.check.device import Device, look_at, look_at_wfm, looks_around
from margod.check.report import NAMES, Line, Verdict
from margod.check.silence import downtime_until
from margod.client import Client
from margod.config import Sources
from margod.discovery import Candidate
from margod.engine.timekeeping import correction
from margod.model import reasons
from margod.model.errors import DaemonUnreachable, MargodError, TrustError
from margod.model.outcome import Kind, Step
from margod.model.reasons import Reason
from margod.model.wire import Answer, Request, TransportFailure
from margod.protocols import Context, classify
from margod.protocols.answers import clock_offset
from margod.protocols.signed.desired import manifest_request
from margod.service import clock
from margod.shell import proxy as proxies
from margod.shell.place import Place
from margod.shell.situation import NOBODY
from margod.shell.timekeeper import Timekeeper
from margod.wfm import Proxy, WfmClient, at
from margod.wfm.handshake import Way

REQUEST_LIMIT: Final = 5.0
"""Seconds for each GET."""
BROWSE_LIMIT: Final = 4.0
"""Seconds of looking for the WFM on the network; no name server is asked then."""


@dataclass(frozen=True, slots=True)
class Questions:
    """What is to be looked at. `daemon` makes the client for the configured local.directory.

    `in_downtime`: the WFM is asked in a downtime too.
    """

    sources: Sources
    env: Mapping[str, str]
    overrides: Mapping[str, str]
    offline: bool
    daemon: Callable[[str], Client]
    in_downtime: bool = False


async def examine(questions: Questions) -> tuple[Line, ...]:
    """Look at everything, within about 30 s, and return a line for each of `report.NAMES` there is. Changes nothing."""
    now = time.time()
    device = look_at(questions.sources, questions.env, questions.overrides, now)
    why_not = _why_not(device, questions)
    seen = await _browse(device, offline=why_not is not None)
    look_at_wfm(device, seen, now)
    online = _Online(device, questions.env, now)
    await online.look(why_not)
    device.lines += online.lines
    valid_from = [(f"the root CA {anchor.subject}", anchor.not_before) for anchor in device.anchors]
    if device.identity is not None:
        valid_from.append(("this device's certificate", device.identity.not_before))
    keeper = Timekeeper()
    keeper.load(device.config.state.directory)
    device.lines.append(judge.clock(now, keeper.floor.wall, clock.synchronised(), online.offset, valid_from))
    device.lines.append(_socket(device, questions.daemon))
    return tuple(sorted(device.lines, key=lambda line: NAMES.index(line.name)))


def _why_not(device: Device, questions: Questions) -> tuple[str, str] | None:
    """Return why nothing may be sent, in a word and in a sentence; None if it may."""
    if questions.offline:
        return "offline", "not looked at: --offline"
    until = None if questions.in_downtime else downtime_until(device, questions.daemon)
    if until is None:
        return None
    return "downtime", f"not looked at: it is downtime until {until}; --in-downtime asks all the same"


async def _browse(device: Device, *, offline: bool) -> tuple[Candidate, ...] | None:
    """Return who announces himself; None where that is not looked for."""
    if offline or not looks_around(device):
        return None
    from margod.discovery.browser import look  # zeroconf: only where the WFM is not known

    return await look(device.config.discovery.type, BROWSE_LIMIT)


class _Online:
    """The looks that need the network, one after the other; the first that fails lets those after it be skipped."""

    def __init__(self, device: Device, env: Mapping[str, str], now: float) -> None:
        self.lines: list[Line] = []
        self.offset: float | None = None
        self._device, self._env, self._now = device, env, now

    async def look(self, why_not: tuple[str, str] | None) -> None:
        """Look as far as it goes; what is then left is skipped because of what stood in the way."""
        if self._by_records:
            self.lines.append(secrets.look(self._device))
        because, says = (await self._go_on(), "") if why_not is None else why_not
        done = {line.name for line in self.lines}
        names: tuple[str, ...] = ("dns", "tcp", "proxy", "tls", "certificate-api")
        if not self._by_records:
            names = (*names, "signed-request")
        self.lines += [report.skipped(name, because, says) for name in names if name not in done]

    @property
    def _by_records(self) -> bool:
        """Whether a request that proves who asks would have a secret in it: that is not tried out."""
        return self._device.loaded is not None and self._device.generation.desired_state == "git"

    async def _go_on(self) -> str:
        """Return what stood in the way, "" if nothing did."""
        device = self._device
        if device.loaded is None:
            return "configuration"
        if device.place is None:
            return "wfm"
        split = urlsplit(device.place.url)
        host, port = split.hostname or "", split.port or 443
        try:
            proxy = proxies.choose(
                device.config,
                self._env,
                device.place.url,
                discovered=bool(device.place.addresses),
                user=device.user,
            )
        except MargodError as error:
            self.lines.append(report.error("proxy", error))
            return "proxy"
        next_host, door = host, port
        if proxy is not None:
            split = urlsplit(proxy.address)
            next_host, door = split.hostname or "", split.port or 80
        addresses = () if proxy else device.place.addresses
        if addresses:
            self.lines.append(report.ok("dns", "discovered, no name server is asked", facts={"addresses": addresses}))
        else:
            addresses, seconds, failure = await network.look_up(next_host, door)
            failure = _blamed(proxy, failure)
            self.lines.append(judge.names(next_host, addresses, seconds, failure))
            if failure is not None:
                return "dns"
        tried = await network.connect_each(addresses, door)
        tried = tuple(replace(each, failure=_blamed(proxy, each.failure)) for each in tried)
        self.lines.append(judge.connections(tried, door))
        open_ones = [each.address for each in tried if each.failure is None]
        if not open_ones:
            return "tcp"
        way = Way(host, port, open_ones[0], door, proxy)
        if because := await self._proxy(way):
            return because
        because, url = await self._handshake(way, device.place)
        if because or device.context is None:
            return because
        client = WfmClient(
            device.context,
            timeout=REQUEST_LIMIT,
            proxy=proxy,
            resolver=at(open_ones) if device.place.addresses and proxy is None else None,
            any_name=device.place.any_name,
        )
        try:
            return await self._ask(client, url)
        finally:
            await client.close()

    async def _proxy(self, way: Way) -> str:
        if way.proxy is None:
            self.lines.append(report.ok("proxy", "none"))
            return ""
        facts: dict[str, report.Fact] = {"proxy": way.proxy.address}
        failure = await network.knock(way, way.proxy)
        if failure is None:
            self.lines.append(report.ok("proxy", f"{way.proxy.address} opens the way to the WFM", facts=facts))
            return ""
        self.lines.append(report.failed("proxy", failure[0], f"{way.proxy.address}: {failure[1]}", facts=facts))
        return "proxy"

    async def _handshake(self, way: Way, place: Place) -> tuple[str, str]:
        """Return what stood in the way, and the URL under whose name the WFM is known: one of the place's."""
        url, context = place.url, self._device.context
        found = await network.shake_hands(way, context)
        for other in place.urls[1:]:
            if found.failure is None or found.failure[0] is not reasons.TLS_WRONG_HOST:
                break
            url = other
            found = await network.shake_hands(replace(way, host=urlsplit(url).hostname or ""), context)
        if context is not None:
            line = judge.tls(found, self._now)
            self.lines.append(line)
            return ("tls" if line.verdict is Verdict.FAILED else ""), url
        message = "because of root-ca: there is nothing to verify the WFM with yet"
        if found.seen is not None:
            seen = found.seen
            message += f"; unverified, it presents {seen.subject}, issued by {seen.issuer}; {seen.fingerprint}"
        self.lines.append(report.skipped("tls", "root-ca", message))
        return "root-ca", url

    async def _ask(self, client: WfmClient, url: str) -> str:
        generation, device = self._device.generation, self._device
        context = Context(b"", {}, NOBODY)
        request = generation.request(Step.FETCH_TRUST, "spec", context)
        result = await client.send(generation.authenticate(request, url, _NoSigner(), 0))
        if isinstance(result, Answer):
            self.offset = clock_offset(result)
        self.lines.append(self._certificate_api(request, result, context))
        if not isinstance(result, Answer):
            return "certificate-api"
        if self._by_records:
            return ""
        if device.records is None:
            return "state-directory"
        if device.client_id is None:
            self.lines.append(report.skipped("signed-request", "enrolment", "this device is not enrolled yet"))
        elif device.identity is None:
            return "identity"
        else:
            asked = manifest_request(device.client_id)
            sent = generation.authenticate(asked, url, device.identity.signer, self._created())
            self.lines.append(judge.signed(await client.send(sent), asked.path))
        return ""

    def _created(self) -> int:
        """Return the time that the daemon's signatures would bear."""
        return int(time.time() + correction(self.offset, clock.synchronised()))

    def _certificate_api(self, request: Request, result: Answer | TransportFailure, context: Context) -> Line:
        """Judge the download of the root CA; without effect where another source vouches, so it only warns then."""
        name, device = "certificate-api", self._device
        facts: dict[str, report.Fact] = {"request": f"GET {request.path}"}
        outcome = device.generation.outcome(Step.FETCH_TRUST, "spec", context, result)
        vouched = bool(device.anchors) and isinstance(result, Answer) and outcome.kind is not Kind.BUSY
        if outcome.kind is not Kind.ACCEPTED or not isinstance(result, Answer):
            refused = classify.refusal(Step.FETCH_TRUST, result)
            judged = report.warning if vouched else report.failed
            return judged(name, refused.reason, refused.detail, facts=facts)
        try:
            offered = trust.decode_answer(result.body, self._now)
        except TrustError as error:
            return report.error(name, error, Verdict.WARNING if vouched else Verdict.FAILED, facts=facts)
        facts["fingerprints"] = tuple(anchor.fingerprint for anchor in offered)
        known = {anchor.fingerprint for anchor in device.anchors}
        said = "; ".join(f"{anchor.subject}, {anchor.fingerprint}" for anchor in offered)
        if not known:
            return report.ok(name, f"offers {said}", facts=facts)
        if known.isdisjoint(anchor.fingerprint for anchor in offered):
            return report.warning(name, reasons.CA_DIFFERS, f"offered: {said}", facts=facts)
        return report.ok(name, "offers the root CA that it is verified with", facts=facts)


def _blamed(proxy: Proxy | None, failure: tuple[Reason, str] | None) -> tuple[Reason, str] | None:
    """Return the failure to reach the next host; behind a proxy that is the proxy's, not the WFM's."""
    if proxy is None or failure is None:
        return failure
    return reasons.PROXY_UNREACHABLE, f"{proxy.address}: {failure[1]}"


class _NoSigner:
    """Stands where a request is not signed."""

    algorithm = ""
    key_id = ""

    def sign(self, data: bytes) -> bytes:
        """Nobody asks."""
        raise NotImplementedError


def _socket(device: Device, daemon: Callable[[str], Client]) -> Line:
    name = "local-socket"
    try:
        status = daemon(str(device.config.local.directory)).status()
    except DaemonUnreachable as error:
        if error.reason is reasons.NOT_PERMITTED:
            return Line(name, Verdict.SKIPPED, error.message, error.reason, "", error.hint, "rights")
        return report.error(name, error)
    except MargodError as error:
        return report.error(name, error)
    fingerprint = device.identity.fingerprint if device.identity else None
    # Of a discovered WFM the daemon may know a newer address.
    url = device.place.url if device.place and not device.place.instance else None
    try:
        return judge.daemon(status, url=url, fingerprint=fingerprint, client_id=device.client_id)
    except (KeyError, TypeError, AttributeError):
        return report.failed(name, reasons.DAEMON_UNREACHABLE, "what answers there has another form of status")
