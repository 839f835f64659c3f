"""The one request that is made while the time is not known: the server's chain is verified, but for its times.

Nothing but an unsigned GET leaves, and nothing of the answer may be used before the chain was verified again at the
time that it gave (`WfmClient` with a `clock`).
"""

from __future__ import annotations

import ssl
from typing import ClassVar

from margod.model.wire import Answer, Auth, Request, SignedRequest, TransportFailure
from margod.wfm.client import WfmClient
from margod.wfm.proxy import Proxy
from margod.wfm.resolver import Resolver


class _Timeless(WfmClient):
    """A client for one exchange with somebody whose certificate may have expired."""

    _at_any_time: ClassVar[bool] = True


async def fetch_timeless(
    context: ssl.SSLContext,
    base: str,
    request: Request,
    *,
    seconds: float,
    proxy: Proxy | None = None,
    resolver: Resolver | None = None,
    any_name: bool = False,
) -> Answer | TransportFailure:
    """GET `base` + the request's path over a connection of its own. `context` verifies everything but the times.

    Raises ValueError for anything but an unsigned GET without a body.
    """
    if request.method != "GET" or request.auth is not Auth.NONE or request.body:
        raise ValueError("only an unsigned GET without a body may go out while the time is not known")
    headers = {name: value for name, value in request.headers.items() if name in ("Accept", "User-Agent")}
    client = _Timeless(context, timeout=seconds, proxy=proxy, resolver=resolver, any_name=any_name)
    try:
        return await client.send(SignedRequest("GET", base + request.path, headers, b"", request.limit))
    finally:
        await client.close()
