"""The certificate that a device onboards with: how it is encoded, and what RFC 5280 asks of it."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from margod.devwfm.keys import PUBLIC_KEYS, PublicKey

LIMIT: Final = 65_536
"""Characters of the field that are looked at."""

MINIMUM_BITS: Final = {"RSA": 2048, "EC": 256}


class CertificateInvalid(Exception):
    """The text is not a certificate in the form that is expected (400)."""


class CertificateUnacceptable(Exception):
    """It is a certificate, but not one that RFC 5280 or the specification allows (422)."""


@dataclass(frozen=True, slots=True)
class DeviceCertificate:
    """A parsed certificate. `fingerprint` is the lower-case hex SHA-256 of its DER."""

    der: bytes
    fingerprint: str
    subject: str


def decode(text: str, *, encodings: tuple[str, ...] = ("der", "pem")) -> DeviceCertificate:
    """Read base64 of a DER or PEM certificate; of several the first. Raises `CertificateInvalid`."""
    if len(text) > LIMIT:
        raise CertificateInvalid("certificate is too long")
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise CertificateInvalid("certificate is not base64") from None
    form = "pem" if data.lstrip().startswith(b"-----BEGIN") else "der"
    if form not in encodings:
        raise CertificateInvalid(f"certificate is not base64 of {' or '.join(encodings).upper()}")
    return parse(data)


def parse(data: bytes) -> DeviceCertificate:
    """Read a DER or PEM certificate; of several the first. Raises `CertificateInvalid`."""
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            certificate = x509.load_pem_x509_certificate(data)
        else:
            certificate = x509.load_der_x509_certificate(data)
        subject = certificate.subject.rfc4514_string()
    except ValueError:
        raise CertificateInvalid("certificate cannot be parsed") from None
    der = certificate.public_bytes(Encoding.DER)
    return DeviceCertificate(der, hashlib.sha256(der).hexdigest(), subject)


def public_key(der: bytes) -> PublicKey:
    """Return the certificate's key. Raises `CertificateUnacceptable` if no signature algorithm knows its kind."""
    try:
        key = x509.load_der_x509_certificate(der).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateUnacceptable("certificate has a key that is not known") from None
    if not isinstance(key, PUBLIC_KEYS):
        raise CertificateUnacceptable("certificate has a key of a kind that cannot sign")
    return key


def check(der: bytes, now: float) -> None:
    """Apply the rules that end in 422; raises `CertificateUnacceptable` naming the first that is broken."""
    certificate = x509.load_der_x509_certificate(der)
    at = datetime.fromtimestamp(now, UTC)
    if at < certificate.not_valid_before_utc:
        raise CertificateUnacceptable("certificate is not valid yet")
    if at > certificate.not_valid_after_utc:
        raise CertificateUnacceptable("certificate has expired")
    if not certificate.subject.rdns and not _has_alternative_name(certificate):
        raise CertificateUnacceptable("certificate has neither a subject nor a subject alternative name")
    key = public_key(der)
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MINIMUM_BITS["RSA"]:
        raise CertificateUnacceptable(f"RSA key of {key.key_size} bits is below 2048")
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < MINIMUM_BITS["EC"]:
        raise CertificateUnacceptable(f"EC key on {key.curve.name} is below P-256")


def _has_alternative_name(certificate: x509.Certificate) -> bool:
    try:
        return bool(list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value))
    except (x509.ExtensionNotFound, ValueError):
        return False
