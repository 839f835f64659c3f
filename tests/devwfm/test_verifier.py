"""The verifier: RFC vectors, a foreign signer, and everything that it has to refuse."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from margod.devwfm import keys
from margod.devwfm.structured import InnerList, Item, dictionary
from margod.devwfm.verifier import (
    LIKE_GO,
    STRICT,
    DigestRefused,
    Message,
    Refused,
    check_digest,
    signature_base,
    verify,
)
from tests.support.device import ALGORITHMS, Device, Prepared

VECTORS = Path(__file__).parent.parent / "vectors"
RFC9421 = json.loads((VECTORS / "rfc9421.json").read_text())
RFC9530 = json.loads((VECTORS / "rfc9530.json").read_text())

URL = "https://wfm.example:8082/v1alpha2/margo"
PATH = "/api/v1/clients/c1/capabilities/gw/child"
BODY = b'{"a": 1}'


def vector_message(name: str) -> Message:
    """Return one of the messages of RFC 9421 appendix B.2."""
    data = RFC9421["messages"][name]
    fields = tuple((key, value) for key, value in data["fields"])
    return Message(fields, data["method"], "https", data["authority"], data["target"], data["status"])


def vector_key(name: str) -> keys.PublicKey:
    """Return one of the keys of RFC 9421 appendix B.1."""
    key = load_der_public_key(base64.b64decode(RFC9421["keys"][name]))
    assert isinstance(key, keys.PUBLIC_KEYS)
    return key


@pytest.mark.parametrize("vector", RFC9421["signatures"], ids=lambda v: str(v["section"]))
def test_appendix_b(vector: dict[str, Any]) -> None:
    """Signature base and signature of RFC 9421 B.2.1 to B.2.4 and B.2.6, and no other signature, hold."""
    message, key = vector_message(vector["message"]), vector_key(vector["key"])
    ((label, covered),) = dictionary(vector["input"]).items()
    signature = dictionary(vector["signature"])[label]
    assert isinstance(covered, InnerList)
    assert isinstance(signature, Item)
    assert isinstance(signature.value, bytes)
    base = signature_base(message, covered.items, covered.parameters)
    assert base.decode().split("\n") == vector["base"]
    assert keys.algorithm_of(key) == vector["algorithm"]
    keys.check(key, vector["algorithm"], signature.value, base)
    wrong = bytes((signature.value[0] ^ 1,)) + signature.value[1:]
    with pytest.raises(keys.KeyRefused):
        keys.check(key, vector["algorithm"], wrong, base)
    with pytest.raises(keys.KeyRefused):
        keys.check(key, vector["algorithm"], signature.value, base + b" ")


def test_appendix_b_as_whole_requests() -> None:
    """B.2.6 goes through `verify` with its own components required, and fails outside the window of `created`."""
    vector = next(v for v in RFC9421["signatures"] if v["section"] == "B.2.6")
    message = vector_message("request")
    signed = (("signature-input", vector["input"]), ("signature", vector["signature"]))
    message = replace(message, fields=message.fields + signed)
    policy = replace(STRICT, required=("@method", "@path"))
    body = RFC9421["messages"]["request"]["body"].encode()
    check_digest(message, body)
    assert verify(message, b"", vector_key(vector["key"]), replace(policy, recompute_digest=False), 1618884473).label
    with pytest.raises(Refused, match="301 s old"):
        verify(message, b"", vector_key(vector["key"]), replace(policy, recompute_digest=False), 1618884473 + 301)


@pytest.mark.parametrize("vector", RFC9530["examples"], ids=lambda v: str(v["section"]))
def test_content_digest(vector: dict[str, str]) -> None:
    """The digests of RFC 9530 hold over exactly their bytes."""
    message = Message((("content-digest", vector["content_digest"]),))
    check_digest(message, vector["body"].encode())
    with pytest.raises(DigestRefused, match="not that of the body"):
        check_digest(message, vector["body"].encode() + b" ")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "sha-256",
        "sha-256=1",
        "md5=:aGk=:",
        "sha-256=:AAAA:",
        "sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=",
    ],
)
def test_content_digest_refused(value: str) -> None:
    """A digest that is malformed, of the wrong type, of no known algorithm or wrong is refused."""
    with pytest.raises(DigestRefused):
        check_digest(Message((("content-digest", value),)), b'{"hello": "world"}')


def test_every_known_digest_has_to_be_right() -> None:
    """One right and one wrong digest are wrong; an unknown algorithm beside a right one does not matter."""
    right = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"
    check_digest(Message((("content-digest", right), ("content-digest", "md5=:aGk=:"))), b'{"hello": "world"}')
    with pytest.raises(DigestRefused):
        check_digest(Message((("content-digest", f"{right}, sha-512=:aGk=:"),)), b'{"hello": "world"}')


def as_received(request: Prepared, **changes: Any) -> Message:
    """Return what the server would see of a signed request."""
    authority, slash, rest = request.url.removeprefix("https://").partition("/")
    fields = (("host", authority), *((name.lower(), value) for name, value in request.headers.items()))
    return replace(Message(fields, request.method, "https", authority, slash + rest), **changes)


@pytest.fixture(scope="module", params=ALGORITHMS)
def device(request: pytest.FixtureRequest) -> Device:
    """A device for each algorithm."""
    return Device(URL, Path(), request.param)


def public_key(device: Device) -> keys.PublicKey:
    """Return a device's public key."""
    return device.key.public_key()


