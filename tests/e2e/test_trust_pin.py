"""trust.pin: the root CA over a channel that nobody vouches for, where an attacker may answer anything."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from margod.trust import Anchor, decode_certificates
from tests.e2e.checked import CheckedDaemon, failed
from tests.support.devwfm import DevWfm
from tests.support.rawserver import Certificates, RawServer, Script, Turn
from tests.support.shell import Shell

pytestmark = pytest.mark.e2e

ROUTE = "GET /api/v1/onboarding/certificate HTTP/1.1"


def root(pem: bytes) -> Anchor:
    """The one root in a PEM."""
    (found,) = decode_certificates(pem, 0.0)
    return found


def pinned(*pins: str) -> str:
    """The configuration with these pins."""
    return "trust:\n  pin:\n" + "".join(f'    - "{pin}"\n' for pin in pins)


def colons(fingerprint: str) -> str:
    """A fingerprint as openssl prints it."""
    return ":".join(fingerprint[at : at + 2] for at in range(0, 64, 2)).upper()


def document(*pems: bytes, **more: Any) -> bytes:
    """A Certificate API answer."""
    return json.dumps({"certificate": base64.b64encode(b"".join(pems)).decode(), **more}).encode()


async def test_pinned_key_then_verified(tmp_path: Path) -> None:
    """By the key's pin, in base64: one unverified GET, then everything over a connection under that root alone."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        anchor = root(wfm.ca_file.read_bytes())
        pin = "spki:" + base64.b64encode(bytes.fromhex(anchor.spki)).decode()
        async with CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=f'trust: {{pin: "{pin}"}}') as daemon:
            status = await daemon.until("enrolled")
            assert [r["route"] for r in await wfm.requests()] == ["certificate", "onboarding", "capabilities"]
            (fetched,) = await wfm.requests("certificate")
            names = {name.lower() for name, _ in fetched["fields"]}
            assert names == {"host", "accept", "accept-encoding", "user-agent"}
            assert (fetched["method"], fetched["body"]) == ("GET", b"")
            stats = await wfm.stats()
            assert (stats["connections"], stats["handshakes_failed"]) == (2, 0)
            trust = status["trust"]
            assert (trust["source"], trust["offered"], len(trust["anchors"])) == ("pin", [], 1)
            assert (trust["anchors"][0]["fingerprint"], trust["anchors"][0]["spki"]) == (
                anchor.fingerprint,
                anchor.spki,
            )
            await daemon.stop()
            await daemon.restart()
            assert (await daemon.until("enrolled"))["trust"] == trust
            assert len(await wfm.requests()) == 3


async def test_a_man_in_the_middle(tmp_path: Path) -> None:
    """Another CA than the pinned one: what was expected and found is said, and one GET is all that is ever sent."""
    certificates, real = Certificates(), trustme.CA()
    wrong, right = root(certificates.ca.cert_pem.bytes()), root(real.cert_pem.bytes())
    says = "Ev1l words of the server"

    async def script(turn: Turn) -> None:
        assert turn.request.line == ROUTE
        await turn.answer(200, document(certificates.ca.cert_pem.bytes(), error=says), "Retry-After: 86400")

    async with (
        RawServer(script, context=certificates.server("elsewhere.example")) as server,
        CheckedDaemon(tmp_path / "d", url=server.url, yaml=pinned(colons(right.fingerprint))) as daemon,
    ):
        status = await daemon.until("untrusted", "pin-mismatch")
        detail = failed(status, "untrusted", "pin-mismatch", "untrusted")
        assert detail == f"expected {right.fingerprint}, found {wrong.fingerprint}"
        assert says not in json.dumps(status)
        assert status["trust"]["anchors"] == []
        wait = datetime.fromisoformat(status["next_attempt_at"]) - datetime.now(UTC)
        assert wait < timedelta(seconds=65)
        await daemon.retry()
        await daemon.until_status(lambda s: s["attempt"] > 1 and s["next_attempt_at"] is not None, "asked again")
        assert [request.line for request in server.requests] == [ROUTE, ROUTE]
        assert len({request.connection for request in server.requests}) == 2
        assert not any(request.body for request in server.requests)


async def test_the_right_root_through_a_stranger(tmp_path: Path) -> None:
    """A root CA is public: who hands out the right one without its key gets not one byte over the next connection."""
    certificates, real = Certificates(), trustme.CA()
    right = root(real.cert_pem.bytes())

    async def script(turn: Turn) -> None:
        await turn.answer(200, document(real.cert_pem.bytes()))

    async with (
        RawServer(script, context=certificates.server()) as server,
        Shell(tmp_path, url=server.url, yaml=pinned(right.fingerprint)) as device,
    ):
        assert failed(device.status(), "untrusted", "tls-unknown-issuer", "untrusted")
        assert [a["fingerprint"] for a in device.status()["trust"]["anchors"]] == [right.fingerprint]
        await device.attempt()
        assert [request.line for request in server.requests] == [ROUTE]


