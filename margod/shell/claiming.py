"""Whether an enrolment of another place may hold here: the WFM may have moved, and this device with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from margod import identity as identities
from margod import trust
from margod.model.capabilities import Capabilities
from margod.model.errors import IdentityError, TrustError
from margod.protocols import Context
from margod.shell import anchoring, moving
from margod.shell.records import ANCHORS
from margod.shell.situation import Claim


def may_claim(records: Mapping[str, bytes], source: str) -> bool:
    """Return whether there is such an enrolment, and a root CA (of this `source`) that can vouch for the place."""
    return moving.claim(records) is not None and source != anchoring.FIRST_USE


def former(
    records: Mapping[str, bytes],
    source: str,
    anchors: tuple[trust.Anchor, ...],
    now: float,
    capabilities: Callable[[], Capabilities],
    *,
    retired: Collection[str],
) -> Claim | None:
    """Return the enrolment of another place that the same root CA may vouch for here. `now`: Unix seconds.

    Roots that are `retired` (fingerprints) vouched for it once and do not count.
    """
    found = moving.claim(records)
    if found is None or not may_claim(records, source):
        return None
    try:
        then = trust.decode_certificates(found.records.get(ANCHORS, b""), now)
        if {anchor.fingerprint for anchor in then} - set(retired) != {anchor.fingerprint for anchor in anchors}:
            return None
        identity = identities.load(found.records)
    except (TrustError, IdentityError):
        return None
    context = Context(identity.certificate, found.records, capabilities())
    return Claim(identity, context, moving.claimed(records, found))
