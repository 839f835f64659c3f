"""Which certificates become trust anchors, against trustme's and openssl's."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import trustme

from margod.model import reasons
from margod.model.errors import TrustError
from margod.trust import decode_certificates, to_pem
from tests.identity.openssl import make_key, openssl
from tests.trust import material


def refused(data: bytes, at: float | None = None) -> TrustError:
    """Return the error of data that has to be refused."""
    with pytest.raises(TrustError) as caught:
        decode_certificates(data, material.now() if at is None else at)
    assert caught.value.reason is reasons.CA_FILE_INVALID
    return caught.value


def test_pem_and_der_are_the_same_anchor() -> None:
    """One root, as PEM, PEM with text and CRLF, or DER, gives one anchor with openssl's fingerprint."""
    ca = trustme.CA()
    pem, der = material.root_pem(ca), material.root_der(ca)
    text = openssl("x509", "-text", data=pem).replace(b"\n", b"\r\n")
    forms = [pem, b"\xef\xbb\xbf# our root\n" + pem, text, der]
    found = {decode_certificates(form, material.now()) for form in forms}
    assert len(found) == 1
    (anchor,) = found.pop()
    assert anchor.der == der
    assert anchor.fingerprint == material.fingerprint(pem)
    assert "trustme" in anchor.subject
    assert anchor.not_before < material.now() < anchor.not_after


@pytest.mark.parametrize("form", [material.root_pem, material.root_der])
def test_several_in_order_without_repeats(form: object) -> None:
    """Several certificates, PEM or concatenated DER, keep their order; a repeated one counts once."""
    assert callable(form)
    first, second = trustme.CA(), trustme.CA()
    data = form(first) + form(second) + form(first)
    anchors = decode_certificates(data, material.now())
    assert [anchor.der for anchor in anchors] == [material.root_der(first), material.root_der(second)]


def test_to_pem_is_read_again_and_by_openssl() -> None:
    """What `to_pem` writes comes back the same, and openssl reads it."""
    anchors = decode_certificates(material.root_pem(trustme.CA()) + material.root_pem(trustme.CA()), material.now())
    pem = to_pem(anchors)
    assert decode_certificates(pem, material.now()) == anchors
    assert material.fingerprint(pem) == anchors[0].fingerprint
    assert to_pem(()) == b""


def test_a_root_with_its_intermediate() -> None:
    """A root and an intermediate CA are both taken; the intermediate alone is refused and the root named."""
    root = trustme.CA()
    middle = root.create_child_ca()
    both = material.root_pem(root) + material.root_pem(middle)
    assert len(decode_certificates(both, material.now())) == 2
    error = refused(material.root_pem(middle))
    assert "intermediate CAs only" in error.message


def test_a_v1_root_is_taken_and_a_v1_leaf_is_not(tmp_path: Path) -> None:
    """A self-issued X.509 v1 certificate, which cannot say CA:TRUE, is a root; one issued by another is not."""
    root = material.v1_root(tmp_path)
    (anchor,) = decode_certificates(root[0].read_bytes(), material.now())
    assert anchor.subject == "CN=old root"
    leaf, _ = material.issue(tmp_path, root, "server", None)
    assert "version 1" in refused(leaf.read_bytes()).message
    assert "certificate 2 of 2" in refused(root[0].read_bytes() + leaf.read_bytes()).message


def test_a_leaf_is_refused(tmp_path: Path) -> None:
    """The certificate of a server is refused, alone or in a bundle, issued by a CA or by itself."""
    ca = trustme.CA()
    assert "not a CA" in refused(material.leaf_pem(ca)).message
    assert "certificate 1 of 2" in refused(material.leaf_pem(ca) + material.root_pem(ca)).message
    bare, _ = material.own_root(tmp_path, "bare", "-addext", "subjectAltName=DNS:x")
    assert "not a CA" in refused(bare.read_bytes()).message
    false, _ = material.own_root(tmp_path, "false", "-addext", "basicConstraints=CA:FALSE")
    assert "not a CA" in refused(false.read_bytes()).message


