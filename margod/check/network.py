"""Looking at the way to the WFM: names, addresses, TLS, two GETs. Each look is bounded in time."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from contextlib import suppress
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from margod.check.judge import Handshake, Seen, Tried
from margod.model import reasons
from margod.model.reasons import Reason
from margod.model.text import clean
from margod.wfm import Proxy
from margod.wfm.failures import handshake_failure
from margod.wfm.handshake import Refused, Way, connected, look, shake, tunnel
from margod.wfm.resolver import Resolver

DNS_LIMIT: Final = 6.0
"""Seconds, as all here; the sum of what can follow each other, with the two GETs and the local socket, is 30."""
TLS_LIMIT: Final = 5.0
UNVERIFIED_LIMIT: Final = 3.0
PROXY_LIMIT: Final = 3.0
ADDRESSES_TRIED: Final = 8
_NAMES_SHOWN: Final = 8


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
    shown = await _shake(way, None, UNVERIFIED_LIMIT)
    return Handshake(None, None, failure) if isinstance(shown, tuple) else Handshake(shown.version, shown.seen, failure)


async def knock(way: Way, proxy: Proxy) -> tuple[Reason, str] | None:
    """Ask the proxy for a tunnel to the WFM and close it; return why there is none."""
    try:
        async with asyncio.timeout(PROXY_LIMIT):
            plain = await connected(way.address, way.door)
            try:
                await tunnel(plain, way, proxy)
            finally:
                plain.close()
    except Refused as refused:
        return refused.failure
    except TimeoutError:
        return reasons.PROXY_FAILED, f"no answer in {PROXY_LIMIT:.0f} s"
    except OSError as error:
        return reasons.PROXY_FAILED, clean(error.strerror or str(error))
    return None


async def _connect_one(address: str, port: int) -> Tried:
    began = time.monotonic()
    try:
        (await connected(address, port)).close()
    except OSError as error:
        return Tried(address, time.monotonic() - began, handshake_failure(error))
    return Tried(address, time.monotonic() - began)


async def _shake(way: Way, context: ssl.SSLContext | None, limit: float) -> Handshake | tuple[Reason, str]:
    found = await (look(way, limit) if context is None else shake(way, context, limit))
    if isinstance(found, tuple):
        return found
    return Handshake(found.version, None if found.leaf is None else _seen(found.leaf))


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
