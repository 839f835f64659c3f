"""Looking at the way to the WFM: names, addresses, TLS, two GETs. Each look is bounded in time."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from margod.check.judge import Handshake, Seen, Tried
from margod.model import reasons
from margod.model.reasons import Reason
from margod.model.text import clean
from margod.wfm import Proxy
from margod.wfm.failures import handshake_failure
from margod.wfm.resolver import Resolver

DNS_LIMIT: Final = 6.0
"""Seconds, as all here; the sum of what can follow each other, with the two GETs and the local socket, is 30."""
TCP_LIMIT: Final = 4.0
TLS_LIMIT: Final = 5.0
UNVERIFIED_LIMIT: Final = 3.0
PROXY_LIMIT: Final = 3.0
ADDRESSES_TRIED: Final = 8
_NAMES_SHOWN: Final = 8
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


class Refused(Exception):
    """The proxy did not open the way; carries reason and detail."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.failure = (reason, detail)


async def look_up(host: str, port: int) -> tuple[tuple[str, ...], float, tuple[Reason, str] | None]:
    """Return addresses, seconds, and the failure if there was one."""
    began = time.monotonic()
    resolver = Resolver()
    try:
        async with asyncio.timeout(DNS_LIMIT):
            found = await resolver.resolve(host, port)
    except TimeoutError:
        said = f"no answer from the name servers in {DNS_LIMIT:.0f} s"
        return (), time.monotonic() - began, (reasons.DNS_FAILED, said)
    except OSError as error:
        return (), time.monotonic() - began, (reasons.DNS_FAILED, clean(error.strerror or str(error)))
    finally:
        await resolver.close()
    return tuple(each["host"] for each in found)[:ADDRESSES_TRIED], time.monotonic() - began, None


async def connect_each(addresses: tuple[str, ...], port: int) -> tuple[Tried, ...]:
    """Open a TCP connection to every address at the same time, and close them."""
    return tuple(await asyncio.gather(*(_connect_one(address, port) for address in addresses)))


async def shake_hands(way: Way, context: ssl.SSLContext | None) -> Handshake:
    """Do a TLS handshake by `context`; not one byte of HTTP is sent on it.

    Where that fails for the certificate or the version, or if there is no context (nothing to verify with), another
    connection that verifies nothing shows what the server presents; it is closed at once.
    """
    failure: tuple[Reason, str] = (reasons.NO_ANCHOR, "nothing to verify the WFM with")
    if context is not None:
        verified = await _shake(way, context, TLS_LIMIT)
        if not isinstance(verified, tuple) or verified[0] is reasons.TIMED_OUT:
            return Handshake(None, None, verified) if isinstance(verified, tuple) else verified
        failure = verified
    shown = await _shake(way, _verifying_nothing(), UNVERIFIED_LIMIT)
    return Handshake(None, None, failure) if isinstance(shown, tuple) else Handshake(shown.version, shown.seen, failure)


async def knock(way: Way, proxy: Proxy) -> tuple[Reason, str] | None:
    """Ask the proxy for a tunnel to the WFM and close it; return why there is none."""
    try:
        async with asyncio.timeout(PROXY_LIMIT):
            plain = await _connected(way.address, way.door)
            try:
                await _tunnel(plain, way, proxy)
            finally:
                plain.close()
    except Refused as refused:
        return refused.failure
    except TimeoutError:
        return reasons.PROXY_FAILED, f"no answer in {PROXY_LIMIT:.0f} s"
    except OSError as error:
        return reasons.PROXY_FAILED, clean(error.strerror or str(error))
    return None


async def _tunnel(plain: socket.socket, way: Way, proxy: Proxy) -> None:
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


async def _connect_one(address: str, port: int) -> Tried:
    began = time.monotonic()
    try:
        (await _connected(address, port)).close()
    except OSError as error:
        return Tried(address, time.monotonic() - began, handshake_failure(error))
    return Tried(address, time.monotonic() - began)


async def _connected(address: str, port: int) -> socket.socket:
    """Return a connected socket. Raises OSError; TimeoutError is one."""
    plain = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        plain.setblocking(False)
        async with asyncio.timeout(TCP_LIMIT):
            await asyncio.get_running_loop().sock_connect(plain, (address, port))
    except BaseException:
        plain.close()
        raise
    return plain


async def _shake(way: Way, context: ssl.SSLContext, limit: float) -> Handshake | tuple[Reason, str]:
    try:
        async with asyncio.timeout(limit):
            plain = await _connected(way.address, way.door)
            try:
                if way.proxy is not None:
                    await _tunnel(plain, way, way.proxy)
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
        der = secured.getpeercert(binary_form=True)
        return Handshake(secured.version(), None if der is None else _seen(der))
    finally:
        transport.abort()


def _verifying_nothing() -> ssl.SSLContext:
    """For looking at the server's certificate only: whoever gets this context sends nothing through it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _seen(der: bytes) -> Seen | None:
    fingerprint = hashlib.sha256(der).hexdigest()
    names: list[str] = []
    try:
        certificate = x509.load_der_x509_certificate(der)
        with suppress(x509.ExtensionNotFound):
            extension = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
            assert isinstance(extension.value, x509.SubjectAlternativeName)
            names = [clean(str(name.value), 100) for name in extension.value]
        return Seen(
            subject=clean(certificate.subject.rfc4514_string()) or "(no subject)",
            issuer=clean(certificate.issuer.rfc4514_string()) or "(no issuer)",
            fingerprint=fingerprint,
            not_before=certificate.not_valid_before_utc.timestamp(),
            not_after=certificate.not_valid_after_utc.timestamp(),
            names=tuple(names[:_NAMES_SHOWN]),
        )
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return Seen("(unreadable)", "(unreadable)", fingerprint, 0.0, 0.0, ())
