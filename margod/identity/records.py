"""The identity as the vault keeps it: made, issued anew, imported, and loaded again with every check."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from margod.identity import certificates, files, keys
from margod.model import reasons
from margod.model.errors import IdentityError
from margod.model.text import clean, timestamp

KEY_RECORD: Final = "identity.key"
CERTIFICATE_RECORD: Final = "identity.crt"
META_RECORD: Final = "identity.json"

MINTED: Final = "minted"
FILES: Final = "files"

_KEY_LIMIT: Final = 16 * 1024
"""Bytes; an RSA key of 16384 bits needs 12.5 KiB. Also keeps the check of a hostile RSA key short."""

_CERTIFICATE_LIMIT: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this device is. Safe to log: the private key is inside `signer` and does not come out."""

    certificate: bytes
    """The device's own certificate, DER."""
    chain_pem: bytes
    """That certificate first, then the intermediates that came with it, PEM."""
    signer: keys.KeySigner
    fingerprint: str
    """Lower-case hex SHA-256 of `certificate`."""
    subject: str
    """RFC 4514, cleaned."""
    not_before: float
    """Unix seconds, as `not_after`; both instants are inside the validity (RFC 5280, 4.1.2.5)."""
    not_after: float
    source: str
    """`minted` or `files`."""


def mint(common_name: str, organization: str | None, lifetime: float, now: float) -> dict[str, bytes]:
    """Return the records of a new identity: a P-256 key and a self-signed certificate over it.

    `lifetime` in seconds, > 0; `now` in Unix seconds: the certificate is valid from a day before it until `lifetime`
    after it, at most to the end of 9999. Raises IdentityError if `common_name` has nothing that can be shown.
    """
    if not (math.isfinite(now) and lifetime > 0):
        raise ValueError("now must be finite and lifetime positive")
    subject = certificates.subject_name(common_name, organization)
    key = keys.new_key()
    return _records(keys.key_pem(key), certificates.mint_certificate(key, subject, lifetime, now), MINTED, 0)


def reissue(records: Mapping[str, bytes], now: float, *, counted: bool | None = True) -> dict[str, bytes]:
    """Return the records with a new certificate over the same key and subject, of the same lifetime, from `now` on.

    `counted`: it is the one that a conflict allows (`reissued`); False for one made because the clock was wrong,
    None for a new start: none is counted any more.
    For a minted identity only. Raises IdentityError if it is another, or cannot be loaded.
    """
    _, key, chain, meta = _open(records)
    if meta["source"] != MINTED or not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _invalid("the certificate was given by the operator; only one that margod made can be issued anew")
    old = chain[0]
    spanned = old.not_valid_after_utc.timestamp() - old.not_valid_before_utc.timestamp()
    lifetime = max(spanned - certificates.BACKDATED, 1.0)
    pem = certificates.mint_certificate(key, old.subject, lifetime, now)
    return _records(records[KEY_RECORD], pem, MINTED, 0 if counted is None else meta["reissued"] + counted)


def import_files(key_file: Path, certificate_file: Path) -> dict[str, bytes]:
    """Return the records of the identity that the operator gave as PEM files: the key, and its certificate first.

    Both are rewritten in one form (PKCS#8; certificates only, no text around them). Validity is not looked at: see
    `check_validity`. Raises IdentityError: identity-file-unreadable, identity-invalid, key-exposed, key-mismatch.
    """
    key_data, status = files.read_file(key_file, "identity.key_file", _KEY_LIMIT)
    files.check_private(status, key_file, "identity.key_file")
    data, status = files.read_file(certificate_file, "identity.certificate_file", _CERTIFICATE_LIMIT)
    if b"PRIVATE KEY-----" in data:  # a combined file: then it is a key file as well
        files.check_private(status, certificate_file, "identity.certificate_file")
    key = keys.read_key(key_data, files.shown(key_file, "identity.key_file"))
    chain = certificates.read_chain(data, files.shown(certificate_file, "identity.certificate_file"))
    _check_match(keys.KeySigner(key), chain, f"{clean(str(key_file))} and {clean(str(certificate_file))}")
    pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)
    return _records(keys.key_pem(key), pem, FILES, 0)


