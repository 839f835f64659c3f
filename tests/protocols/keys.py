"""Signers of every algorithm that margod offers."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from margod.identity import KeySigner
from margod.identity.keys import PrivateKey

KEYS: dict[str, PrivateKey] = {
    "ecdsa-p256-sha256": ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-p384-sha384": ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "rsa-v1_5-sha256": rsa.generate_private_key(65537, 2048),
}


def signer(algorithm: str) -> KeySigner:
    """Return a signer of this algorithm."""
    return KeySigner(KEYS[algorithm])


def public_pem(algorithm: str) -> str:
    """Return the public key of `signer(algorithm)`."""
    key = KEYS[algorithm].public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
