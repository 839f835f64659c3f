"""Pins against certificates that openssl and trustme made."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import timedelta
from pathlib import Path

import pytest
import trustme

from margod.model.errors import TrustError
from margod.trust import TlsSettings, UnverifiedPolicy, decode_certificates, is_root, mismatch, pinned
from tests.identity.openssl import openssl
from tests.trust.material import dated_root, fingerprint, issue, leaf_pem, now, own_root, root_pem, v1_root


def spki(pem: bytes) -> str:
    """The SHA-256 of the public key as the openssl command line makes it."""
    return hashlib.sha256(
        openssl("pkey", "-pubin", "-outform", "DER", data=openssl("x509", "-pubkey", "-noout", data=pem))
    ).hexdigest()


def answer(*pems: bytes) -> bytes:
    """A Certificate API answer."""
    return json.dumps({"certificate": base64.b64encode(b"".join(pems)).decode()}).encode()


def policy(*pins: str) -> UnverifiedPolicy:
    """A policy of these pins."""
    return UnverifiedPolicy("pin", pins, TlsSettings())


@pytest.mark.parametrize("kind", ["P-256", "P-384", "ED25519", "RSA-2048", "v1"])
def test_both_kinds_of_pin(kind: str, tmp_path: Path) -> None:
    """Certificate and key of every kind of root, X.509 v1 too, by the sums that openssl prints."""
    extensions = ("-addext", "basicConstraints=critical,CA:TRUE")
    file, _ = v1_root(tmp_path) if kind == "v1" else own_root(tmp_path, "root", *extensions, kind=kind)
    pem = file.read_bytes()
    for pin in (fingerprint(pem), f"spki:{spki(pem)}"):
        (anchor,) = policy("00" * 32, pin).judge(answer(pem, root_pem(trustme.CA())), now())
        assert anchor.fingerprint == fingerprint(pem)


def test_mismatch_says_both() -> None:
    """Expected and found in the same form, on one line that fits into a status."""
    first, second = root_pem(trustme.CA()), root_pem(trustme.CA())
    for pin, found in (("ab" * 32, fingerprint(first)), ("spki:" + "ab" * 32, "spki:" + spki(first))):
        with pytest.raises(TrustError) as caught:
            policy(pin, *("cd" * 32 for _ in range(7))).judge(answer(first, second), now())
        assert caught.value.code == "pin-mismatch"
        assert caught.value.message == f"expected {pin} (+7), found {found} (+1)"
        assert len(caught.value.message) <= 200


def test_an_intermediate_is_no_root(tmp_path: Path) -> None:
    """A pinned certificate that another one signed does not become an anchor: nothing could end a chain there."""
    root = own_root(tmp_path, "root", "-addext", "basicConstraints=critical,CA:TRUE")
    middle, _ = issue(tmp_path, root, "middle", "basicConstraints=critical,CA:TRUE\n")
    body = answer(middle.read_bytes(), root[0].read_bytes())
    with pytest.raises(TrustError) as caught:
        policy(fingerprint(middle.read_bytes())).judge(body, now())
    assert caught.value.code == "pin-mismatch"
    anchors = decode_certificates(middle.read_bytes() + root[0].read_bytes(), now())
    assert [is_root(anchor) for anchor in anchors] == [False, True]
    assert pinned(anchors, [f"spki:{anchors[0].spki}"]) == ()
    assert mismatch(anchors[:1], ["ab" * 32]).endswith(anchors[0].fingerprint)


def test_expired_beside_a_good_one(tmp_path: Path) -> None:
    """A pinned root that has expired is not taken because another in the answer has not."""
    old, _ = dated_root(tmp_path, "old", timedelta(days=-30), timedelta(days=-1))
    with pytest.raises(TrustError) as caught:
        policy(fingerprint(old.read_bytes())).judge(answer(old.read_bytes(), root_pem(trustme.CA())), now())
    assert caught.value.code == "pin-mismatch"


def test_a_leaf_beside_the_pinned_root_is_passed_over() -> None:
    """A pin names what is kept, so the server's own certificate beside it does no harm; without a pin it is refused."""
    ca = trustme.CA()
    pem, leaf = root_pem(ca), leaf_pem(ca)
    for body in (answer(pem, leaf), answer(leaf, pem)):
        (anchor,) = policy(fingerprint(pem)).judge(body, now())
        assert anchor.fingerprint == fingerprint(pem)
        with pytest.raises(TrustError) as caught:
            UnverifiedPolicy("first_use", (), TlsSettings()).judge(body, now())
        assert caught.value.code == "ca-answer-invalid"
    for body in (answer(leaf), answer(leaf, root_pem(trustme.CA()))):
        with pytest.raises(TrustError):
            policy(fingerprint(pem), fingerprint(leaf)).judge(body, now())


def test_first_use_gives_roots_only(tmp_path: Path) -> None:
    """A person is shown certificates that signed themselves, all of them, and nothing else."""
    root = own_root(tmp_path, "root", "-addext", "basicConstraints=critical,CA:TRUE")
    middle, _ = issue(tmp_path, root, "middle", "basicConstraints=critical,CA:TRUE\n")
    first_use = UnverifiedPolicy("first_use", (), TlsSettings())
    (only,) = first_use.judge(answer(middle.read_bytes(), root[0].read_bytes()), now())
    assert only.fingerprint == fingerprint(root[0].read_bytes())