@pytest.mark.parametrize("policy", [STRICT, LIKE_GO], ids=["strict", "go"])
@pytest.mark.parametrize("include_alg", [True, False])
def test_foreign_signer(device: Device, policy: Any, include_alg: bool) -> None:
    """What http-message-signatures signs with each algorithm holds; RSA without alg is read as rsa-pss-sha512."""
    # The package writes created, keyid, alg: the order that the Go verifier keeps.
    request = device.sign("POST", PATH, BODY, include_alg=include_alg)
    message = as_received(request)
    if device.algorithm == "rsa-v1_5-sha256" and not include_alg:
        with pytest.raises(Refused, match="does not match"):
            verify(message, BODY, public_key(device), policy, time.time())
        return
    verified = verify(message, BODY, public_key(device), policy, time.time())
    assert verified.algorithm == device.algorithm
    assert set(verified.covered) == {"@method", "@target-uri", "@authority", "content-digest"}


P256 = Device(URL, Path())
OTHER = Device(URL, Path())


def change(name: str, edit: Callable[[str], str]) -> Callable[[Message], Message]:
    """Return a change of one field's value."""

    def changed(message: Message) -> Message:
        return replace(message, fields=tuple((n, edit(v) if n == name else v) for n, v in message.fields))

    return changed


def without(name: str) -> Callable[[Message], Message]:
    """Return the removal of a field."""
    return lambda message: replace(message, fields=tuple(f for f in message.fields if f[0] != name))


