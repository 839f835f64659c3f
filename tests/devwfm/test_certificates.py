"""The device's certificate: encodings and the rules of RFC 5280 that end in 422."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from margod.devwfm.certificates import CertificateInvalid, CertificateUnacceptable, check, decode, parse, public_key
from tests.support.device import Device, PrivateKey, new_certificate

DEVICE = Device("https://wfm.example", Path())


def test_encodings() -> None:
    """base64 of DER and of PEM give the same certificate."""
    der, pem = (base64.b64encode(data).decode() for data in (DEVICE.der, DEVICE.pem))
    assert decode(der) == decode(pem) == parse(DEVICE.pem)
    assert decode(der).subject == "CN=gateway-1"
    with pytest.raises(CertificateInvalid, match="not base64 of PEM"):
        decode(der, encodings=("pem",))


@pytest.mark.parametrize(
    "text",
    [
        DEVICE.pem.decode(),
        "",
        "AAAA",
        "é",
        "MIID....",
        base64.b64encode(DEVICE.der[:-1]).decode(),
        base64.b64encode(DEVICE.der + b"\x00").decode(),
        base64.b64encode(b"-----BEGIN CERTIFICATE-----\n").decode(),
        base64.urlsafe_b64encode(DEVICE.der).decode().rstrip("=") + "-_",
        base64.b64encode(DEVICE.der).decode() + "\n",
        "A" * 100_000,
    ],
)
def test_refused(text: str) -> None:
    """Raw PEM, other alphabets, white space, truncated and over-long text are not certificates."""
    with pytest.raises(CertificateInvalid):
        decode(text)


@pytest.mark.parametrize(
    ("key", "options", "says"),
    [
        (ec.generate_private_key(ec.SECP256R1()), {"begin": -10, "end": -1}, "expired"),
        (ec.generate_private_key(ec.SECP256R1()), {"begin": 1, "end": 2}, "not valid yet"),
        (ec.generate_private_key(ec.SECP256R1()), {"subject": False}, "neither a subject"),
        (ec.generate_private_key(ec.SECP224R1()), {}, "below P-256"),
        (rsa.generate_private_key(65537, 1024), {}, "below 2048"),
    ],
)
def test_rules(key: PrivateKey, options: dict[str, Any], says: str) -> None:
    """Validity, subject and key sizes."""
    with pytest.raises(CertificateUnacceptable, match=says):
        check(new_certificate(key, **options).public_bytes(Encoding.DER), time.time())


@pytest.mark.parametrize("algorithm", ["ecdsa-p256-sha256", "ecdsa-p384-sha384", "ed25519", "rsa-v1_5-sha256"])
def test_good(algorithm: str) -> None:
    """Every kind of key that a device may have passes."""
    device = Device("https://wfm.example", Path(), algorithm)
    check(device.der, time.time())
    assert public_key(device.der) == device.key.public_key()
