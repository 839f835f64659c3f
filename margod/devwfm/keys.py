"""Public keys and the registered signature algorithms that a WFM takes (RFC 9421 3.3).

Everything that cryptography raises becomes `KeyRefused` here.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

PublicKey: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

PUBLIC_KEYS: Final = (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, rsa.RSAPublicKey)

# name -> curve, size of r and s in bytes, hash
_ECDSA: Final[dict[str, tuple[str, int, hashes.HashAlgorithm]]] = {
    "ecdsa-p256-sha256": ("secp256r1", 32, hashes.SHA256()),
    "ecdsa-p384-sha384": ("secp384r1", 48, hashes.SHA384()),
}


class KeyRefused(Exception):
    """The key cannot be used, or the signature is not its own."""


def algorithm_of(key: PublicKey) -> str:
    """Return the algorithm that is meant when `alg` is absent; for RSA that of the Go verifier, rsa-pss-sha512."""
    if isinstance(key, rsa.RSAPublicKey):
        return "rsa-pss-sha512"
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    for name, (curve, _, _) in _ECDSA.items():
        if key.curve.name == curve:
            return name
    raise KeyRefused(f"no signature algorithm is registered for a key on {key.curve.name}")


def check(key: PublicKey, algorithm: str, signature: bytes, data: bytes) -> None:
    """Check `signature` over `data`; raise `KeyRefused` if it, the key or the algorithm's name does not fit."""
    try:
        if algorithm in _ECDSA and isinstance(key, ec.EllipticCurvePublicKey):
            _check_ecdsa(key, algorithm, signature, data)
        elif algorithm == "ed25519" and isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        elif algorithm == "rsa-v1_5-sha256" and isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        elif algorithm == "rsa-pss-sha512" and isinstance(key, rsa.RSAPublicKey):
            pss = padding.PSS(padding.MGF1(hashes.SHA512()), salt_length=64)
            key.verify(signature, data, pss, hashes.SHA512())
        else:
            raise KeyRefused("alg is not known or not for this key")
    except InvalidSignature:
        raise KeyRefused("the signature does not match") from None


def _check_ecdsa(key: ec.EllipticCurvePublicKey, algorithm: str, signature: bytes, data: bytes) -> None:
    curve, size, digest = _ECDSA[algorithm]
    if key.curve.name != curve:
        raise KeyRefused("alg is not for this key")
    if len(signature) != 2 * size:
        raise KeyRefused(f"an {algorithm} signature has {2 * size} bytes, r and s")
    r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
    key.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(digest))
