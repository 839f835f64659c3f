"""The Certificate API's body in every encoding of wire.md 1.1, and in none."""

from __future__ import annotations

import base64
import json

import pytest
import trustme

from margod.model import reasons
from margod.model.errors import TrustError
from margod.trust import decode_answer
from tests.trust import material

CA = trustme.CA()
OTHER = trustme.CA()
PEM, DER = material.root_pem(CA), material.root_der(CA)
PEMS, DERS = PEM + material.root_pem(OTHER), DER + material.root_der(OTHER)

ENCODINGS = {
    "base64(DER)": (base64.b64encode(DER), 1),
    "base64(DER) in lines": (base64.encodebytes(DER), 1),
    "base64(DER) unpadded": (base64.b64encode(DER).rstrip(b"="), 1),
    "base64(PEM)": (base64.b64encode(PEM), 1),
    "base64url(DER)": (base64.urlsafe_b64encode(DER), 1),
    "base64url(PEM) unpadded": (base64.urlsafe_b64encode(PEM).rstrip(b"="), 1),
    "PEM": (PEM, 1),
    "PEM with CRLF": (PEM.replace(b"\n", b"\r\n"), 1),
    "several, PEM": (PEMS, 2),
    "several, base64(PEM)": (base64.b64encode(PEMS), 2),
    "several, base64url(PEM) unpadded": (base64.urlsafe_b64encode(PEMS).rstrip(b"="), 2),
    "several, base64(DER)": (base64.b64encode(DERS), 2),
}


def body(value: object) -> bytes:
    """Return the answer that holds `value`."""
    return json.dumps({"certificate": value}).encode()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_gives_the_same_root(encoding: str) -> None:
    """Each encoding that servers use gives the very root, and a second one where there are two."""
    text, count = ENCODINGS[encoding]
    anchors = decode_answer(body(text.decode()), material.now())
    assert len(anchors) == count
    assert anchors[0].der == DER
    assert anchors[0].fingerprint == material.fingerprint(PEM)


def test_other_members_have_no_effect() -> None:
    """Unknown members, white space and a byte order mark around the object are no matter."""
    text = json.dumps({"certificate": PEM.decode(), "expires": 1e999, "anchors": ["x"]}, indent=2)
    assert decode_answer(b"\xef\xbb\xbf" + text.encode() + b"\n", material.now())[0].der == DER


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not JSON"),
        (b"<html>Log in</html>", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"certificate":' * 8_000, "not JSON"),
        (b'{"certificate": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "larger than"),
        (b'{"certificate": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", "not JSON"),
        (b'{"certificate": ' + b"9" * 60_000 + b"}", "not JSON"),
        (b"null", "not a JSON object"),
        (b'"' + base64.b64encode(DER) + b'"', "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b"{}", "not a JSON object"),
        (PEM, "not JSON"),
        (body(None), "not a string"),
        (body(1), "not a string"),
        (body(True), "not a string"),
        (body([PEM.decode()]), "not a string"),
        (body({"pem": PEM.decode()}), "not a string"),
        (body(""), "empty"),
        (body("   "), "empty"),
        (body("not base64!"), "neither PEM nor base64"),
        (body("ä" * 10), "neither PEM nor base64"),
        (body("\ud800"), "neither PEM nor base64"),
        (body("-----BEGIN CERTIFICATE-----\n\ud800"), "damaged"),
        (body("A"), "neither PEM nor base64"),
        (body(base64.b64encode(b"hello").decode()), "no certificate"),
        (body(base64.b64encode(base64.b64encode(DER)).decode()), "no certificate"),
        (body(material.leaf_pem(CA).decode()), "not a CA"),
        (body("A" * 1_000_000), "larger than"),
        (body("A" * 100_000), "larger than"),
        (b" " * 10_000_000, "larger than"),
    ],
)
def test_what_is_no_root_is_refused(data: bytes, says: str) -> None:
    """Every other body is a TrustError with the reason of the download, in words that say what came."""
    with pytest.raises(TrustError) as caught:
        decode_answer(data, material.now())
    assert caught.value.reason is reasons.CA_ANSWER_INVALID
    assert says in caught.value.message
    assert len(caught.value.message) < 400


def test_an_expired_root_is_refused() -> None:
    """The clock decides for a download as it does for a file."""
    with pytest.raises(TrustError, match="expired") as caught:
        decode_answer(body(PEM.decode()), 1e11)
    assert caught.value.reason is reasons.CA_ANSWER_INVALID
