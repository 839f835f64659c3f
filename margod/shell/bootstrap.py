"""The time from the WFM, for a device with neither clock battery nor NTP (`clock.bootstrap: wfm`).

Only under a root CA that the configuration names: trust.ca_file, or trust.pin. First an unsigned GET over a connection
verified but for its certificates' times, for the WFM's `Date`; then the same again, the whole chain verified at the
later of that time and the floor. Only if both work and agree it is the time. See docs/decisions/0011-clock.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from margod import trust
from margod.engine.timekeeping import AGREES
from margod.model.errors import TrustError
from margod.model.outcome import Step
from margod.model.wire import Answer, TransportFailure
from margod.protocols import CA_ANSWER, Context, Generation
from margod.protocols.answers import clock_offset
from margod.shell import anchoring, first_contact
from margod.shell.situation import NOBODY, Situation
from margod.wfm import WfmClient, at, fetch_timeless

log: Final = structlog.get_logger()

CONFIGURED: Final = (anchoring.CA_FILE, anchoring.PIN)
"""The sources of an anchor that may vouch for the time: nobody on the network had a part in them."""
LIMIT: Final = 10.0
"""Seconds for each request: whoever waits for the time should soon notice that the clock was set."""
EVERY: Final = 10.0
"""Seconds at least between two attempts."""


@dataclass(frozen=True, slots=True)
class Found:
    """It was `wall` (Unix seconds) when the system's clock said `at`."""

    wall: float
    at: float


async def ask(
    situation: Situation, generation: Generation, seconds: float, floor: float, system: Callable[[], float]
) -> Found | None:
    """Return the time, not before `floor`, or None; why not is said in the journal. `system`: the system's clock."""
    place = situation.place
    if place is None or situation.trust_source not in CONFIGURED:
        return None
    for url in place.urls:
        found = await _Asking(situation, generation, seconds, url).ask(floor, system)
        if isinstance(found, Found):
            return found
        log.info("clock-not-found", wfm=url, message=found)
    return None


class _Asking:
    """One attempt at one URL."""

    def __init__(self, situation: Situation, generation: Generation, seconds: float, url: str) -> None:
        assert situation.place is not None
        self._situation, self._generation, self._seconds, self._url = situation, generation, seconds, url
        self._context = Context(b"", {}, NOBODY)
        self._addresses = situation.place.addresses
        self._request = generation.request(Step.FETCH_TRUST, "spec", self._context)

    async def ask(self, floor: float, system: Callable[[], float]) -> Found | str:
        try:
            policy = await self._policy()
            if policy is None:
                return "the root CA that trust.pin names is not offered"
            result = await fetch_timeless(
                policy.ssl_context(check_time=False),
                self._url,
                self._request,
                seconds=self._seconds,
                proxy=None if self._addresses else self._situation.proxy,
                resolver=at(self._addresses) if self._addresses else None,
                any_name=policy.any_name,
            )
            offset = clock_offset(result) if isinstance(result, Answer) else None
            if offset is None:
                return result.reason.says if isinstance(result, TransportFailure) else "the answer bears no date"
            return await self._again(policy, max(floor, system() + offset), system)
        except TrustError as error:
            return error.message

    async def _policy(self) -> trust.TrustPolicy | None:
        """Return what verifies the WFM; with a pin and no root CA yet, that is downloaded and compared."""
        situation = self._situation
        if situation.policy is not None or situation.unverified is None:
            return situation.policy
        unverified = situation.unverified
        result = await first_contact.fetch(
            unverified,
            self._generation,
            self._context,
            self._url,
            seconds=self._seconds,
            proxy=situation.proxy,
            addresses=self._addresses,
        )
        outcome = self._generation.outcome(Step.FETCH_TRUST, "spec", self._context, result)
        if CA_ANSWER not in outcome.records:
            return None
        any_name = situation.place is not None and situation.place.any_name
        anchors = unverified.judge(outcome.records[CA_ANSWER], 0.0)
        return trust.TrustPolicy(anchors, unverified.tls, any_name=any_name)

    async def _again(self, policy: trust.TrustPolicy, wall: float, system: Callable[[], float]) -> Found | str:
        """Verify the whole chain at `wall`, and that the WFM still says so."""
        began = system()
        client = WfmClient(
            policy.ssl_context(check_time=False),
            timeout=self._seconds,
            proxy=None if self._addresses else self._situation.proxy,
            resolver=at(self._addresses) if self._addresses else None,
            any_name=policy.any_name,
            clock=lambda: wall + system() - began,
        )
        try:
            signer = self._situation.identity.signer if self._situation.identity else _NoSigner()
            result = await client.send(self._generation.authenticate(self._request, self._url, signer, 0))
        finally:
            await client.close()
        if isinstance(result, TransportFailure):
            return f"{result.reason.says} {result.detail}"
        offset = clock_offset(result)
        if offset is None or abs(offset) > AGREES:
            return "the WFM's clock is behind what this device knows" if offset else "the answer bears no date"
        return Found(wall, began)


class _NoSigner:
    """Stands where a request is not signed."""

    algorithm = ""
    key_id = ""

    def sign(self, data: bytes) -> bytes:
        """Nobody asks."""
        raise NotImplementedError
