"""The one request that is ever made without knowing who answers: the download of a root CA that is compared afterwards.

No context that does not verify leaves this module, and `WfmClient` takes none, so that nothing else can be sent over
such a connection: no body, no signature, no client id, no second request.
"""

from __future__ import annotations

import ssl
from typing import Final

from margod.model.wire import Answer, Auth, Request, SignedRequest, TransportFailure
from margod.wfm.client import WfmClient
from margod.wfm.proxy import Proxy
from margod.wfm.resolver import Resolver

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class _Unverified(WfmClient):
    """A client for one exchange with anybody."""

    _verifies = False


async def fetch_unverified(
    base: str,
    request: Request,
    *,
    versions: tuple[str, str],
    seconds: float,
    proxy: Proxy | None = None,
    resolver: Resolver | None = None,
) -> Answer | TransportFailure:
    """GET `base` + the request's path from whoever answers there, over a connection of its own that is closed after.

    `versions` are the lowest and highest of TLS (`1.2`, `1.3`), `seconds` bounds it all. Nothing is proven by the
    answer: every byte may be an attacker's. Raises ValueError for anything but an unsigned GET without a body.
    """
    if request.method != "GET" or request.auth is not Auth.NONE or request.body:
        raise ValueError("only an unsigned GET without a body may go to a server that is not verified")
    headers = {name: value for name, value in request.headers.items() if name in ("Accept", "User-Agent")}
    client = _Unverified(_context(*versions), timeout=seconds, proxy=proxy, resolver=resolver)
    try:
        return await client.send(SignedRequest("GET", base + request.path, headers, b"", request.limit))
    finally:
        await client.close()


def _context(minimum: str, maximum: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version, context.maximum_version = _VERSIONS[minimum], _VERSIONS[maximum]
    return context
