"""`margod check` as a process: the lines about the way to the WFM and what it answers."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from margod.service import clock
from tests.e2e import faketime
from tests.e2e.checking import ONLINE, Report, arguments, check, enrolled, run
from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm
from tests.support.proxyserver import ProxyServer, answers
from tests.support.rawserver import Certificates, RawServer, Turn
from tests.trust.material import dated_root

pytestmark = pytest.mark.e2e
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.mark.parametrize(
    ("kind", "code", "shows"),
    [
        ("expired", "tls-expired", "this device's clock says"),
        ("not-yet-valid", "tls-not-yet-valid", "this device's clock says"),
        ("wrong-host", "tls-wrong-host", "presented: "),
        ("other-ca", "tls-unknown-issuer", "presented: "),
        ("self-signed", "tls-unknown-issuer", "presented: "),
    ],
)
async def test_certificates(kind: str, code: str, shows: str, tmp_path: Path) -> None:
    """Each wrong certificate is named, shown, and gets no HTTP byte: not one request arrives."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        await wfm.fault("certificate", kind=kind, times=0)
        found = await check(Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file))
        assert found.verdict("tls") == ("failed", code)
        assert shows in found.lines["tls"]["detail"]
        assert len(found.lines["tls"]["facts"]["fingerprint"]) == 64
        assert found.skipped("tls") == {"certificate-api", "signed-request"}
        stats = await wfm.stats()
        assert (stats["requests_total"], stats["handshakes"]) == (0, 1)


async def test_root_ca(tmp_path: Path) -> None:
    """An expired, a missing and no root CA fail; what the server presents is shown, and nothing is sent to it."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        old, _ = dated_root(tmp_path, "old", timedelta(days=-20), timedelta(days=-10))
        for ca_file, code in (
            (old, "ca-file-invalid"),
            (tmp_path / "none", "ca-file-unreadable"),
            (None, "no-anchor"),
        ):
            found = await check(Daemon(tmp_path, url=wfm.url, ca_file=ca_file))
            assert found.verdict("root-ca") == ("failed", code)
            assert found.skipped("root-ca") == {"tls", "certificate-api", "signed-request"}
            assert "unverified, it presents" in found.lines["tls"]["message"]
        assert (await wfm.stats())["requests_total"] == 0


async def test_tls_version(tmp_path: Path) -> None:
    """A server of TLS 1.2 alone where 1.3 is wanted: named, with what it speaks."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        await wfm.fault("tls12", times=0)
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml='tls: {minimum_version: "1.3"}')
        found = await check(daemon)
        assert found.verdict("tls") == ("failed", "tls-version")
        assert "the server speaks TLSv1.2" in found.lines["tls"]["detail"]


async def test_no_name_and_no_port(tmp_path: Path) -> None:
    """An unknown name fails at dns, a closed port at tcp; what stands on them is skipped because of them."""
    found = await check(Daemon(tmp_path, url="https://wfm.invalid"))
    assert found.verdict("dns") == ("failed", "dns-failed")
    assert "wfm.url" in found.lines["dns"]["hint"]
    assert found.skipped("dns") == set(ONLINE) - {"dns"}
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # held, so that nobody else listens there, and not listened at
        found = await check(Daemon(tmp_path, url=f"https://127.0.0.1:{closed.getsockname()[1]}"))
    assert found.verdict("tcp") == ("failed", "connect-refused")
    assert found.skipped("tcp") == set(ONLINE) - {"dns", "tcp"}
    found = await check(Daemon(tmp_path))
    assert found.verdict("wfm")[0] in ("failed", "warning")
    assert found.skipped("wfm") == set(ONLINE)


@as_root
async def test_no_network(tmp_path: Path) -> None:
    """In a network without a route an address is unreachable, and name servers that say nothing cost six seconds."""
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\n")
    mute = (
        "import os, socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 53));"
        "s.set_inheritable(True); os.execv(sys.argv[1], sys.argv[1:])"
    )
    inside = 'ip link set lo up && mount --bind "$0" /etc/resolv.conf && exec "$@"'
    for url, name, code in (
        ("https://192.0.2.1", "tcp", "connect-failed"),
        ("https://wfm.example", "dns", "dns-failed"),
    ):
        daemon = Daemon(tmp_path, url=url)
        began = time.monotonic()
        status, out = await run(
            *("unshare", "--net", "--mount", "sh", "-c", inside, str(resolver), sys.executable, "-c", mute),
            *(sys.executable, "-m", "margod", "check", "--json", *arguments(daemon)),
        )
        found = Report(status, json.loads(out), time.monotonic() - began)
        assert found.verdict(name) == ("failed", code)
        assert found.seconds < 30
        assert name != "dns" or "no answer from the name servers" in found.lines["dns"]["detail"]


async def test_something_else_on_the_socket(tmp_path: Path) -> None:
    """What answers on the socket and is no margod of this kind is a line, not a traceback."""
    daemon = Daemon(tmp_path)
    daemon.runtime.mkdir()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.0 200 OK\r\nContent-Length: 15\r\n\r\n{"status": "x"}')
        writer.close()

    async with await asyncio.start_unix_server(answer, daemon.runtime / "status.sock"):
        found = await check(daemon, "--offline")
        assert found.verdict("local-socket") == ("failed", "daemon-unreachable")


