"""The proxy on the way: how it is told to open a tunnel, and what it means when it does not.

A request goes through an HTTP proxy by CONNECT (RFC 9110, 9.3.6): TLS runs between this device and the WFM, and the
proxy sees host and port only. Until the tunnel stands a failure is the proxy's, not the WFM's, and nothing was sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

import aiohttp

from margod import __version__
from margod.model import reasons
from margod.model.reasons import Reason
from margod.model.text import clean
from margod.model.wire import TransportFailure


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy: `http://host:port`, and the value of Proxy-Authorization, empty for none. Its repr is fit to show."""

    address: str
    authorization: str = field(default="", repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What the proxy is told besides host and port."""
        named = {"User-Agent": f"margod/{__version__}"}
        return {**named, "Proxy-Authorization": self.authorization} if self.authorization else named


class Reached(Enum):
    """How far a connection through a proxy came."""

    NOTHING = "nothing"
    PROXY = "proxy"
    WFM = "wfm"


class Connector(aiohttp.TCPConnector):
    """Notes how far the connection being made has come."""

    reached = Reached.NOTHING

    # Both are aiohttp's own insides. If they are called otherwise one day, a failure is blamed on the wrong side, which
    # the tests see; nothing is sent that should not be.

    async def _create_direct_connection(self, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        self.reached = Reached.NOTHING
        made = await super()._create_direct_connection(*arguments, **options)
        self.reached = Reached.PROXY
        return made

    async def _start_tls_connection(self, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        self.reached = Reached.WFM
        return await super()._start_tls_connection(*arguments, **options)


_NO_ROUTE: Final = frozenset({500, 502, 503, 504})
_MAY_BE_THE_PROXYS: Final = (reasons.TLS_UNKNOWN_ISSUER, reasons.TLS_WRONG_HOST, reasons.TLS_UNVERIFIED)


def through_proxy(failure: TransportFailure, error: BaseException, proxy: Proxy, reached: Reached) -> TransportFailure:
    """Return what `error`, which without a proxy would be `failure`, means on the way through `proxy`.

    The detail names the proxy, never its credentials, even if it repeats them itself.
    """
    if failure.sent:
        return failure
    if reached is Reached.WFM:
        may = ", which may inspect TLS" if failure.reason in _MAY_BE_THE_PROXYS else ""
        return replace(failure, detail=clean(f"{failure.detail}; through the proxy {proxy.address}{may}"))
    reason, said = _of_the_proxy(error, failure, reached)
    secret = proxy.authorization.removeprefix("Basic ")
    if secret and (secret in said or any(part in said for part in _decoded(secret))):
        said = "what it said is not shown, because it holds the credentials"
    return TransportFailure(reason, clean(f"{proxy.address}: {said}"), sent=False)


def _of_the_proxy(error: BaseException, failure: TransportFailure, reached: Reached) -> tuple[Reason, str]:
    if reached is Reached.NOTHING:
        return reasons.PROXY_UNREACHABLE, failure.detail
    if not isinstance(error, aiohttp.ClientHttpProxyError):
        said = "it did not open the way in time" if failure.reason is reasons.TIMED_OUT else failure.detail
        return reasons.PROXY_FAILED, said
    said = f"HTTP {error.status} {error.message}"
    if error.status == 407:
        return reasons.PROXY_CREDENTIALS_REFUSED, said
    if error.status in _NO_ROUTE:
        return reasons.PROXY_NO_ROUTE, said
    return (reasons.PROXY_REFUSED if 400 <= error.status < 600 else reasons.PROXY_FAILED), said


def _decoded(secret: str) -> list[str]:
    from base64 import b64decode

    text = b64decode(secret).decode("utf-8", "replace")
    return [part for part in (text, text.partition(":")[2]) if part]
