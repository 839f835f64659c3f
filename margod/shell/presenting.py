"""Who is at the WFM's address: a handshake that sends no request, to verify by other anchors or only to look."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from margod import trust
from margod.model.errors import TrustError
from margod.shell.situation import Situation
from margod.trust.presented import Presented, read_presented
from margod.wfm import Resolver
from margod.wfm.handshake import Shaken, Way, look, shake

LIMIT: Final = 5.0
"""Seconds for one handshake, connecting included; as many for the name lookup before it."""
ADDRESSES: Final = 3
"""Addresses that are tried."""


async def verifies(situation: Situation, *anchors: trust.Anchor) -> bool:
    """Return whether the chain that is presented now verifies under `anchors` alone, host name included."""
    if situation.policy is None or situation.place is None:
        return False
    try:
        context = replace(situation.policy, anchors=anchors).ssl_context()
    except TrustError:
        return False
    for url in situation.place.urls:
        for way in await _ways(situation, url):
            if isinstance(await shake(way, context, LIMIT), Shaken):
                return True
    return False


async def who(situation: Situation) -> Presented | None:
    """Return what is presented, whoever it is; None if nothing is."""
    if situation.place is None:
        return None
    for way in await _ways(situation, situation.place.url):
        found = await look(way, LIMIT)
        if isinstance(found, Shaken) and found.leaf is not None:
            return read_presented(found.leaf)
    return None


async def _ways(situation: Situation, url: str) -> list[Way]:
    wfm, proxy = urlsplit(url), situation.proxy
    host, port = wfm.hostname or "", wfm.port or 443
    addresses, door, next_host = situation.place.addresses if situation.place else (), port, host
    if proxy is not None:
        there = urlsplit(proxy.address)
        addresses, door, next_host = (), there.port or 80, there.hostname or ""
    if not addresses:
        resolver = Resolver()
        with suppress(OSError):  # TimeoutError is one; the failure of the request itself says it
            async with asyncio.timeout(LIMIT):
                addresses = tuple(each["host"] for each in await resolver.resolve(next_host, door))
        await resolver.close()
    return [Way(host, port, address, door, proxy) for address in addresses[:ADDRESSES]]
