"""RFC 9421 and RFC 9530 headers, checked by verifiers that do not share a line with the signer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives import serialization

from margod.devwfm import verifier
from margod.model.wire import Auth, Request, SignedRequest
from margod.protocols.signed import Dialect, Signed, SignedAs
from tests.protocols.keys import KEYS, public_pem, signer

INTEROP = Path(__file__).parent.parent / "interop"
NOW = 1_795_000_000
POST = Request(
    "POST", "/api/v1/onboarding", Auth.SIGNATURE, {"Content-Type": "application/json"}, b'{"hello": "world"}'
)
REQUESTS = {
    "post": (POST, "https://wfm.example"),
    "get": (Request("GET", "/api/v1/clients/a/deployments", Auth.SIGNATURE), "https://wfm.example:8443"),
    "prefix": (POST, "https://wfm.example:8082/v1alpha2/margo"),
    "escaped": (replace(POST, method="PUT", path="/api/v1/clients/a%2Fb%3D/capabilities/x/y~z"), "https://wfm.example"),
    "ipv6": (POST, "https://[::1]:8443/tenant"),
}


def signed(algorithm: str, name: str) -> SignedRequest:
    """Sign one of the requests."""
    request, base = REQUESTS[name]
    return Signed(Dialect()).authenticate(request, base, signer(algorithm), NOW)


def as_received(request: SignedRequest) -> verifier.Message:
    """Return the message as a server sees it: the Host header and the raw target."""
    url = urlsplit(request.url)
    fields = tuple((name.lower(), value) for name, value in request.headers.items())
    return verifier.Message(fields, request.method, "https", url.netloc, request.url.split(url.netloc, 1)[1])


def verify(request: SignedRequest, algorithm: str, policy: verifier.Policy) -> verifier.Verified:
    """Verify with the bundled WFM's verifier."""
    return verifier.verify(as_received(request), request.body, KEYS[algorithm].public_key(), policy, NOW + 1)


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("policy", [verifier.STRICT, verifier.LIKE_GO], ids=["strict", "like-go"])
def test_accepted_by_the_written_from_the_rfc_verifier(name: str, algorithm: str, policy: verifier.Policy) -> None:
    """Strictly read, and with the Go verifier's fixed order of parameters, every algorithm verifies."""
    assert verify(signed(algorithm, name), algorithm, policy).algorithm == algorithm


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: replace(r, body=b'{"hello": "wOrld"}'),
        lambda r: replace(r, url=r.url + "x"),
        lambda r: replace(r, url=r.url.replace("wfm.example", "wfm.example:444")),
        lambda r: replace(r, method="PUT"),
        lambda r: replace(r, headers={**r.headers, "Content-Digest": "sha-256=:" + "A" * 43 + "=:"}),
    ],
    ids=["body", "path", "authority", "method", "digest"],
)
def test_a_spoiled_request_is_refused(spoil: object) -> None:
    """Nothing that is covered can change on the way."""
    assert callable(spoil)
    with pytest.raises(verifier.Refused):
        verify(spoil(signed("ecdsa-p256-sha256", "post")), "ecdsa-p256-sha256", verifier.STRICT)


def test_headers_in_the_one_form_that_all_servers_take() -> None:
    """Label, covered components, and the parameters created;keyid;alg in exactly that order."""
    request = signed("ecdsa-p256-sha256", "post")
    key_id = signer("ecdsa-p256-sha256").key_id
    assert request.headers["Signature-Input"] == (
        f'sig1=("@method" "@target-uri" "@authority" "content-digest");created={NOW};keyid="{key_id}";'
        'alg="ecdsa-p256-sha256"'
    )
    bodyless = signed("ecdsa-p256-sha256", "get")
    assert '("@method" "@target-uri" "@authority");' in bodyless.headers["Signature-Input"]
    assert "Content-Digest" not in bodyless.headers


def test_content_digest_is_the_rfcs() -> None:
    """The digest of RFC 9530 appendix B.1's body is the one printed there."""
    request = replace(POST, body=b'{"hello": "world"}\n')
    made = Signed(Dialect()).authenticate(request, "https://wfm.example", signer("ed25519"), NOW)
    assert made.headers["Content-Digest"] == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"


def test_ed25519_signature_of_the_rfc() -> None:
    """RFC 9421 B.2.6: our signer makes the printed signature, byte for byte, from the printed base."""
    from margod.identity import KeySigner

    pem = (
        b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n"
        b"-----END PRIVATE KEY-----\n"
    )
    base = (
        '"date": Tue, 20 Apr 2021 02:07:55 GMT\n"@method": POST\n"@path": /foo\n"@authority": example.com\n'
        '"content-type": application/json\n"content-length": 18\n'
        '"@signature-params": ("date" "@method" "@path" "@authority" "content-type" "content-length")'
        ';created=1618884473;keyid="test-key-ed25519"'
    )
    key = serialization.load_pem_private_key(pem, None)
    from base64 import b64encode

    from cryptography.hazmat.primitives.asymmetric import ed25519

    assert isinstance(key, ed25519.Ed25519PrivateKey)
    printed = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
    assert b64encode(KeySigner(key).sign(base.encode())).decode() == printed


def test_accepted_by_another_language() -> None:
    """The npm package http-message-signatures verifies every algorithm, and refuses what was spoiled."""
    node = shutil.which("node")
    if node is None or not (INTEROP / "node_modules").is_dir():
        if os.environ.get("CI"):
            pytest.fail("CI has Node.js and `make test` installs the package: neither may be missing here")
        pytest.skip("Node.js is not installed, so the implementation in another language cannot be asked")
    cases, expected = [], []
    for algorithm in KEYS:
        for name in REQUESTS:
            request = signed(algorithm, name)
            case = {
                "method": request.method,
                "url": request.url,
                "headers": dict(request.headers),
                "publicKey": public_pem(algorithm),
                "algorithm": algorithm,
            }
            cases += [case, {**case, "method": "DELETE"}]
            expected += [True, False]
    done = subprocess.run(
        [node, "verify.js"],
        cwd=INTEROP,
        input="".join(json.dumps(case) + "\n" for case in cases),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert [json.loads(line) for line in done.stdout.splitlines()] == expected


BEHIND_A_BALANCER = [
    ("https", "wfm.internal:8080", "https", "wfm.internal:8080"),
    ("http", "", "http", "wfm.example:8082"),
    ("http", "wfm.internal:80", "http", "wfm.internal"),
    ("https", "[fd00::1]:8443", "https", "[fd00::1]:8443"),
]


@pytest.mark.parametrize(("scheme", "authority", "seen_scheme", "seen"), BEHIND_A_BALANCER)
def test_signed_as_the_balancer_hands_it_on(scheme: str, authority: str, seen_scheme: str, seen: str) -> None:
    """The signature holds for what the WFM sees and not for what is sent; the URL stays what is asked."""
    request, base = REQUESTS["prefix"]
    made = Signed(Dialect(), SignedAs(scheme, authority)).authenticate(request, base, signer("ed25519"), NOW)
    assert made.url == base + request.path
    message = as_received(made)
    key = KEYS["ed25519"].public_key()
    behind = replace(message, scheme=seen_scheme, authority=seen)
    verifier.verify(behind, made.body, key, verifier.STRICT, NOW + 1)
    with pytest.raises(verifier.Refused):
        verifier.verify(message, made.body, key, verifier.STRICT, NOW + 1)
