"""The root CA by `GET /api/v1/onboarding/certificate`, over a channel that the system's CA store vouches for."""

from __future__ import annotations

import base64
import json
import ssl
from pathlib import Path

import pytest
import trustme

from margod.trust import decode_certificates
from tests.e2e.checked import CheckedDaemon, failed
from tests.support.devwfm import DevWfm
from tests.support.rawserver import Certificates, RawServer, Script, Turn
from tests.support.shell import Shell

pytestmark = pytest.mark.e2e

SYSTEM = "trust: {system: true}"
ROUTE = "GET /api/v1/onboarding/certificate HTTP/1.1"


def store(*files: Path) -> dict[str, str]:
    """An environment in which the system's CA store is exactly these files."""
    path = files[0].with_name("system-store.pem")
    path.write_bytes(b"".join(file.read_bytes() for file in files))
    empty = files[0].with_name("no-hashed-certificates")
    empty.mkdir(exist_ok=True)
    return {"SSL_CERT_FILE": str(path), "SSL_CERT_DIR": str(empty)}


def pem_file(ca: trustme.CA, file: Path) -> Path:
    """The root as a file."""
    ca.cert_pem.write_to_path(str(file))
    return file


def document(pem: bytes) -> bytes:
    """A Certificate API answer."""
    return json.dumps({"certificate": base64.b64encode(pem).decode()}).encode()


async def test_downloaded_and_then_the_only_anchor(tmp_path: Path) -> None:
    """One download over a verified channel, then the onboarding under that root alone, which outlives a restart."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        (root,) = decode_certificates(wfm.ca_file.read_bytes(), 0.0)
        env = store(wfm.ca_file)
        daemon = CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=SYSTEM, env=env)
        async with daemon:
            status = await daemon.until("enrolled")
            routes = [r["route"] for r in await wfm.requests()]
            assert routes == ["certificate", "certificate", "onboarding", "capabilities"], "the second under that root"
            anchors = [anchor["fingerprint"] for anchor in status["trust"]["anchors"]]
            assert (status["trust"]["source"], anchors) == ("system", [root.fingerprint])
            await daemon.stop()
            await daemon.restart()
            assert (await daemon.until("enrolled"))["trust"] == status["trust"]
            assert len(await wfm.requests()) == 4


async def test_a_root_from_a_file_never_passes_for_a_downloaded_one(tmp_path: Path) -> None:
    """From ca_file to system: the old file's root verifies nothing more, at the first start and at the second."""
    async with DevWfm(tmp_path / "wfm", "--approval", "manual") as wfm:
        other = pem_file(trustme.CA(), tmp_path / "other.pem")
        daemon = CheckedDaemon(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file, env=store(other))
        async with daemon:
            await daemon.until("pending-approval")
            text = daemon.config.read_text().replace(f"trust: {{ca_file: {wfm.ca_file}}}", SYSTEM)
            daemon.config.write_text(text)
            await daemon.stop()
            before = len(await wfm.requests())
            await daemon.restart()
            await daemon.until("untrusted", "tls-unknown-issuer")
            await daemon.stop()
            await daemon.restart()
            waiting = await daemon.until("untrusted", "tls-unknown-issuer")
            await daemon.retry()
            again = await daemon.until_status(lambda s: s["attempt"] > waiting["attempt"], "asked again")
            await daemon.until_status(lambda s: s["next_attempt_at"] not in (None, waiting["next_attempt_at"]), "done")
            assert again["state"] == "untrusted"
            assert len(await wfm.requests()) == before


async def test_another_server_of_the_system_store_is_refused_afterwards(tmp_path: Path) -> None:
    """Once the root is there the system's store counts no more: not for its other CAs, not after a new start."""
    mine, other = Certificates(), Certificates()
    mine_file, other_file = pem_file(mine.ca, tmp_path / "mine.pem"), pem_file(other.ca, tmp_path / "other.pem")
    context = mine.server()

    async def script(turn: Turn) -> None:
        if turn.request.line == ROUTE:
            await turn.answer(200, document(mine_file.read_bytes()))
        else:
            await turn.answer(202, b"{}")

    async with RawServer(script, context=context) as server:
        env = store(mine_file, other_file)
        daemon = CheckedDaemon(tmp_path / "d", url=server.url, yaml=SYSTEM, env=env)
        async with daemon:
            await daemon.until("pending-approval")
            assert [request.line.split()[0] for request in server.requests][:3] == ["GET", "GET", "POST"]
            other.ca.issue_cert("127.0.0.1").configure_cert(context)  # from now on the server shows this one
            await server.close_connections()
            asked = len(server.requests)  # whoever waits for approval may have asked again by now
            await daemon.retry()
            await daemon.until_status(lambda s: s["connection"] == "intercepted", "refused")
            await daemon.stop()
            await daemon.restart()
            await daemon.until("pending-approval")
            await daemon.retry()
            status = await daemon.until_status(lambda s: s["connection"] == "intercepted", "refused again")
            assert (status["state"], status["last_error"]["code"]) == ("pending-approval", "intercepted")
            assert len(server.requests) == asked