def dressed(key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey, *, ca: bool = True) -> bytes:
    """A self-issued certificate over `key` that `signer` has signed."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Plant Root")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    return built.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)


MINE, OTHER = Certificates(), trustme.CA()
KEY, THIEF = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
DRESSED = dressed(KEY, THIEF)
PINNED_KEY = "spki:" + root(dressed(KEY, KEY)).spki
ROOT = MINE.ca.cert_pem.bytes()
LEAF = MINE.ca.issue_cert("127.0.0.1").cert_chain_pems[0].bytes()


def _answer(status: int, body: bytes = b"", *headers: str) -> Script:
    async def script(turn: Turn) -> None:
        await turn.answer(status, body, *headers)

    return script


async def _endless(turn: Turn) -> None:
    await turn.send(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        await turn.send(b"[" * 65_536)


NOT_OFFERED = ("untrusted", "ca-not-offered", "online")
INVALID = ("untrusted", "ca-answer-invalid", "untrusted")
HOSTILE: dict[str, tuple[str, Script, tuple[str, str, str]]] = {
    "pinned key, signed by another": (PINNED_KEY, _answer(200, document(DRESSED)), INVALID),
    "the same beside a real root": (
        PINNED_KEY,
        _answer(200, document(ROOT, DRESSED)),
        ("untrusted", "pin-mismatch", "untrusted"),
    ),
    "the leaf only": (root(ROOT).fingerprint, _answer(200, document(LEAF)), INVALID),
    "a private key": (root(ROOT).fingerprint, _answer(200, document(OTHER.private_key_pem.bytes())), INVALID),
    "1 MB": (root(ROOT).fingerprint, _answer(200, document(ROOT * 900)), ("onboarding", "answer-too-large", "offline")),
    "garbage": (root(ROOT).fingerprint, _answer(200, b"<html>Sign in</html>"), INVALID),
    "404": (root(ROOT).fingerprint, _answer(404, b'{"error": "obey me"}'), NOT_OFFERED),
    "redirect": (
        root(ROOT).fingerprint,
        _answer(302, b"", "Location: https://evil.example/"),
        ("untrusted", "redirected", "online"),
    ),
    "busy for a day": (
        root(ROOT).fingerprint,
        _answer(503, b"obey me", "Retry-After: 86400"),
        ("onboarding", "wfm-busy", "online"),
    ),
    "endless": (root(ROOT).fingerprint, _endless, ("onboarding", "answer-too-large", "offline")),
}


@pytest.mark.parametrize("row", HOSTILE)
async def test_hostile_answers(row: str, tmp_path: Path) -> None:
    """Nothing of an unverified answer has an effect but a certificate that matches; no second request follows it."""
    pin, behave, expected = HOSTILE[row]

    async with (
        RawServer(behave, context=Certificates().server()) as server,
        Shell(tmp_path, url=server.url, yaml=pinned(pin)) as device,
    ):
        detail = failed(device.status(), *expected)
        assert "obey" not in detail
        assert "evil" not in detail
        assert device.wait() <= 360.0 + 1.0, "a stranger may not send the device away for long"
        assert [request.line for request in server.requests] == [ROUTE]
        assert device.status()["trust"]["anchors"] == []


async def test_the_matching_one_of_several_alone_counts(tmp_path: Path) -> None:
    """Of several certificates only the pinned one becomes an anchor: a stowaway beside it vouches for nobody."""

    async def script(turn: Turn) -> None:
        if turn.request.line == ROUTE:
            await turn.answer(200, document(OTHER.cert_pem.bytes(), ROOT))
        else:
            await turn.answer(202, b"{}")

    context = MINE.server()
    async with (
        RawServer(script, context=context) as server,
        Shell(tmp_path, url=server.url, yaml=pinned("0" * 64, root(ROOT).fingerprint)) as device,
    ):
        assert device.status()["state"] == "pending-approval"
        assert [a["fingerprint"] for a in device.status()["trust"]["anchors"]] == [root(ROOT).fingerprint]
        OTHER.issue_cert("127.0.0.1").configure_cert(context)
        await server.close_connections()
        await device.attempt()
        assert device.status()["connection"] == "intercepted"
        assert len(server.requests) == 2


async def test_another_pin_drops_the_old_root(tmp_path: Path) -> None:
    """A changed pin is the owner's word: the root of the old one vouches no more, and an enrolled device stays so."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        anchor = root(wfm.ca_file.read_bytes())
        async with CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=pinned(anchor.fingerprint)) as daemon:
            await daemon.until("enrolled")
            text = daemon.config.read_text()
            daemon.config.write_text(text.replace(anchor.fingerprint, "ab" * 32))
            assert (await daemon.reload())["result"] == "reloaded"
            status = await daemon.until_status(lambda s: s["last_error"] is not None, "pin mismatch")
            assert (status["state"], status["last_error"]["code"]) == ("enrolled", "pin-mismatch")
            assert (status["connection"], status["trust"]["anchors"]) == ("untrusted", [])
            daemon.config.write_text(text.replace(anchor.fingerprint, f"spki:{anchor.spki}"))
            await daemon.reload()
            status = await daemon.until_status(lambda s: s["trust"]["anchors"] != [], "downloaded anew")
            assert (status["state"], status["trust"]["source"]) == ("enrolled", "pin")
            assert {r["route"] for r in (await wfm.requests())[3:]} == {"certificate"}
