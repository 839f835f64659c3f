"""What a server presents that is not trusted: for a person to look at, and for nothing else."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning

from margod.model.text import clean


@dataclass(frozen=True, slots=True)
class Presented:
    """A server's certificate as it claims to be. Anybody can claim anything."""

    subject: str
    """RFC 4514, cleaned, as `issuer`."""
    issuer: str
    fingerprint: str
    """Lower-case hex SHA-256 of the certificate."""


def read_presented(der: bytes) -> Presented:
    """Return what a certificate says of itself; what cannot be read is said to be so."""
    fingerprint = hashlib.sha256(der).hexdigest()
    try:
        with warnings.catch_warnings():  # as in `decode_certificates`
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            certificate = x509.load_der_x509_certificate(der)
            subject, issuer = (clean(name.rfc4514_string(), 100) for name in (certificate.subject, certificate.issuer))
    except (ValueError, TypeError, x509.InvalidVersion):
        return Presented("(unreadable)", "(unreadable)", fingerprint)
    return Presented(subject or "(no subject)", issuer or "(no issuer)", fingerprint)