def load(records: Mapping[str, bytes]) -> Identity:
    """Return the identity in the vault's records, the key checked against the certificate; other records are ignored.

    Raises IdentityError: identity-invalid (missing, damaged or a kind that is not taken), key-mismatch.
    """
    signer, _, chain, meta = _open(records)
    leaf = chain[0]
    return Identity(
        certificate=leaf.public_bytes(Encoding.DER),
        chain_pem=b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain),
        signer=signer,
        fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
        subject=clean(leaf.subject.rfc4514_string()),
        not_before=leaf.not_valid_before_utc.timestamp(),
        not_after=leaf.not_valid_after_utc.timestamp(),
        source=meta["source"],
    )


def check_validity(identity: Identity, now: float) -> None:
    """Raise IdentityError if the certificate has expired (certificate-expired) or is not valid yet at `now`."""
    if now > identity.not_after:
        raise IdentityError(
            reasons.CERTIFICATE_EXPIRED,
            f"The device's certificate expired at {timestamp(identity.not_after)}; this device's clock says "
            f"{timestamp(now)}.",
        )
    if now < identity.not_before:
        raise IdentityError(
            reasons.CERTIFICATE_NOT_YET_VALID,
            f"The device's certificate is valid from {timestamp(identity.not_before)}; this device's clock says "
            f"{timestamp(now)}.",
        )


def _open(
    records: Mapping[str, bytes],
) -> tuple[keys.KeySigner, keys.PrivateKey, tuple[x509.Certificate, ...], dict[str, Any]]:
    for name, limit in ((KEY_RECORD, _KEY_LIMIT), (CERTIFICATE_RECORD, _CERTIFICATE_LIMIT), (META_RECORD, 4096)):
        if name not in records:
            raise _invalid(f"the stored identity is incomplete: {name} is missing")
        if len(records[name]) > limit:
            raise _invalid(f"the stored {name} is larger than {limit // 1024} KiB")
    key = keys.read_key(records[KEY_RECORD], f"the stored {KEY_RECORD}")
    chain = certificates.read_chain(records[CERTIFICATE_RECORD], f"the stored {CERTIFICATE_RECORD}")
    signer = keys.KeySigner(key)
    _check_match(signer, chain, "the stored identity")
    return signer, key, chain, _meta(records[META_RECORD])


def _check_match(signer: keys.KeySigner, chain: tuple[x509.Certificate, ...], where: str) -> None:
    if certificates.certifies(chain[0], signer.spki):
        return
    if any(certificates.certifies(other, signer.spki) for other in chain[1:]):
        raise IdentityError(
            reasons.KEY_MISMATCH,
            f"{where}: the certificate of the key is in the file, but not first",
            hint="Put the device's own certificate first and the intermediates after it.",
        )
    subject = clean(chain[0].subject.rfc4514_string())
    raise IdentityError(reasons.KEY_MISMATCH, f"{where}: the key does not belong to the certificate of {subject}")


def _meta(data: bytes) -> dict[str, Any]:
    try:
        meta = json.loads(data)
    except (ValueError, RecursionError):
        meta = None
    if isinstance(meta, dict) and meta.get("source") in (MINTED, FILES):
        reissued = meta.get("reissued", 0)
        if isinstance(reissued, int) and not isinstance(reissued, bool) and reissued >= 0:
            return {"source": meta["source"], "reissued": reissued}
    raise _invalid(f"the stored {META_RECORD} is damaged")


def _records(key: bytes, certificate: bytes, source: str, reissued: int) -> dict[str, bytes]:
    meta = json.dumps({"source": source, "reissued": reissued}).encode()
    return {KEY_RECORD: key, CERTIFICATE_RECORD: certificate, META_RECORD: meta}


def _invalid(message: str) -> IdentityError:
    return IdentityError(reasons.IDENTITY_INVALID, message)
