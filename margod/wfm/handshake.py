"""A TLS handshake and nothing after it: who is at the other end is looked at, and not one byte of HTTP is sent."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, SOCK_STREAM, socket
from typing import Final

from margod.model import reasons
from margod.model.reasons import Reason
from margod.model.text import clean
from margod.wfm.failures import handshake_failure
from margod.wfm.proxy import Proxy

CONNECT_LIMIT: Final = 4.0
"""Seconds for a TCP connection."""
_PROXY_HEAD: Final = 16_384
_NO_ROUTE: Final = frozenset({500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Way:
    """How to get to the WFM `host`, `port`: `address` and `door` are its own, or those of the `proxy`."""

    host: str
    port: int
    address: str
    door: int
    proxy: Proxy | None = None


@dataclass(frozen=True, slots=True)
class Shaken:
    """A handshake that came about: the TLS version, and the server's own certificate as DER."""

    version: str | None
    leaf: bytes | None


class Refused(Exception):
    """The proxy did not open the way; carries reason and detail."""

    def __init__(self, reason: Reason, detail: str) -> None:
        """Take what the proxy is to blame for."""
        super().__init__(detail)
        self.failure = (reason, detail)


async def shake(way: Way, context: ssl.SSLContext, limit: float) -> Shaken | tuple[Reason, str]:
    """Do a handshake by `context` within `limit` seconds and close; return reason and detail where it fails."""
    try:
        async with asyncio.timeout(limit):
            plain = await connected(way.address, way.door)
            try:
                if way.proxy is not None:
                    await tunnel(plain, way, way.proxy)
                transport, _ = await asyncio.get_running_loop().create_connection(
                    asyncio.Protocol, sock=plain, ssl=context, server_hostname=way.host
                )
            except BaseException:
                plain.close()
                raise
    except Refused as refused:
        return refused.failure
    except OSError as error:
        return handshake_failure(error)
    except ValueError as error:  # a name that TLS does not take
        return reasons.TLS_FAILED, clean(str(error))
    try:
        secured: ssl.SSLObject = transport.get_extra_info("ssl_object")
        return Shaken(secured.version(), secured.getpeercert(binary_form=True))
    finally:
        transport.abort()


async def look(way: Way, limit: float) -> Shaken | tuple[Reason, str]:
    """Do one that verifies nothing: what comes of it shows who is there and proves nothing."""
    return await shake(way, _verifying_nothing(), limit)


async def connected(address: str, port: int) -> socket:
    """Return a connected socket. Raises OSError; TimeoutError is one."""
    plain = socket(AF_INET6 if ":" in address else AF_INET, SOCK_STREAM)
    try:
        plain.setblocking(False)
        async with asyncio.timeout(CONNECT_LIMIT):
            await asyncio.get_running_loop().sock_connect(plain, (address, port))
    except BaseException:
        plain.close()
        raise
    return plain


async def tunnel(plain: socket, way: Way, proxy: Proxy) -> None:
    """Have the proxy connect to the WFM (RFC 9110, 9.3.6). Raises Refused or OSError."""
    loop = asyncio.get_running_loop()
    authority = f"[{way.host}]:{way.port}" if ":" in way.host else f"{way.host}:{way.port}"
    fields = "".join(f"{name}: {value}\r\n" for name, value in proxy.headers.items())
    await loop.sock_sendall(plain, f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        piece = await loop.sock_recv(plain, 4096)
        head += piece
        if not piece or len(head) > _PROXY_HEAD:
            raise Refused(reasons.PROXY_FAILED, "what answers is no HTTP proxy")
    line = head.split(b"\r\n", 1)[0]
    version, _, rest = line.partition(b" ")
    if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
        raise Refused(reasons.PROXY_FAILED, "what answers is no HTTP proxy")
    status = int(rest[:3])
    if 200 <= status < 300:
        return
    if status == 407:
        reason = reasons.PROXY_CREDENTIALS_REFUSED
    elif status in _NO_ROUTE:
        reason = reasons.PROXY_NO_ROUTE
    else:
        reason = reasons.PROXY_REFUSED if 400 <= status < 600 else reasons.PROXY_FAILED
    raise Refused(reason, f"HTTP {status}")  # its own words may repeat the credentials


def _verifying_nothing() -> ssl.SSLContext:
    """For looking at the server's certificate only; it leaves this module in no form."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
