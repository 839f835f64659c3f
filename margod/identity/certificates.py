"""X.509 certificates of the device: reading the operator's, and making our own by the rules of RFC 5280."""

from __future__ import annotations

import re
import warnings
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, PublicKeyAlgorithmOID

from margod.model import reasons
from margod.model.errors import IdentityError
from margod.model.text import clean

BACKDATED: Final = 86_400.0
"""Seconds by which a certificate begins before it is made: a WFM whose clock is behind must not refuse it."""

MAX_CERTIFICATES: Final = 16
"""Leaf and intermediates; no chain in the field comes near."""

_FIRST_TIME: Final = -631_152_000.0
"""1950-01-01, the first instant of a UTCTime (RFC 5280, 4.1.2.5.1)."""

_NO_END: Final = 253_402_300_799.0
"""9999-12-31T23:59:59Z, which stands for no well-defined end (RFC 5280, 4.1.2.5)."""

_NAME_LIMIT: Final = 64
"""ub-common-name and ub-organization-name (RFC 5280, A.1): characters there, octets of UTF-8 to many verifiers."""

_LABEL: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")

# A key restricted to RSASSA-PSS looks like any RSA key once read, but may not make the signatures that we send.
_KEY_OIDS: Final = frozenset(
    {PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5, PublicKeyAlgorithmOID.EC_PUBLIC_KEY, PublicKeyAlgorithmOID.ED25519}
)


def mint_certificate(key: ec.EllipticCurvePrivateKey, subject: x509.Name, lifetime: float, now: float) -> bytes:
    """Return a self-signed certificate over `key` as PEM, valid from a day before `now` for `lifetime` seconds more.

    RFC 5280: v3, positive random serial of at most 20 octets, critical BasicConstraints (not a CA) and KeyUsage
    (digitalSignature), ExtendedKeyUsage clientAuth, subject and authority key identifiers. Times are clamped to
    1950..9999; `lifetime` is > 0, `now` Unix seconds.
    """
    now = min(max(now, _FIRST_TIME + BACKDATED), _NO_END - 1)
    public = key.public_key()
    ski = x509.SubjectKeyIdentifier.from_public_key(public)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_instant(now - BACKDATED))
        .not_valid_after(_instant(min(now + lifetime, _NO_END)))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_SIGNS_ONLY, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(ski, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def subject_name(common_name: str, organization: str | None) -> x509.Name:
    """Return the subject, each part on one line and cut to the 64 octets that every verifier allows.

    Raises IdentityError if nothing of the common name is left: a certificate without a subject is refused by WFMs.
    """
    cn, org = _name_part(common_name), _name_part(organization or "")
    if not cn:
        raise IdentityError(
            reasons.IDENTITY_INVALID,
            "a certificate needs a common name, and there is none",
            hint="Set identity.common_name or device.serial_number in /etc/margod/margod.yaml.",
        )
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, org)] if org else []
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, cn)])


def read_chain(pem: bytes, name: str) -> tuple[x509.Certificate, ...]:
    """Return the certificates in `pem` (bounded by the caller) in their order: 1 to `MAX_CERTIFICATES`.

    `name` says in messages where they came from. Raises IdentityError (identity-invalid). What is returned has a
    readable subject, validity and public key.
    """
    labels = [label.decode("ascii") for label in _LABEL.findall(pem)]
    expected = labels.count("CERTIFICATE")
    if not expected:
        raise _invalid(_without_certificate(pem, labels, name))
    if expected > MAX_CERTIFICATES:
        raise _invalid(f"{name} holds {expected} certificates; a chain has at most {MAX_CERTIFICATES}")
    try:
        with warnings.catch_warnings():  # oddities of other people's CAs are the WFM's to judge
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            chain = tuple(x509.load_pem_x509_certificates(pem))
            for certificate in chain:
                _ = certificate.subject, certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm):
        raise _invalid(f"{name} holds a damaged certificate") from None
    if len(chain) != expected:
        raise _invalid(f"{name} is cut short: {expected} certificates begin and {len(chain)} end in it")
    return chain


def certifies(certificate: x509.Certificate, spki: bytes) -> bool:
    """Say whether `certificate` is over the public key whose DER SubjectPublicKeyInfo is `spki`."""
    try:
        if certificate.public_key_algorithm_oid not in _KEY_OIDS:
            return False
        public = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == spki


_SIGNS_ONLY: Final = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds // 1), UTC)


def _name_part(text: str) -> str:
    cut = clean(text, 4 * _NAME_LIMIT).encode()[:_NAME_LIMIT]
    return cut.decode("utf-8", "ignore").strip()


def _without_certificate(pem: bytes, labels: list[str], name: str) -> str:
    if not pem.strip():
        return f"{name} is empty"
    if labels:
        return f"{name} holds no certificate but: {', '.join(sorted(set(labels)))}"
    if pem.startswith(b"\x30"):
        return f"{name} is not PEM but looks like DER; `openssl x509 -inform DER -in FILE -out NEWFILE` converts it"
    return f"{name} holds no certificate in PEM"


def _invalid(message: str) -> IdentityError:
    return IdentityError(reasons.IDENTITY_INVALID, message)