def test_a_ca_needs_no_key_usage_but_a_right_one(tmp_path: Path) -> None:
    """CA:TRUE without KeyUsage is a root; with a KeyUsage that lacks keyCertSign it is not."""
    plain, _ = material.own_root(tmp_path, "plain", "-addext", "basicConstraints=CA:TRUE")
    assert decode_certificates(plain.read_bytes(), material.now())
    wrong = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=digitalSignature")
    usage, _ = material.own_root(tmp_path, "usage", *wrong)
    assert "KeyUsage" in refused(usage.read_bytes()).message


def test_a_short_rsa_key_is_refused(tmp_path: Path) -> None:
    """A root with RSA-1024, under which no handshake would succeed, is refused when it is read."""
    weak, _ = material.own_root(tmp_path, "weak", "-addext", "basicConstraints=CA:TRUE", kind="RSA-1024")
    assert "1024 bits" in refused(weak.read_bytes()).message


def test_expired_and_not_yet_valid(tmp_path: Path) -> None:
    """Expired roots are refused unless a valid one is beside them; one that is not valid yet is left to TLS."""
    old, _ = material.dated_root(tmp_path, "old", timedelta(days=-20), timedelta(days=-10))
    error = refused(old.read_bytes())
    assert "expired at" in error.message
    assert "clock" in error.hint
    fresh = material.root_pem(trustme.CA())
    assert len(decode_certificates(old.read_bytes() + fresh, material.now())) == 2
    coming, _ = material.dated_root(tmp_path, "coming", timedelta(days=10), timedelta(days=20))
    (anchor,) = decode_certificates(coming.read_bytes(), material.now())
    assert anchor.not_before > material.now()
    assert "expired" in refused(coming.read_bytes(), at=anchor.not_after + 1).message
    assert decode_certificates(coming.read_bytes(), anchor.not_after)


def test_keys_are_refused(tmp_path: Path) -> None:
    """A private key, alone or beside the root, PEM or DER, is refused and never echoed."""
    key = make_key(tmp_path / "ca.key", "P-256").read_bytes()
    root = material.root_pem(trustme.CA())
    for data in (key, root + key):
        error = refused(data)
        assert "private key" in error.message
        assert key.splitlines()[1].decode() not in error.diagnostics()
    assert "no certificate" in refused(openssl("pkey", "-outform", "DER", data=key)).message


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"\n \t", "empty"),
        (b"garbage", "neither PEM nor DER"),
        (b"\x00" * 100, "neither PEM nor DER"),
        (b"\x30", "neither PEM nor DER"),
        (b"\x30\x82\xff\xff" + b"\x00" * 10, "neither PEM nor DER"),
        (b"\x30\x80" + b"\x00" * 10, "neither PEM nor DER"),
        (b"\x30\x81\x01\x00" * 3, "neither PEM nor DER"),
        (b"<html><body>Log in</body></html>", "neither PEM nor DER"),
        (b"-----BEGIN CERTIFICATE-----\n", "damaged"),
        (b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", "damaged"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "CERTIFICATE REQUEST"),
        (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "X509 CRL"),
        (b"x" * 65_537, "larger than 64 KiB"),
        (b"-----BEGIN CERTIFICATE-----\n" * 2000, "damaged"),
    ],
)
def test_garbage_is_refused(data: bytes, says: str) -> None:
    """Whatever is no certificate is refused in words that say what it is."""
    assert says in refused(data).message


def test_damage_anywhere_is_refused() -> None:
    """A root cut short or followed by rubbish is refused; no flipped byte escapes as another exception."""
    ca = trustme.CA()
    pem, der = material.root_pem(ca), material.root_der(ca)
    refused(pem + pem[: len(pem) // 2])
    refused(der[:-1])
    refused(der + b"\x00")
    for at in range(0, len(der), 3):
        try:
            decode_certificates(der[:at] + bytes([der[at] ^ 0xFF]) + der[at + 1 :], material.now())
        except TrustError as error:
            assert error.reason is reasons.CA_FILE_INVALID


def test_a_name_that_is_no_text_is_refused_or_shown_as_such() -> None:
    """Every byte of the subject's and issuer's string types turned into BIT STRING leaves a TrustError or an anchor."""
    der = material.root_der(trustme.CA())
    seen = 0
    for place in range(len(der)):
        if der[place] == 0x0C:  # UTF8String
            changed = der[:place] + b"\x03" + der[place + 1 :]
            try:
                seen += len(decode_certificates(changed, material.now()))
            except TrustError:
                seen += 1
    assert seen >= 2
