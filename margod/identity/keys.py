"""Private keys: which are taken, how they are read, and how they sign without ever coming out again."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from margod.model import reasons
from margod.model.errors import IdentityError

ACCEPTED_KEYS: Final = "P-256, P-384, Ed25519, RSA of 2048 to 16384 bits"
"""The whole list, for messages. OpenSSL verifies no RSA signature beyond 16384 bits."""

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

_RSA_BITS: Final = range(2048, 16384 + 1)
_CURVES: Final[dict[str, tuple[str, int, hashes.HashAlgorithm]]] = {
    "secp256r1": ("ecdsa-p256-sha256", 32, hashes.SHA256()),
    "secp384r1": ("ecdsa-p384-sha384", 48, hashes.SHA384()),
}
"""Curve -> HTTP signature algorithm, octets of r and of s, hash (RFC 9421, 3.3.4 and 3.3.5)."""

_LABEL: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")


class KeySigner:
    """Signs with the device's key; implements `margod.model.wire.Signer`. Its repr is safe to log."""

    __slots__ = ("_key", "algorithm", "key_id", "spki")

    def __init__(self, key: PrivateKey) -> None:
        """Take a key that `read_key` or `new_key` returned."""
        self._key = key
        self.algorithm: str = _algorithm(key)
        self.spki: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.key_id: str = hashlib.sha256(self.spki).hexdigest()

    def sign(self, data: bytes) -> bytes:
        """Return the signature over `data`: ECDSA as raw r||s, RSA as PKCS#1 v1.5 with SHA-256 (RFC 9421, 3.3)."""
        key = self._key
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return key.sign(data)
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return _raw(key, data, _CURVES[key.curve.name][2])

    def sign_sha256(self, data: bytes) -> bytes:
        """Return the signature over `data` with SHA-256 whatever the key; Ed25519 signs the SHA-256 itself."""
        key = self._key
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return key.sign(hashlib.sha256(data).digest())
        if isinstance(key, rsa.RSAPrivateKey):
            return self.sign(data)
        return _raw(key, data, hashes.SHA256())

    def __repr__(self) -> str:
        """Name the algorithm and the public key's hash, nothing else."""
        return f"KeySigner({self.algorithm}, {self.key_id})"


def _raw(key: ec.EllipticCurvePrivateKey, data: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
    size = _CURVES[key.curve.name][1]
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(algorithm)))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a fresh P-256 key: the algorithm that every WFM has to take."""
    return ec.generate_private_key(ec.SECP256R1())


def read_key(pem: bytes, name: str) -> PrivateKey:
    """Return the unencrypted private key in `pem` (PKCS#8, SEC 1 or PKCS#1), which the caller has bounded in size.

    `name` says in messages where it came from. Raises IdentityError (identity-invalid), whose text holds no part of the
    input, for anything that is not one of `ACCEPTED_KEYS`.
    """
    labels = {label.decode("ascii") for label in _LABEL.findall(pem)}
    if not any(label.endswith("PRIVATE KEY") for label in labels):
        raise _invalid(_without_key(pem, labels, name))
    if "OPENSSH PRIVATE KEY" in labels:
        raise _invalid(f"{name} is in OpenSSH's own format; `ssh-keygen -p -m PKCS8 -f FILE` rewrites it as PKCS#8 PEM")
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:  # this is how cryptography says that a password is needed
        raise _invalid(
            f"{name} is encrypted, and there is nobody to type its password",
            "Write it without one (`openssl pkey -in FILE -out NEWFILE`), mode 0600.",
        ) from None
    except UnsupportedAlgorithm:
        raise _invalid(f"{name} holds a kind of key that margod does not know; it takes {ACCEPTED_KEYS}") from None
    except ValueError:  # its text may describe the input: it goes no further
        raise _invalid(f"{name} holds no readable private key: damaged, or not one that margod takes") from None
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size in _RSA_BITS:
        return key
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    raise _invalid(f"{name} holds a key of a kind that is not taken ({_kind(key)}); margod takes {ACCEPTED_KEYS}")


def key_pem(key: PrivateKey) -> bytes:
    """Return the key as PKCS#8 PEM, unencrypted: for the vault only."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _algorithm(key: PrivateKey) -> str:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "rsa-v1_5-sha256"
    return _CURVES[key.curve.name][0]


def _kind(key: object) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return {"secp521r1": "P-521"}.get(key.curve.name, key.curve.name)
    if isinstance(key, rsa.RSAPrivateKey):
        return f"RSA of {key.key_size} bits"
    return type(key).__name__.removesuffix("PrivateKey")


def _without_key(pem: bytes, labels: set[str], name: str) -> str:
    if not pem.strip():
        return f"{name} is empty"
    if labels:
        return f"{name} holds no private key but: {', '.join(sorted(labels))}"
    if pem.startswith(b"\x30"):
        return f"{name} is not PEM but looks like DER; `openssl pkey -inform DER -in FILE -out NEWFILE` converts it"
    return f"{name} holds no private key in PEM"


def _invalid(message: str, hint: str = "") -> IdentityError:
    return IdentityError(reasons.IDENTITY_INVALID, message, hint=hint)
