"""Keys and signatures, against the openssl command line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from margod.identity import ACCEPTED_KEYS, KeySigner
from margod.identity.keys import key_pem, new_key, read_key
from margod.model import reasons
from margod.model.errors import IdentityError
from margod.model.wire import Signer
from tests.identity.openssl import make_key, openssl

DATA = b'"@method": POST\n"@target-uri": https://wfm.example/'

TAKEN = [
    ("P-256", "ecdsa-p256-sha256", 64, "-sha256"),
    ("P-384", "ecdsa-p384-sha384", 96, "-sha384"),
    ("Ed25519", "ed25519", 64, ""),
    ("RSA-2048", "rsa-v1_5-sha256", 256, "-sha256"),
]


@pytest.mark.parametrize(("kind", "algorithm", "size", "digest"), TAKEN)
def test_openssl_verifies_every_signature(tmp_path: Path, kind: str, algorithm: str, size: int, digest: str) -> None:
    """Every kind of key that is taken signs in the form of RFC 9421, 3.3, and openssl verifies it."""
    key = make_key(tmp_path / "key.pem", kind)
    openssl("pkey", "-in", key, "-pubout", "-out", tmp_path / "public.pem")
    (tmp_path / "data").write_bytes(DATA)
    signer: Signer = KeySigner(read_key(key.read_bytes(), "key"))
    assert signer.algorithm == algorithm
    signature = signer.sign(DATA)
    assert len(signature) == size
    if algorithm.startswith("ecdsa"):  # openssl speaks DER
        r, s = (int.from_bytes(half, "big") for half in (signature[: size // 2], signature[size // 2 :]))
        signature = encode_dss_signature(r, s)
    (tmp_path / "signature").write_bytes(signature)
    verify = ("-sigfile", tmp_path / "signature", "-in", tmp_path / "data")
    raw = ("-rawin", *(("-digest", digest[1:]) if digest else ()))
    said = openssl("pkeyutl", "-verify", "-pubin", "-inkey", tmp_path / "public.pem", *raw, *verify)
    assert b"Successfully" in said
    if digest:
        said = openssl("dgst", digest, "-verify", tmp_path / "public.pem", "-signature", verify[1], tmp_path / "data")
        assert b"Verified OK" in said


def test_short_numbers_are_filled_up() -> None:
    """r and s with leading zeros still take their full length (RFC 9421, 3.3.4): one in 128 signatures has one."""
    signer = KeySigner(new_key())
    signatures = [signer.sign(DATA) for _ in range(2000)]
    assert {len(signature) for signature in signatures} == {64}
    assert any(signature[0] == 0 for signature in signatures)


def test_key_id_is_the_hash_of_the_public_key(tmp_path: Path) -> None:
    """The key id is the lower-case hex SHA-256 of the DER SubjectPublicKeyInfo that openssl writes."""
    key = make_key(tmp_path / "key.pem", "P-256")
    public = openssl("pkey", "-in", key, "-pubout", "-outform", "DER")
    assert KeySigner(read_key(key.read_bytes(), "key")).key_id == hashlib.sha256(public).hexdigest()


def test_older_pem_forms_are_read(tmp_path: Path) -> None:
    """SEC 1 with its parameters in front, and PKCS#1, are taken as well as PKCS#8."""
    sec1 = openssl("ecparam", "-name", "prime256v1", "-genkey")
    assert b"EC PARAMETERS" in sec1
    assert KeySigner(read_key(sec1, "key")).algorithm == "ecdsa-p256-sha256"
    pkcs1 = openssl("rsa", "-in", make_key(tmp_path / "rsa.pem", "RSA-2048"), "-traditional")
    assert b"BEGIN RSA PRIVATE KEY" in pkcs1
    assert KeySigner(read_key(pkcs1, "key")).algorithm == "rsa-v1_5-sha256"


def test_our_key_is_read_by_openssl() -> None:
    """The key that margod makes is a P-256 key in PKCS#8 PEM to openssl."""
    assert b"prime256v1" in openssl("pkey", "-text", "-noout", data=key_pem(new_key()))


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("P-521", "P-521"),
        ("secp256k1", "secp256k1"),
        ("RSA-1024", "RSA of 1024 bits"),
        ("Ed448", "Ed448"),
        ("X25519", "X25519"),
    ],
)
def test_other_kinds_are_refused_by_name(tmp_path: Path, kind: str, named: str) -> None:
    """A key that no WFM has to take is refused with its kind and the whole list of those that are taken."""
    key = make_key(tmp_path / "key.pem", kind)
    with pytest.raises(IdentityError) as caught:
        read_key(key.read_bytes(), "identity.key_file")
    assert caught.value.reason is reasons.IDENTITY_INVALID
    assert named in caught.value.message
    assert ACCEPTED_KEYS in caught.value.message


@pytest.mark.parametrize("form", ["pkcs8", "traditional"])
def test_an_encrypted_key_is_refused(tmp_path: Path, form: str) -> None:
    """An encrypted key says that it is encrypted and how to write it without a password."""
    key = make_key(tmp_path / "key.pem", "P-256")
    how = ("ec", "-in", key, "-aes256") if form == "traditional" else ("pkcs8", "-topk8", "-in", key)
    with pytest.raises(IdentityError, match="encrypted") as caught:
        read_key(openssl(*how, "-passout", "pass:secret"), "key")
    assert "openssl pkey" in caught.value.hint


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"hello", "no private key in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "but: CERTIFICATE"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "but: PUBLIC KEY"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no readable private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n", "no readable private key"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "ssh-keygen"),
        (b"\x30\x82\x00\x10", "looks like DER"),
    ],
)
def test_what_is_no_key_is_named(data: bytes, says: str) -> None:
    """Anything else than a key is refused in words that say what it is."""
    with pytest.raises(IdentityError, match=says):
        read_key(data, "key")


def test_no_secret_is_shown(tmp_path: Path) -> None:
    """Neither repr nor the error over a damaged key holds any part of it."""
    pem = make_key(tmp_path / "key.pem", "P-256").read_bytes()
    body = pem.splitlines()[1]
    signer = KeySigner(read_key(pem, "key"))
    assert body.decode()[:20] not in repr(signer)
    assert repr(signer) == f"KeySigner(ecdsa-p256-sha256, {signer.key_id})"
    with pytest.raises(IdentityError) as caught:
        read_key(pem.replace(body[-8:], b"AAAAAAAA"), "key")
    error: BaseException | None = caught.value
    assert body.decode()[:20] not in f"{error!r} {caught.value.diagnostics()}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