async def test_a_wfm_that_does_not_offer_its_root(tmp_path: Path) -> None:
    """404 there is untrusted with the way out named, nothing is onboarded; once it is offered, it enrols."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        await wfm.fault("answer", route="certificate", status=404, body='{"error": "no such route"}', times=0)
        async with CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=SYSTEM, env=store(wfm.ca_file)) as daemon:
            status = await daemon.until("untrusted")
            assert failed(status, "untrusted", "ca-not-offered", "online") == "HTTP 404: no such route"
            assert "trust.ca_file" in status["hint"]
            assert [r["route"] for r in await wfm.requests()] == ["certificate"]
            await wfm.clear_faults()
            await daemon.retry()
            await daemon.until("enrolled")


async def test_nothing_to_trust_with(tmp_path: Path) -> None:
    """Neither ca_file nor system, or a system store that is empty: untrusted, and no connection to the server."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        async with CheckedDaemon(tmp_path / "a", url=wfm.url, env=store(wfm.ca_file)) as daemon:
            failed(await daemon.until("untrusted"), "untrusted", "no-anchor", "idle")
        (tmp_path / "none.pem").touch()
        env = store(tmp_path / "none.pem")
        async with CheckedDaemon(tmp_path / "b", url=wfm.url, yaml=SYSTEM, env=env) as daemon:
            status = await daemon.until("untrusted")
            assert "system's CA store is empty" in failed(status, "untrusted", "no-anchor", "untrusted")
        assert (await wfm.stats())["connections"] == 0


async def test_the_system_does_not_vouch_for_the_server(tmp_path: Path) -> None:
    """A server that the system's store does not know is asked for nothing: the handshake is all there is."""
    stranger = pem_file(Certificates().ca, tmp_path / "stranger.pem")
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=SYSTEM, env=store(stranger)) as daemon,
    ):
        status = await daemon.until("untrusted")
        assert failed(status, "untrusted", "tls-unknown-issuer", "untrusted")
        stats = await wfm.stats()
        assert (stats["requests_total"], stats["connections"]) == (0, 2), "one to verify, one to look who is there"


def _answer(status: int, body: bytes = b"") -> Script:
    async def script(turn: Turn) -> None:
        await turn.answer(status, body)

    return script


