"""Trust anchors: certificates that may vouch for a WFM, told apart from everything else that people put into files."""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
import warnings
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning

from margod.model import reasons
from margod.model.errors import TrustError
from margod.model.reasons import Reason
from margod.model.text import clean, timestamp

LIMIT: Final = 64 * 1024
"""Bytes of certificates that are looked at: some forty roots."""
KEPT_LIMIT: Final = 4 * LIMIT
"""The same of those that the vault has: more than was ever put there."""

ROOT_LIMIT: Final = 8 * 1024
"""Bytes (DER) of one root that is taken from the network; ordinary ones have one or two thousand."""
MOST: Final = 8
"""Roots that a device keeps which come from the network."""

_MIN_RSA_BITS: Final = 2048
"""OpenSSL at security level 2, which Python sets, verifies no chain over a shorter key."""

_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_LABEL: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")


@dataclass(frozen=True, slots=True)
class Anchor:
    """One CA certificate that the operator, or a channel that was already trusted, vouched for."""

    der: bytes
    subject: str
    """RFC 4514, cleaned."""
    fingerprint: str
    """Lower-case hex SHA-256 of `der`."""
    not_before: float
    """Unix seconds, as `not_after`."""
    not_after: float
    spki: str = ""
    """Lower-case hex SHA-256 of the DER SubjectPublicKeyInfo; "" for a kind of key that cannot be read."""


def decode_certificates(
    data: bytes,
    now: float,
    *,
    reason: Reason = reasons.CA_FILE_INVALID,
    name: str = "the CA certificate",
    pass_over: bool = False,
    limit: int = LIMIT,
) -> tuple[Anchor, ...]:
    """Return the CA certificates in `data`, PEM (with or without text around) or DER, one or several, without repeats.

    Each has to be a CA: `CA:TRUE` and, if it has a KeyUsage, keyCertSign (RFC 5280, 4.2.1.9 and 4.2.1.3), or a
    self-issued X.509 v1 certificate, which cannot say so. At least one is a root (self-issued), or no chain could ever
    end, and at least one has not expired at `now` (Unix seconds). One that is not valid yet is taken: that may be our
    clock, and TLS looks again. `pass_over`: what cannot be an anchor is left out if anything else remains. Raises
    TrustError(`reason`) with a message that begins with `name`.
    """
    if len(data) > limit:
        raise TrustError(reason, f"{name} is larger than {limit // 1024} KiB", hint=_too_large_hint(reason))
    certificates = _parse(data, reason, name)
    if pass_over:
        certificates = [each for each in certificates if not _not_an_anchor(each)] or certificates
    for number, certificate in enumerate(certificates, 1):
        if problem := _not_an_anchor(certificate):
            which = f" (certificate {number} of {len(certificates)})" if len(certificates) > 1 else ""
            raise TrustError(reason, f"{name}{which}: {_subject(certificate)} {problem}")
    if not any(certificate.subject == certificate.issuer for certificate in certificates):
        issuer = clean(certificates[-1].issuer.rfc4514_string())
        raise TrustError(reason, f"{name} holds intermediate CAs only; the root CA {issuer} is missing")
    anchors = tuple(dict.fromkeys(_anchor(certificate) for certificate in certificates))
    if all(now > anchor.not_after for anchor in anchors):
        last = max(anchors, key=lambda anchor: anchor.not_after)
        raise TrustError(
            reason,
            f"{name}: {last.subject} expired at {timestamp(last.not_after)}; this device's clock says {timestamp(now)}",
            hint="Check this device's clock (`date`), then get the WFM's present root CA from its operator.",
        )
    return anchors


def to_pem(anchors: Iterable[Anchor]) -> bytes:
    """Return the certificates as PEM, in order: the vault's record, and what `decode_certificates` takes again."""
    return "".join(ssl.DER_cert_to_PEM_cert(anchor.der) for anchor in anchors).encode("ascii")


def fingerprints(pem: bytes) -> tuple[str, ...]:
    """Return the fingerprints of the certificates in what `to_pem` wrote, in order, without parsing them."""
    found = []
    for body in _PEM.findall(pem):
        try:
            found.append(hashlib.sha256(base64.b64decode(body)).hexdigest())
        except ValueError:
            continue
    return tuple(found)


