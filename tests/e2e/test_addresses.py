"""The daemon as a process where names, addresses and what is between them are not as they should be."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509

from margod.devwfm import verifier
from tests.e2e.checked import CheckedDaemon, failed
from tests.e2e.test_bad_servers import waits
from tests.support.devwfm import DevWfm
from tests.support.rawserver import Certificates, RawServer, Turn

pytestmark = pytest.mark.e2e

NAME = "wfm.test"
PORTAL = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 35\r\n\r\n<html><h1>Accept our terms</h1></html>"
)


async def test_ipv6_literal(tmp_path: Path) -> None:
    """A WFM at https://[::1]:port is enrolled with: the signature covers the brackets, the certificate the address."""
    async with (
        DevWfm(tmp_path / "wfm", "--listen", "[::1]:0") as wfm,
        CheckedDaemon(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file) as daemon,
    ):
        assert wfm.url.startswith("https://[::1]:")
        assert (await daemon.until("enrolled"))["wfm"]["url"] == wfm.url


async def test_captive_portal(tmp_path: Path) -> None:
    """A portal that answers everything by 200 and a page, without TLS: tls-failed, and nothing was sent."""

    async def portal(turn: Turn) -> None:
        await turn.send(PORTAL)
        turn.close()

    ca = tmp_path / "ca.pem"
    Certificates().ca.cert_pem.write_to_path(str(ca))
    async with (
        RawServer(portal, context=None, wild=True) as server,
        CheckedDaemon(tmp_path / "d", url=server.url, ca_file=ca) as daemon,
    ):
        status = await daemon.until_status(waits("tls-failed"), "tls-failed")
        failed(status, "onboarding", "tls-failed", "offline")
        assert "captive portal" in status["hint"]


async def test_captive_portal_with_a_certificate_of_its_own(tmp_path: Path) -> None:
    """A portal that speaks TLS with somebody's certificate: untrusted before a byte of HTTP."""

    async def portal(turn: Turn) -> None:
        await turn.send(PORTAL)

    ca = tmp_path / "ca.pem"
    Certificates().ca.cert_pem.write_to_path(str(ca))
    async with (
        RawServer(portal, context=Certificates().server()) as server,
        CheckedDaemon(tmp_path / "d", url=server.url, ca_file=ca) as daemon,
    ):
        await daemon.until("untrusted", "tls-unknown-issuer")
        assert server.requests == []


@pytest.fixture
def own_names(tmp_path: Path) -> tuple[list[str], Path]:
    """Give a command under which a process has /etc/hosts and /etc/resolv.conf of its own, and the hosts file."""
    hosts, resolv = tmp_path / "hosts", tmp_path / "resolv.conf"
    hosts.write_text("127.0.0.1 localhost\n")
    resolv.write_text("nameserver 127.0.0.1\noptions attempts:1 timeout:1\n")
    script = f'mount --bind {hosts} /etc/hosts && mount --bind {resolv} /etc/resolv.conf && exec "$@"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
    if os.geteuid() != 0 or subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("names of one's own need a mount namespace: root with CAP_SYS_ADMIN")
    return command, hosts


async def test_name_that_resolves_late_and_to_dead_addresses_first(
    tmp_path: Path, own_names: tuple[list[str], Path]
) -> None:
    """DNS that fails is said and waited for; once the name is back, dead addresses first, it enrols by itself."""
    prefix, hosts = own_names
    async with DevWfm(tmp_path / "wfm", "--host", NAME) as wfm:
        assert urlsplit(wfm.url).hostname == NAME
        daemon = CheckedDaemon(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file)
        daemon.prefix = prefix
        async with daemon:
            status = await daemon.until_status(
                lambda s: s["attempt"] >= 2 and (s["last_error"] or {}).get("code") == "dns-failed", "dns-failed"
            )
            assert (status["state"], status["connection"], status["side"]) == ("onboarding", "offline", "network")
            with hosts.open("a") as file:
                file.write(f"127.0.0.9 {NAME}\n127.0.0.8 {NAME}\n127.0.0.1 {NAME}\n")
            await daemon.until("enrolled")
            assert (await wfm.stats())["connections"] == 1


async def test_balancer_that_rewrites(tmp_path: Path) -> None:
    """Behind one that hands on http and another authority the signature holds for that; the wire stays wfm.url's."""
    certificates = Certificates()
    ca = tmp_path / "ca.pem"
    certificates.ca.cert_pem.write_to_path(str(ca))

    async def wfm(turn: Turn) -> None:
        if turn.request.line.startswith("POST /margo/api/v1/onboarding "):
            await turn.answer(201, json.dumps({"clientId": "c-1"}).encode(), "Content-Type: application/json")
        else:
            await turn.answer(201)

    async with RawServer(wfm, context=certificates.server()) as server:
        settings = 'timeout: 5s, signed_authority: "wfm.internal:8080", signed_scheme: http'
        async with CheckedDaemon(tmp_path / "d", url=f"{server.url}/margo", ca_file=ca, wfm=settings) as daemon:
            await daemon.until("enrolled")
            certificate = x509.load_pem_x509_certificate((await daemon.get("/v1/identity"))["certificate"].encode())
        key = certificate.public_key()
        assert len(server.requests) == 2
        for request in server.requests:
            method, target, _ = request.line.split(" ")
            fields = tuple((name.lower(), value) for name, value in request.headers)
            assert dict(fields)["host"] == f"127.0.0.1:{server.port}"
            created = int(re.search(r"created=(\d+)", dict(fields)["signature-input"])[1])  # type: ignore[index]  # is there
            seen = verifier.Message(fields, method, "http", "wfm.internal:8080", target)
            verifier.verify(seen, request.body, key, verifier.STRICT, created)  # type: ignore[arg-type]  # P-256
            asked = verifier.Message(fields, method, "https", f"127.0.0.1:{server.port}", target)
            with pytest.raises(verifier.Refused):
                verifier.verify(asked, request.body, key, verifier.STRICT, created)  # type: ignore[arg-type]  # P-256


async def test_link_local_address_is_refused(tmp_path: Path) -> None:
    """A link-local WFM, with a zone or without, is a configuration problem that says what to write instead."""
    for host in ("[fe80::1]", "[fe80::1%25eth0]"):
        daemon = CheckedDaemon(tmp_path / "d", url=f"https://{host}:8443")
        await daemon.start(wait=False)
        assert await daemon.ended() == 78
        assert [line for line in daemon.journal if "wfm.url" in line and "valid on every interface" in line]