async def _endless(turn: Turn) -> None:
    await turn.send(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        await turn.send(b"[" * 65_536)


async def _reset(turn: Turn) -> None:
    turn.reset()


ELSEWHERE = trustme.CA().issue_cert("wfm.example")
INVALID = ("untrusted", "ca-answer-invalid", "online")
NOT_OFFERED = ("untrusted", "ca-not-offered", "online")
ANSWERS: dict[str, tuple[Script, tuple[str, str, str]]] = {
    **{f"{status}": (_answer(status), NOT_OFFERED) for status in (400, 401, 403, 404, 405, 409, 410, 418, 422)},
    **{f"{status}": (_answer(status), INVALID) for status in (200, 201, 202, 205, 206)},
    **{f"{status}": (_answer(status), ("untrusted", "redirected", "online")) for status in (301, 302, 307, 308)},
    **{f"{status}": (_answer(status), ("onboarding", "wfm-busy", "online")) for status in (408, 425, 429, 503)},
    **{f"{status}": (_answer(status), ("onboarding", "wfm-error", "online")) for status in (500, 502, 511)},
    "HTML": (_answer(200, b"<html><title>Sign in\x1b[2J</title></html>"), INVALID),
    "no member": (_answer(200, b'{"cert": "x"}'), INVALID),
    "a number": (_answer(200, b'{"certificate": 7}'), INVALID),
    "an empty string": (_answer(200, b'{"certificate": ""}'), INVALID),
    "no base64": (_answer(200, b'{"certificate": "\xc3\xa9\\u202e"}'), INVALID),
    "no certificate": (_answer(200, document(b"hello, world")), INVALID),
    "a server's certificate": (_answer(200, document(ELSEWHERE.cert_chain_pems[0].bytes())), INVALID),
    "a private key": (_answer(200, document(ELSEWHERE.private_key_pem.bytes())), INVALID),
    "100,000 deep": (_answer(200, b'{"a":' * 50_000), INVALID),
    "endless": (_endless, ("onboarding", "answer-too-large", "offline")),
    "reset": (_reset, ("onboarding", "connection-lost", "offline")),
}


@pytest.mark.parametrize("row", ANSWERS)
async def test_answers_to_the_download(row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes instead of a root CA, nothing else is asked of that server; a mended one enrols the device."""
    behave, expected = ANSWERS[row]
    certificates = Certificates()
    file = pem_file(certificates.ca, tmp_path / "ca.pem")
    for name, value in store(file).items():
        monkeypatch.setenv(name, value)
    mended = False

    async def script(turn: Turn) -> None:
        if turn.request.line != ROUTE:
            await turn.answer(201, b'{"clientId": "client-1"}')
        elif mended:
            await turn.answer(200, document(file.read_bytes()))
        else:
            await behave(turn)

    async with (
        RawServer(script, context=certificates.server()) as server,
        Shell(tmp_path, url=server.url, yaml=SYSTEM) as device,
    ):
        failed(device.status(), *expected)
        assert [request.line for request in server.requests] == [ROUTE]
        mended = True
        assert (await device.attempt())["state"] == "enrolled"


async def test_another_root_than_the_servers_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root that does not vouch for the server it came from is never kept: the next download may be the right one."""
    certificates, other = Certificates(), Certificates()
    file, wrong = pem_file(certificates.ca, tmp_path / "ca.pem"), pem_file(other.ca, tmp_path / "other.pem")
    for name, value in store(file).items():
        monkeypatch.setenv(name, value)

    offered = wrong

    async def script(turn: Turn) -> None:
        if turn.request.line == ROUTE:
            await turn.answer(200, document(offered.read_bytes()))
        else:
            await turn.answer(201, b'{"clientId": "client-1"}')

    async with (
        RawServer(script, context=certificates.server()) as server,
        Shell(tmp_path, url=server.url, yaml=SYSTEM) as device,
    ):
        assert failed(device.status(), "untrusted", "tls-unknown-issuer", "untrusted")
        assert [request.line for request in server.requests] == [ROUTE]
        offered = file
        assert (await device.attempt())["state"] == "enrolled"


@pytest.mark.parametrize("yaml", [SYSTEM, "trust: {first_use: accept}"])
async def test_a_strangers_root_beside_it(yaml: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several roots in the first answer only the one that vouches for the server is an anchor afterwards."""
    good, stranger = Certificates(), Certificates()
    file, other = pem_file(good.ca, tmp_path / "ca.pem"), pem_file(stranger.ca, tmp_path / "other.pem")
    for name, value in store(file).items():
        monkeypatch.setenv(name, value)

    async def script(turn: Turn) -> None:
        if turn.request.line == ROUTE:
            await turn.answer(200, document(other.read_bytes() + file.read_bytes()))
        else:
            await turn.answer(202, b"{}")

    async with (
        RawServer(script, context=good.server()) as server,
        Shell(tmp_path, url=server.url, yaml=yaml) as device,
    ):
        status = device.status()
        (root,) = decode_certificates(file.read_bytes(), 0.0)
        assert status["state"] == "pending-approval"
        assert [anchor["fingerprint"] for anchor in status["trust"]["anchors"]] == [root.fingerprint]


async def test_a_ca_beneath_the_root_is_kept_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends its own certificate alone is verified by what the download holds beside the root."""
    root, stranger = trustme.CA(), trustme.CA()
    middle = trustme.CA(parent_cert=root)
    file = pem_file(root, tmp_path / "ca.pem")
    leaf = middle.issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (tmp_path / "leaf.pem").write_bytes(leaf.private_key_pem.bytes() + leaf.cert_chain_pems[0].bytes())
    context.load_cert_chain(tmp_path / "leaf.pem")
    (tmp_path / "middle.pem").write_bytes(middle.cert_pem.bytes())
    for name, value in store(file, tmp_path / "middle.pem").items():
        monkeypatch.setenv(name, value)

    async def script(turn: Turn) -> None:
        if turn.request.line == ROUTE:
            pem = middle.cert_pem.bytes() + stranger.cert_pem.bytes() + root.cert_pem.bytes()
            await turn.answer(200, document(pem))
        else:
            await turn.answer(202, b"{}")

    async with (
        RawServer(script, context=context) as server,
        Shell(tmp_path, url=server.url, yaml=SYSTEM) as device,
    ):
        assert device.status()["state"] == "pending-approval"
        assert len(device.status()["trust"]["anchors"]) == 2, "not the stranger's"
