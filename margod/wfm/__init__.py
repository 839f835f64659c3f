"""The HTTP client to the WFM: a `SignedRequest` goes in, an `Answer` or a `TransportFailure` comes out.

Bounds every exchange in time and size, follows nothing, stores nothing, decides nothing about what an answer means.
The only room that knows aiohttp's client; imports `model` alone of ours.
"""

from __future__ import annotations

from margod.wfm.client import WfmClient
from margod.wfm.proxy import Proxy
from margod.wfm.resolver import Resolver, at
from margod.wfm.timeless import fetch_timeless
from margod.wfm.unverified import fetch_unverified

__all__ = ["Proxy", "Resolver", "WfmClient", "at", "fetch_timeless", "fetch_unverified"]
