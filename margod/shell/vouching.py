"""Which of several downloaded roots are kept: those under each of which, alone, the WFM's chain verifies.

An answer is one server's word. What stands in it beside the root that vouches for the WFM now is no anchor by that: it
is staged like any other root when it is offered again (renewing.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from margod import trust
from margod.shell import presenting
from margod.shell.situation import Situation


async def vouching(situation: Situation, offered: Sequence[trust.Anchor]) -> tuple[trust.Anchor, ...]:
    """Return the roots of `offered` under each of which the presented chain verifies, with the CAs that they issued.

    Where there is one root only, or none verifies, the first is returned: the next request says what it is worth. ()
    if all are too long to be kept.
    """
    groups = trust.groups(offered)
    if len(groups) > 1:
        groups = tuple([group for group in groups if await presenting.verifies(situation, *group)]) or groups[:1]
    kept: tuple[trust.Anchor, ...] = ()
    for group in groups:
        both = tuple(dict.fromkeys((*kept, *group)))
        kept = both if trust.keepable(both) else kept
    return kept


def verified_by(situation: Situation, tls: trust.TlsSettings, roots: tuple[trust.Anchor, ...]) -> Situation:
    """Return the situation with `roots` alone to verify the WFM."""
    any_name = situation.place is not None and situation.place.any_name
    return replace(situation, policy=trust.TrustPolicy(roots, tls, any_name=any_name))