TAMPERED: dict[str, Callable[[Message], Message]] = {
    "method": lambda m: replace(m, method="PUT"),
    "target": lambda m: replace(m, target=m.target + "2"),
    "target with dot segment": lambda m: replace(m, target=m.target.replace("gw/", "gw/./")),
    "percent-encoded target": lambda m: replace(m, target=m.target.replace("gw/child", "gw%2Fchild")),
    "query": lambda m: replace(m, target=m.target + "?"),
    "authority": lambda m: replace(m, authority="wfm.example"),
    "authority in capitals": lambda m: replace(m, authority="WFM.example:8082"),
    "scheme": lambda m: replace(m, scheme="http"),
    "created": change("signature-input", lambda v: v.replace("created=1", "created=2", 1)),
    "keyid": change("signature-input", lambda v: v.replace('keyid="key"', 'keyid="kex"')),
    "empty keyid": change("signature-input", lambda v: v.replace('keyid="key"', 'keyid=""')),
    "no keyid": change("signature-input", lambda v: v.replace(';keyid="key"', "")),
    "keyid as a token": change("signature-input", lambda v: v.replace('keyid="key"', "keyid=key")),
    "created as text": change("signature-input", lambda v: v.replace("d=", 'd="', 1).replace(";k", '";k')),
    "created as a flag": change("signature-input", lambda v: v.replace("created=", "created;x=")),
    "another alg": change("signature-input", lambda v: v + ';alg="ed25519"'),
    "unregistered alg": change("signature-input", lambda v: v + ';alg="rsa-pss-sha256"'),
    "hmac": change("signature-input", lambda v: v + ';alg="hmac-sha256"'),
    "fewer components": change("signature-input", lambda v: v.replace(' "content-digest"', "")),
    "a component twice": change("signature-input", lambda v: v.replace('("@method"', '("@method" "@method"')),
    "an absent field": change("signature-input", lambda v: v.replace('("@method"', '("@method" "x-absent"')),
    "an unknown derived component": change("signature-input", lambda v: v.replace('("@m', '("@status" "@m')),
    "the parameters themselves": change("signature-input", lambda v: v.replace('("@m', '("@signature-params" "@m')),
    "a component parameter": change("signature-input", lambda v: v.replace('"@method"', '"@method";req')),
    "a capital in a component": change("signature-input", lambda v: v.replace("content-digest", "Content-Digest")),
    "other label": change("signature", lambda v: v.replace("sig1=", "sig2=")),
    "two labels": change("signature-input", lambda v: f"{v}, sig2={v[5:]}"),
    "signature of text": change("signature", lambda v: 'sig1="x"'),
    "input without list": change("signature-input", lambda v: "sig1=1"),
    "malformed input": change("signature-input", lambda v: v + ","),
    "malformed signature": change("signature", lambda v: v.rstrip(":")),
    "a byte less": change("signature", lambda v: f"sig1=:{base64.b64encode(base64.b64decode(v[6:-1])[1:]).decode()}:"),
    "DER": change("signature", lambda v: "sig1=:" + base64.b64encode(b"\x30\x44" + b"\x00" * 68).decode() + ":"),
    "zero": change("signature", lambda v: "sig1=:" + base64.b64encode(bytes(64)).decode() + ":"),
    "no signature": without("signature"),
    "no signature input": without("signature-input"),
    "no digest": without("content-digest"),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
def test_tampered(what: str) -> None:
    """Any change of what was signed, or of the signature, is refused."""
    message = as_received(P256.sign("POST", PATH, BODY))
    verify(message, BODY, public_key(P256), STRICT, time.time())
    tampered = TAMPERED[what](message)
    assert tampered != message
    with pytest.raises(Refused):
        verify(tampered, BODY, public_key(P256), STRICT, time.time())


def test_another_key_or_body() -> None:
    """Another key of the same kind, another kind of key, and another body are refused."""
    message = as_received(P256.sign("POST", PATH, BODY))
    for wrong in (public_key(OTHER), vector_key("test-key-ed25519"), vector_key("test-key-rsa-pss")):
        with pytest.raises(Refused):
            verify(message, BODY, wrong, STRICT, time.time())
    with pytest.raises(DigestRefused):
        verify(message, BODY + b" ", public_key(P256), STRICT, time.time())


@pytest.mark.parametrize(
    "components", [("@method", "@authority"), ("@target-uri",), ("@method", "@path", "@authority")]
)
def test_required_components(components: tuple[str, ...]) -> None:
    """A right signature over too little is refused."""
    message = as_received(P256.sign("POST", PATH, BODY, covered_component_ids=components))
    with pytest.raises(Refused, match="does not cover"):
        verify(message, BODY, public_key(P256), STRICT, time.time())


def test_digest_must_be_covered() -> None:
    """A body whose digest is right but not signed is refused."""
    request = P256.sign("POST", PATH, b"")
    digest = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    request.headers["Content-Digest"] = f"sha-256=:{digest}:"
    with pytest.raises(Refused, match="does not cover content-digest"):
        verify(as_received(request), BODY, public_key(P256), STRICT, time.time())


@pytest.mark.parametrize(("age", "holds"), [(0, True), (299, True), (301, False), (-4, True), (-7, False)])
def test_created_window(age: int, holds: bool) -> None:
    """`created` may be 5 minutes old and a few seconds ahead, no more; the Go verifier does not look at it."""
    now = int(time.time())
    message = as_received(P256.sign("GET", PATH, created=datetime.fromtimestamp(now - age, UTC)))
    verify(message, b"", public_key(P256), LIKE_GO, now)
    if holds:
        verify(message, b"", public_key(P256), STRICT, now)
    else:
        with pytest.raises(Refused, match="created"):
            verify(message, b"", public_key(P256), STRICT, now)


def test_expires() -> None:
    """A signature past its own `expires` is refused."""
    now = datetime.now(UTC)
    message = as_received(
        P256.sign("GET", PATH, created=now - timedelta(seconds=9), expires=now - timedelta(seconds=1))
    )
    with pytest.raises(Refused, match="expired"):
        verify(message, b"", public_key(P256), STRICT, now.timestamp())


def signed_with(parameters: str, order: str, extra: tuple[str, str] = ("", "")) -> Message:
    """Return a request signed by P256 over `parameters` but sent with `order` in Signature-Input.

    `extra` is one more component and its line in the signature base.
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    components = f'("@method" "@target-uri"{extra[0]})'
    base = f'"@method": GET\n"@target-uri": {URL}{PATH}\n{extra[1]}"@signature-params": {components}{parameters}'
    assert isinstance(P256.key, ec.EllipticCurvePrivateKey)
    r, s = utils.decode_dss_signature(P256.key.sign(base.encode(), ec.ECDSA(hashes.SHA256())))
    signature = base64.b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode()
    headers = {"Signature-Input": f"x={components}{order}", "Signature": f"x=:{signature}:"}
    return as_received(Prepared("GET", URL + PATH, headers))


def test_fixed_order_of_the_go_verifier() -> None:
    """It writes created, expires, keyid, alg, nonce, tag anew and drops the rest: RFC-valid orders fail there only."""
    now = int(time.time())
    fixed = f';created={now};keyid="k";alg="ecdsa-p256-sha256"'
    other = f';keyid="k";alg="ecdsa-p256-sha256";created={now}'
    extra = f';created={now};keyid="k";extra=1'
    for parameters, strict, go in ((fixed, True, True), (other, True, False), (extra, True, False)):
        message = signed_with(parameters, parameters)
        for policy, holds in ((STRICT, strict), (LIKE_GO, go)):
            if holds:
                verify(message, b"", public_key(P256), policy, now)
            else:
                with pytest.raises(Refused, match="does not match"):
                    verify(message, b"", public_key(P256), policy, now)
    # The other way round: signed in the fixed order, sent in another, it holds there and only there.
    message = signed_with(fixed, other)
    verify(message, b"", public_key(P256), LIKE_GO, now)
    with pytest.raises(Refused, match="does not match"):
        verify(message, b"", public_key(P256), STRICT, now)


def test_a_component_covered_twice() -> None:
    """A component that is covered twice is refused even if that is what was signed."""
    now = int(time.time())
    parameters = f';created={now};keyid="k"'
    message = signed_with(parameters, parameters, (' "@authority"', '"@authority": wfm.example:8082\n'))
    verify(message, b"", public_key(P256), STRICT, now)
    message = signed_with(parameters, parameters, (' "@method"', '"@method": GET\n'))
    with pytest.raises(Refused, match="covered twice"):
        verify(message, b"", public_key(P256), STRICT, now)


def test_go_verifier_ignores_the_digest() -> None:
    """A body that does not fit its digest passes there."""
    message = as_received(P256.sign("POST", PATH, BODY))
    verify(message, b"something else", public_key(P256), LIKE_GO, time.time())
