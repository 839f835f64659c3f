"""The download of a root CA from nobody knows whom: what of it may have an effect, and what a person is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import structlog

from margod import trust
from margod.model import reasons
from margod.model.errors import TrustError
from margod.model.outcome import Kind, Outcome, Step
from margod.model.text import clean, timestamp
from margod.model.wire import Answer, TransportFailure
from margod.protocols import CA_ANSWER, Context, Generation
from margod.shell import vouching
from margod.shell.anchoring import FIRST_USE, record, tls_settings
from margod.shell.records import ANCHORS, WFM
from margod.shell.situation import Situation
from margod.wfm import Proxy, at, fetch_unverified

if TYPE_CHECKING:
    from margod.config import Config

log: Final = structlog.get_logger()

RETRY_AFTER_CEILING: Final = 300.0
"""The longest Retry-After, seconds, that is obeyed from a server that nobody vouches for (design, Retries)."""

_STATUS: Final = re.compile(r"HTTP [0-9]{3}")


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of it. `offered` are the roots of which a person may accept one."""

    outcome: Outcome
    offered: tuple[trust.Anchor, ...] = ()


async def fetch(
    policy: trust.UnverifiedPolicy,
    generation: Generation,
    context: Context,
    url: str,
    *,
    seconds: float,
    proxy: Proxy | None,
    addresses: tuple[str, ...] = (),
) -> Answer | TransportFailure:
    """Make the one request that such a policy allows, within `seconds`, at `addresses` or else by `proxy`."""
    request, tls = generation.request(Step.FETCH_TRUST, "spec", context), policy.tls
    versions = (tls.minimum, tls.maximum)
    if addresses:
        return await fetch_unverified(url, request, versions=versions, seconds=seconds, resolver=at(addresses))
    return await fetch_unverified(url, request, versions=versions, seconds=seconds, proxy=proxy)


async def judge(
    policy: trust.UnverifiedPolicy,
    outcome: Outcome,
    situation: Situation,
    url: str,
    now: float,
    *,
    protocol: str,
    ask: bool,
) -> Asked:
    """Return the outcome with nothing left of the answer but the certificates that `policy` lets pass.

    `protocol` is wfm.protocol. `ask`: where there are no pins, they are shown to a person; otherwise the one that
    vouches for who answers at the place of `situation` is taken unseen.
    """
    if outcome.kind is not Kind.ACCEPTED:
        # The words are a stranger's: its status and our system's errors remain, its text and long waits do not.
        said = status[0] if (status := _STATUS.match(outcome.detail)) else ""
        wait = None if outcome.retry_after is None else min(outcome.retry_after, RETRY_AFTER_CEILING)
        return Asked(replace(outcome, detail=said if outcome.sent else outcome.detail, retry_after=wait))
    try:
        roots = policy.judge(outcome.records[CA_ANSWER], now)
    except TrustError as error:
        if error.reason is reasons.PIN_MISMATCH:
            log.warning("pin-mismatch", wfm=url, message=error.message, hint=error.hint)
        return Asked(Outcome(Kind.UNTRUSTED, error.reason, clean(error.message)))
    if policy.source == FIRST_USE and ask:
        return Asked(Outcome(Kind.UNTRUSTED, reasons.FIRST_USE_ASKED, _shown(roots, url)), roots)
    if policy.source == FIRST_USE and situation.retired:
        taken = tuple(root for root in roots if root.fingerprint not in situation.retired)
        if not taken:
            return Asked(Outcome(Kind.UNTRUSTED, reasons.ROOT_CA_RETIRED, _shown(roots, url)), roots)
        roots = taken
    if policy.source == FIRST_USE and len(roots) > 1:
        roots = await vouching.vouching(vouching.verified_by(situation, policy.tls, roots), roots)
    for root in roots:
        if policy.source == FIRST_USE:
            log.warning("root-ca-taken-unseen", fingerprint=root.fingerprint, subject=root.subject, wfm=url)
        else:
            log.info("root-ca-taken", fingerprint=root.fingerprint, subject=root.subject)
    records = {ANCHORS: trust.to_pem(roots), WFM: record({"url": url}, protocol, policy.source)}
    return Asked(Outcome(Kind.ACCEPTED, reasons.ENROLLED, records=records))


async def offered(situation: Situation, config: Config, generation: Generation, now: float) -> tuple[trust.Anchor, ...]:
    """Return the roots that are offered at the WFM's address and are no anchors, for a person to compare."""
    place, context = situation.place, situation.context
    if place is None or context is None:
        return ()
    policy = trust.UnverifiedPolicy(FIRST_USE, (), tls_settings(config.tls))
    seconds, proxy = config.wfm.timeout, situation.proxy
    result = await fetch(
        policy, generation, context, place.url, seconds=seconds, proxy=proxy, addresses=place.addresses
    )
    outcome = generation.outcome(Step.FETCH_TRUST, "spec", context, result)
    if outcome.kind is not Kind.ACCEPTED:
        return ()
    try:
        roots = policy.judge(outcome.records[CA_ANSWER], now)
    except TrustError:
        return ()
    has = {anchor.fingerprint for anchor in situation.anchors}
    return tuple(root for root in roots if root.fingerprint not in has)


def _shown(roots: tuple[trust.Anchor, ...], url: str) -> str:
    """Return what a person has to compare: fingerprint, validity and URL, the certificate's own words left out."""
    root = roots[0]
    more = f" (+{len(roots) - 1})" if len(roots) > 1 else ""
    days = f"valid {timestamp(root.not_before)[:10]} to {timestamp(root.not_after)[:10]}"
    return clean(f"{root.fingerprint}{more}, {days}, offered at {url}")