async def test_hanging(tmp_path: Path) -> None:
    """Whatever hangs (TLS, HTTP, the local socket), it says so and ends within the time."""
    certificates = Certificates()
    ca_file = tmp_path / "ca.pem"
    certificates.ca.cert_pem.write_to_path(str(ca_file))

    async def script(turn: Turn) -> None:
        await turn.hold()

    daemon = Daemon(tmp_path, ca_file=ca_file)
    daemon.runtime.mkdir()
    with socket.socket(socket.AF_UNIX) as dumb:
        dumb.bind(str(daemon.runtime / "status.sock"))
        dumb.listen()
        async with RawServer(script, context=None) as silent, RawServer(script, context=certificates.server()) as mute:
            for server, line in ((silent, "tls"), (mute, "certificate-api")):
                daemon.configure(url=server.url, ca_file=ca_file)
                found = await check(daemon)
                assert found.verdict(line) == ("failed", "timed-out")
                assert found.verdict("local-socket") == ("failed", "daemon-unreachable")
                assert found.seconds < 45
    for request in mute.requests:
        assert request.line.startswith("GET /api/v1/onboarding/certificate ")


@faketime.needs_faketime
@pytest.mark.parametrize(
    ("shift", "verdict", "code", "tls"),
    [
        ("-3650d", "failed", "clock-implausible", ("failed", "tls-not-yet-valid")),
        ("+12m", "warning", "clock-offset", ("ok", None)),
        ("+48h", "failed", "clock-offset", ("ok", None)),
    ],
)
async def test_clock(shift: str, verdict: str, code: str, tls: tuple[str, str | None], tmp_path: Path) -> None:
    """A clock before the release date, one that signatures follow, and one beyond that: named, with the evidence."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = await enrolled(tmp_path, wfm)
        found = await check(daemon, env={**faketime.ENVIRONMENT, "FAKETIME": shift})
        kept = code == "clock-offset" and clock.synchronised()
        assert found.verdict("clock") == (verdict, f"wfm-{code}" if kept else code)
        assert found.verdict("tls") == tls
        if code == "clock-offset":
            ahead = {"+12m": 720, "+48h": 172_800}[shift]
            assert found.lines["clock"]["facts"]["wfm_offset_seconds"] == pytest.approx(-ahead, abs=30)
            assert "ahead of the WFM's" in found.lines["clock"]["detail"]
        if verdict == "warning":
            assert found.verdict("signed-request")[0] == "ok"
        elif code == "clock-offset":
            assert found.verdict("signed-request") == ("failed", "signature-refused")
            assert "ahead of the WFM's" in found.lines["signed-request"]["detail"]


async def test_unknown_revoked_and_other_root(tmp_path: Path) -> None:
    """A client that the WFM forgot or revoked, and a download that offers another root CA than ours."""
    certificates = Certificates()
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = await enrolled(tmp_path, wfm)
        pem = tmp_path / "other.pem"
        certificates.ca.cert_pem.write_to_path(str(pem))
        await wfm.fault("answer", route="certificate", status=200, body=json.dumps({"certificate": pem.read_text()}))
        await wfm.reject(1)
        found = await check(daemon)
        assert found.verdict("signed-request") == ("failed", "client-refused")
        assert found.verdict("certificate-api") == ("warning", "ca-differs")
        await wfm.fault("answer", route="certificate", status=404, body="no")
        await wfm.forget(1)
        found = await check(daemon)
        assert found.verdict("signed-request") == ("failed", "client-unknown")
        assert found.verdict("certificate-api") == ("warning", "ca-not-offered")
        assert len(await wfm.requests("onboarding")) == 1


async def test_proxy(tmp_path: Path) -> None:
    """Through a proxy all is looked at; one that refuses fails in its own line, without our credentials."""
    async with DevWfm(tmp_path / "wfm") as wfm, ProxyServer() as proxy:
        daemon = await enrolled(tmp_path, wfm)
        credentials = tmp_path / "credentials"
        credentials.write_text("somebody:secret\n")
        direct = daemon.config.read_text()
        settings = f"{{proxy: {proxy.url}, proxy_credentials_file: {credentials}, "
        daemon.config.write_text(direct.replace("wfm: {", f"wfm: {settings}"))
        found = await check(daemon)
        assert found.verdict("proxy") == found.verdict("signed-request") == ("ok", None)
        assert len(proxy.asked) == 3
        proxy.script = answers(b"HTTP/1.1 407 no\r\nX: secret\r\n\r\n")
        found = await check(daemon)
        assert found.verdict("proxy") == ("failed", "proxy-credentials-refused")
        assert found.skipped("proxy") == {"tls", "certificate-api", "signed-request"}
        assert "secret" not in json.dumps(found.document)
        daemon.config.write_text(direct.replace("wfm: {", "wfm: {proxy: http://127.0.0.1:1, "))
        found = await check(daemon)
        assert found.verdict("tcp") == ("failed", "proxy-unreachable")
        assert "wfm.proxy" in found.lines["tcp"]["hint"]