def keepable(anchors: Collection[Anchor]) -> bool:
    """Return whether these are few and short enough to be kept: `decode_certificates` reads them again."""
    return len(anchors) <= MOST and len(to_pem(anchors)) <= LIMIT


def _parse(data: bytes, reason: Reason, name: str) -> list[x509.Certificate]:
    if not data.strip():
        raise TrustError(reason, f"{name} is empty")
    labels = [label.decode("ascii") for label in _LABEL.findall(data)]
    if any(label.endswith("PRIVATE KEY") for label in labels):
        raise TrustError(reason, f"{name} holds a private key, which belongs to nobody but the CA")
    if odd := sorted(set(labels) - {"CERTIFICATE"}):
        raise TrustError(reason, f"{name} holds something else than certificates: {', '.join(odd)}")
    try:
        with warnings.catch_warnings():  # oddities of old CAs (a serial of 0) are theirs; OpenSSL verifies the chain
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            if labels:
                certificates = x509.load_pem_x509_certificates(data)
            else:
                certificates = [x509.load_der_x509_certificate(piece) for piece in _split_der(data)]
    except (ValueError, TypeError, x509.InvalidVersion):
        what = "a damaged certificate" if labels else "no certificate, neither PEM nor DER"
        raise TrustError(reason, f"{name} holds {what}") from None
    if labels and len(certificates) != len(labels):
        raise TrustError(
            reason, f"{name} is cut short: {len(labels)} certificates begin in it, {len(certificates)} end"
        )
    return certificates


def _split_der(data: bytes) -> list[bytes]:
    """Split concatenated DER SEQUENCEs (X.690, 8.1.3); ValueError if `data` is anything else."""
    pieces = []
    at = 0
    while at < len(data):
        # A certificate is longer than 127 and, within our limit, shorter than 2^16 octets: two forms of length remain.
        head = data[at : at + 4]
        octets = {0x81: 1, 0x82: 2}.get(head[1], 0) if len(head) == 4 and head[0] == 0x30 else 0
        end = at + 2 + octets + int.from_bytes(head[2 : 2 + octets], "big")
        if not octets or end > len(data):
            raise ValueError("not a sequence of DER certificates")
        pieces.append(data[at:end])
        at = end
    return pieces


def _not_an_anchor(certificate: x509.Certificate) -> str:
    """Return why a certificate cannot vouch for others, or an empty string. Reads every field that is used later."""
    try:
        _ = _anchor(certificate), certificate.subject, certificate.issuer
        if certificate.version is x509.Version.v1:
            ok = certificate.subject == certificate.issuer
            return _weak_key(certificate) if ok else "is not a CA: a version 1 certificate that another one issued"
        extensions = certificate.extensions
    except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return "cannot be read: a field of it is malformed"
    try:
        is_ca = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_ca = False
    if not is_ca:
        return "is not a CA but the certificate of a server or device; the root CA that issued it is asked for"
    try:
        signs = extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        signs = True
    return _weak_key(certificate) if signs else "is a CA that may not sign certificates (KeyUsage)"


def _weak_key(certificate: x509.Certificate) -> str:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return ""  # a kind of key that OpenSSL may know all the same
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        return f"has an RSA key of {key.key_size} bits; TLS here takes {_MIN_RSA_BITS} or more"
    return ""


def _anchor(certificate: x509.Certificate) -> Anchor:
    der = certificate.public_bytes(Encoding.DER)
    return Anchor(
        der=der,
        subject=_subject(certificate),
        fingerprint=hashlib.sha256(der).hexdigest(),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        spki=_spki(certificate),
    )


def _spki(certificate: x509.Certificate) -> str:
    try:
        der = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return ""
    return hashlib.sha256(der).hexdigest()


def _subject(certificate: x509.Certificate) -> str:
    try:
        return clean(certificate.subject.rfc4514_string()) or "(no subject)"
    except (ValueError, TypeError):  # a TypeError where a value is no text (BIT STRING)
        return "(unreadable subject)"


def _too_large_hint(reason: Reason) -> str:
    if reason is reasons.CA_FILE_INVALID:
        return "Name a file with the WFM's root CA alone; for the system's CA store set trust.system: true."
    return ""
