"""The times of the server's certificates, compared with a clock that is not OpenSSL's.

OpenSSL verifies by the system's clock. Where that cannot be right, the context leaves the times out (NO_CHECK_TIME) and
everything else in, and the times of exactly the chain that OpenSSL built are compared here, before a byte of HTTP.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509

from margod.model import reasons
from margod.model.reasons import Reason
from margod.model.text import timestamp

NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME (x509_vfy.h, OpenSSL 1.1.1 and later); Python has no name for it."""
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class OutsideValidity(Exception):
    """A certificate of the chain is not valid now, or the chain cannot be read; carries reason and detail."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.failure = (reason, detail)


def leaf_period(found: ssl.SSLObject | None) -> tuple[float, float] | None:
    """Return first and last moment of the server's certificate, Unix seconds; None if it was not verified."""
    certificate = found.getpeercert() if found is not None else None
    try:
        if not certificate:
            return None
        return _moment(str(certificate["notBefore"])), _moment(str(certificate["notAfter"]))
    except (KeyError, ValueError):
        return None


def _moment(text: str) -> float:
    """Return the Unix seconds of `Jun  9 08:05:01 2026 GMT`, as ssl.cert_time_to_seconds, which loads strptime."""
    month, day, clock, year, zone = text.split()
    if zone != "GMT":
        raise ValueError(text)
    hour, minute, second = (int(part) for part in clock.split(":"))
    at = datetime(int(year), _MONTHS.index(month) + 1, int(day), hour, minute, second, tzinfo=UTC)
    return at.timestamp()


def require_valid(found: ssl.SSLObject | None, now: float) -> None:
    """Raise OutsideValidity unless every certificate of the verified chain is valid at `now`, Unix seconds."""
    for der in _chain(found):
        certificate = x509.load_der_x509_certificate(der)
        begin, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
        if now < begin:
            raise OutsideValidity(reasons.TLS_NOT_YET_VALID, f"valid from {timestamp(begin)}, it is {timestamp(now)}")
        if now > end:
            raise OutsideValidity(reasons.TLS_EXPIRED, f"valid until {timestamp(end)}, it is {timestamp(now)}")


def _chain(found: ssl.SSLObject | None) -> list[bytes]:
    """Return the verified chain, DER. Raises OutsideValidity if it cannot be had: what is not seen is not valid."""
    chain: list[bytes] = []
    try:
        if hasattr(found, "get_verified_chain"):  # Python 3.13
            chain = list(found.get_verified_chain())  # type: ignore[union-attr]  # typed for 3.11
        else:  # the same function, which 3.10 to 3.12 have without a public name
            inner: Any = getattr(found, "_sslobj", None)
            chain = [bytes(ssl.PEM_cert_to_DER_cert(each.public_bytes())) for each in inner.get_verified_chain()]
    except (AttributeError, ValueError, TypeError, ssl.SSLError) as error:
        raise OutsideValidity(reasons.TLS_UNVERIFIED, "the server's chain cannot be read") from error
    if not chain:
        raise OutsideValidity(reasons.TLS_UNVERIFIED, "the server's chain cannot be read")
    return chain
