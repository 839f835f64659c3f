"""`X-Payload-Signature`, by hand with the library and by the development WFM's own verifier."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from margod.devwfm.token_payload import PayloadRefused, verify_payload
from margod.protocols.token import payload
from tests.protocols.keys import KEYS, signer

BODY = b'{"kind":"OnboardingRequest"}'


def taken_apart(value: str) -> tuple[bytes, bytes]:
    """Return public key and signature of a header, DER and raw."""
    first, second = base64.b64decode(value, validate=True).split(b";")
    return base64.b64decode(first, validate=True), base64.b64decode(second, validate=True)


def by_hand(value: str, body: bytes) -> None:
    """Verify with the key in the header and SHA-256. Raises InvalidSignature."""
    public, mark = taken_apart(value)
    key = load_der_public_key(public)
    if isinstance(key, ec.EllipticCurvePublicKey):
        half = len(mark) // 2
        assert half == {"secp256r1": 32, "secp384r1": 48}[key.curve.name]
        der = encode_dss_signature(int.from_bytes(mark[:half], "big"), int.from_bytes(mark[half:], "big"))
        key.verify(der, body, ec.ECDSA(hashes.SHA256()))
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(mark, body, padding.PKCS1v15(), hashes.SHA256())
    else:
        assert isinstance(key, ed25519.Ed25519PublicKey)
        key.verify(mark, hashlib.sha256(body).digest())


@pytest.mark.parametrize("algorithm", KEYS)
def test_it_holds_for_every_key(algorithm: str) -> None:
    """Public key and signature over the body with SHA-256, for the library and for the development WFM."""
    value = payload.header(BODY, signer(algorithm))
    by_hand(value, BODY)
    verify_payload(value, BODY, KEYS[algorithm].public_key())
    assert value.isascii()
    assert "\n" not in value


@pytest.mark.parametrize("algorithm", KEYS)
def test_another_body_or_key_does_not(algorithm: str) -> None:
    """One byte more, or the key of another certificate."""
    value = payload.header(BODY, signer(algorithm))
    with pytest.raises(InvalidSignature):
        by_hand(value, BODY + b" ")
    with pytest.raises(PayloadRefused, match="over the body"):
        verify_payload(value, BODY + b" ", KEYS[algorithm].public_key())
    other = next(key for name, key in KEYS.items() if name != algorithm)
    with pytest.raises(PayloadRefused, match="another public key"):
        verify_payload(value, BODY, other.public_key())


@pytest.mark.parametrize(
    "value", [None, "", "!", "AAAA", base64.b64encode(b"AAAA;AAAA").decode(), "A" * 20_000], ids=lambda v: repr(v)[:20]
)
def test_what_is_no_signature_is_refused(value: str | None) -> None:
    """Whatever stands in the header."""
    with pytest.raises(PayloadRefused):
        verify_payload(value, BODY, KEYS["ecdsa-p256-sha256"].public_key())
