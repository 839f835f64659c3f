"""`X-Payload-Signature` of the `token` generation, verified (wire, section 3); written without the signer's code."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from margod.devwfm.keys import PublicKey

LONGEST: Final = 16_384
"""Characters of the header that are looked at."""


class PayloadRefused(Exception):
    """The signature does not hold; the message says why."""


def verify_payload(header: str | None, body: bytes, key: PublicKey) -> None:
    """Verify that `key` signed `body`. Raises PayloadRefused."""
    if not header or len(header) > LONGEST:
        raise PayloadRefused("X-Payload-Signature is missing or very long")
    try:
        public, _, signature = base64.b64decode(header, validate=True).partition(b";")
        spki, mark = base64.b64decode(public, validate=True), base64.b64decode(signature, validate=True)
        named = load_der_public_key(spki)
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        raise PayloadRefused("X-Payload-Signature is not base64 of <public key>;<signature>") from None
    if _der(named) != _der(key):
        raise PayloadRefused("X-Payload-Signature names another public key than the certificate's")
    try:
        _check(key, mark, body)
    except InvalidSignature:
        raise PayloadRefused("X-Payload-Signature is not this key's over the body") from None


def _check(key: PublicKey, mark: bytes, body: bytes) -> None:
    match key:
        case ec.EllipticCurvePublicKey():
            size = (key.curve.key_size + 7) // 8
            if len(mark) != 2 * size:
                raise InvalidSignature
            pair = (int.from_bytes(mark[:size], "big"), int.from_bytes(mark[size:], "big"))
            key.verify(encode_dss_signature(*pair), body, ec.ECDSA(hashes.SHA256()))
        case rsa.RSAPublicKey():
            key.verify(mark, body, padding.PKCS1v15(), hashes.SHA256())
        case ed25519.Ed25519PublicKey():
            key.verify(mark, hashlib.sha256(body).digest())


def _der(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
