"""The daemon as a process behind proxies: scripted ones for the faults, tinyproxy for what a real one does."""

from __future__ import annotations

import asyncio
import base64
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.e2e.checked import CheckedDaemon, failed
from tests.e2e.test_bad_servers import waits
from tests.e2e.test_trust_download import store
from tests.support.daemon import TIMEOUT
from tests.support.devwfm import DevWfm
from tests.support.proxyserver import ProxyServer, answers
from tests.support.rawserver import Certificates, RawServer
from tests.wfm.common import answers as good

pytestmark = pytest.mark.e2e

NAME = "wfm.test"  # RFC 6761: nothing resolves it
PASSWORD = "s3cr:t-pass"
BASIC = base64.b64encode(f"gateway:{PASSWORD}".encode()).decode()


class Device(CheckedDaemon):
    """A checked daemon that has shown no proxy credential either."""

    def check(self) -> None:
        """Look for the proxy's password in all that was shown."""
        super().check()
        shown = "\n".join([*self.journal, *self._shown])
        assert PASSWORD not in shown
        assert BASIC not in shown


async def test_proxy_of_the_environment(tmp_path: Path) -> None:
    """A device whose network resolves no name enrols through HTTPS_PROXY with credentials in it; status shows none."""
    async with DevWfm(tmp_path / "wfm", "--host", NAME) as wfm, ProxyServer(authorization=f"Basic {BASIC}") as proxy:
        env = {"HTTPS_PROXY": proxy.url.replace("//", f"//gateway:{PASSWORD.replace(':', '%3A')}@")}
        url = f"https://{NAME}:{urlsplit(wfm.url).port}"
        async with Device(tmp_path / "d", url=url, ca_file=wfm.ca_file, env=env) as daemon:
            status = await daemon.until("enrolled")
            assert status["wfm"] == {"url": url, "protocol": "signed", "proxy": proxy.url}
            assert len(proxy.asked) == 1
            shown = (await daemon.command("config", "show"))[1] + (await daemon.command("status"))[1]
            assert proxy.url in shown
            assert PASSWORD not in shown
        stored = b"".join(file.read_bytes() for file in daemon.state.rglob("*") if file.is_file())
        assert PASSWORD.encode() not in stored
        assert BASIC.encode() not in stored
        assert [request["verdict"] for request in await wfm.requests()][-1] != ""


async def test_no_proxy_and_none(tmp_path: Path) -> None:
    """NO_PROXY, lower-case variables and `wfm.proxy: none` lead past the proxy, which is not even asked."""
    async with DevWfm(tmp_path / "wfm", "--host", NAME) as wfm, ProxyServer() as proxy:
        url = f"https://{NAME}:{urlsplit(wfm.url).port}"
        for name, env, setting in (
            ("exception", {"https_proxy": proxy.url, "no_proxy": ".example,test"}, "timeout: 5s"),
            ("none", {"HTTPS_PROXY": proxy.url}, "timeout: 5s, proxy: none"),
            ("empty", {"HTTPS_PROXY": proxy.url, "https_proxy": ""}, "timeout: 5s"),
        ):
            async with Device(tmp_path / name, url=url, ca_file=wfm.ca_file, wfm=setting, env=env) as daemon:
                status = await daemon.until_status(waits("dns-failed"), "dns-failed")
                assert status["wfm"]["proxy"] is None
        async with Device(
            tmp_path / "loopback",
            url=wfm.url.replace(NAME, "127.0.0.1"),
            ca_file=wfm.ca_file,
            env={"HTTPS_PROXY": proxy.url},
        ) as daemon:
            await daemon.until("enrolled")
        assert proxy.asked == []


async def test_proxy_that_says_no(tmp_path: Path) -> None:
    """Each way of not opening the tunnel has its reason and blames the proxy; once it opens, the device enrols."""
    cases = {
        "proxy-refused": answers(b"HTTP/1.1 403 Filtered\r\n\r\n"),
        "proxy-no-route": answers(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"),
        "proxy-failed": answers(b"SSH-2.0-OpenSSH\r\n\r\n"),
        "proxy-credentials-refused": answers(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"),
    }
    async with DevWfm(tmp_path / "wfm") as wfm, ProxyServer(cases["proxy-refused"]) as proxy:
        setting = f"timeout: 5s, proxy: {proxy.url}"
        async with Device(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file, wfm=setting) as daemon:
            for reason, script in cases.items():
                proxy.script = script
                status = await daemon.until_status(waits(reason), reason)
                detail = failed(status, "onboarding", reason, "offline")
                assert detail.startswith(f"{proxy.url}: ")
                assert status["side"] == "network"
                assert "proxy" in status["hint"]
            assert (await wfm.stats())["connections"] == 0
            proxy.script = None
            assert (await daemon.until("enrolled"))["wfm"]["proxy"] == proxy.url


async def test_proxy_that_is_not_there_and_a_reload(tmp_path: Path) -> None:
    """An unreachable proxy is the proxy's; setting another one by a reload counts at once, without a restart."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        nobody = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with DevWfm(tmp_path / "wfm") as wfm, ProxyServer() as proxy:
        setting = f"timeout: 5s, proxy: {nobody}"
        async with Device(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file, wfm=setting) as daemon:
            status = await daemon.until_status(waits("proxy-unreachable"), "proxy-unreachable")
            assert failed(status, "onboarding", "proxy-unreachable", "offline").startswith(f"{nobody}: ")
            daemon.config.write_text(daemon.config.read_text().replace(nobody, proxy.url))
            assert (await daemon.reload())["result"] == "reloaded"
            assert (await daemon.until("enrolled"))["wfm"]["proxy"] == proxy.url


async def test_credentials_file(tmp_path: Path) -> None:
    """A missing or malformed file blocks and is noticed when mended; a wrong password is 407; the right one enrols."""
    file = tmp_path / "credentials"
    async with DevWfm(tmp_path / "wfm") as wfm, ProxyServer(authorization=f"Basic {BASIC}") as proxy:
        setting = f"timeout: 5s, proxy: {proxy.url}, proxy_credentials_file: {file}"
        async with Device(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file, wfm=setting) as daemon:
            status = await daemon.until("blocked", "proxy-credentials-unreadable")
            assert str(file) in status["detail"]
            file.write_text(f"{PASSWORD[5:]}\n")
            await daemon.retry()
            status = await daemon.until_status(lambda s: "one line" in s["detail"], "malformed")
            assert proxy.asked == []
            file.write_text("gateway:wrong\n")
            await daemon.retry()
            await daemon.until_status(waits("proxy-credentials-refused"), "407")
            file.write_text(f"gateway:{PASSWORD}\n")
            assert (await daemon.until("enrolled"))["wfm"]["proxy"] == proxy.url  # without a reload
            file.unlink()
        async with Device(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file, wfm=setting) as daemon:
            status = await daemon.until("enrolled")  # what is enrolled stays so
            assert [warning["code"] for warning in status["warnings"]] == ["proxy-credentials-unreadable"]


async def test_unusable_proxies(tmp_path: Path) -> None:
    """https and SOCKS proxies and passwords in the YAML are configuration problems; in the environment they block."""
    for text, says in (
        ("https://proxy.example:3128", "http:// port"),
        ("socks5://proxy.example:1080", "not SOCKS"),
        (f"http://gateway:{PASSWORD}@proxy.example:3128", "proxy_credentials_file"),
        ("http://proxy.example", "add the proxy's port"),
    ):
        (tmp_path / "x").mkdir(exist_ok=True)
        daemon = Device(tmp_path / "x", url="https://wfm.example", wfm=f'proxy: "{text}"')
        await daemon.start(wait=False)
        assert await daemon.ended() == 78
        journal = "\n".join(daemon.journal)
        assert "wfm.proxy" in journal
        assert says in journal
        assert PASSWORD not in journal
        assert PASSWORD not in (await daemon.command("config", "check"))[2]
    ca = tmp_path / "ca.pem"
    Certificates().ca.cert_pem.write_to_path(str(ca))
    env = {"HTTPS_PROXY": f"https://gateway:{PASSWORD}@proxy.example:3128"}
    async with Device(tmp_path / "d", url="https://wfm.example", ca_file=ca, env=env) as daemon:
        status = await daemon.until("blocked", "proxy-unusable")
        assert "HTTPS_PROXY is an https:// proxy" in status["detail"]
        assert "http:// port" in status["detail"]


async def test_proxy_that_inspects_tls(tmp_path: Path) -> None:
    """Another issuer's certificate behind a proxy: untrusted, nothing is sent, the proxy is named as one that may."""
    ca = tmp_path / "ca.pem"
    Certificates().ca.cert_pem.write_to_path(str(ca))
    async with RawServer(good, context=Certificates().server()) as inspector, ProxyServer() as proxy:
        setting = f"timeout: 5s, proxy: {proxy.url}"
        async with Device(tmp_path / "d", url=inspector.url, ca_file=ca, wfm=setting) as daemon:
            status = await daemon.until("untrusted", "tls-unknown-issuer")
            assert f"through the proxy {proxy.url}, which may inspect TLS" in status["detail"]
            assert "trustme" in status["trust"]["presented"]["issuer"], "looked at through the proxy, too"
            assert inspector.requests == []


@asynccontextmanager
async def tinyproxy(directory: Path, *lines: str) -> AsyncIterator[str]:
    """Run Debian's tinyproxy on a free port of loopback; give its URL."""
    program = shutil.which("tinyproxy")
    if program is None:
        pytest.skip("tinyproxy is not installed (tools/test-prepare.sh)")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    directory.mkdir()
    config = directory / "tinyproxy.conf"
    config.write_text("\n".join([f"Port {port}", "Listen 127.0.0.1", "Timeout 60", "MaxClients 10", *lines, ""]))
    process = await asyncio.create_subprocess_exec(
        program, "-d", "-c", str(config), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                except OSError:
                    await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        async with asyncio.timeout(TIMEOUT):
            await process.wait()


async def test_a_real_proxy(tmp_path: Path) -> None:
    """tinyproxy: 407 without credentials, a WFM that is down, then enrolled; a forbidden port is its refusal."""
    file = tmp_path / "credentials"
    file.write_text("gateway:wrong\n")
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        tinyproxy(tmp_path / "p", "BasicAuth gateway s3cret") as url,
        tinyproxy(tmp_path / "q", "ConnectPort 443") as strict,
    ):
        setting = f"timeout: 5s, proxy: {url}, proxy_credentials_file: {file}"
        async with CheckedDaemon(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file, wfm=setting) as daemon:
            # tinyproxy answers a wrong password by 401, an absent one by 407
            await daemon.until_status(lambda s: (s["last_error"] or {"code": ""})["code"].startswith("proxy-"), "no")
            await wfm.stop()
            file.write_text("gateway:s3cret\n")
            await daemon.until_status(waits("proxy-no-route"), "proxy-no-route")
            await wfm.start()
            status = await daemon.until("enrolled")
            assert status["wfm"]["proxy"] == url
        for name, proxy, code in (("none", url, "proxy-credentials-refused"), ("port", strict, "proxy-refused")):
            setting = f"timeout: 5s, proxy: {proxy}"
            async with CheckedDaemon(tmp_path / name, url=wfm.url, ca_file=wfm.ca_file, wfm=setting) as daemon:
                status = await daemon.until_status(waits(code), code)
                assert failed(status, "onboarding", code, "offline").startswith(f"{proxy}: HTTP 40")


async def test_pinned_download_goes_through_the_proxy(tmp_path: Path) -> None:
    """The first, unverified download of a pinned root CA takes the same way as everything else."""
    async with DevWfm(tmp_path / "wfm", "--host", NAME) as wfm, ProxyServer() as proxy:
        certificate = x509.load_pem_x509_certificate(wfm.ca_file.read_bytes())
        pin = f'trust: {{pin: "{certificate.fingerprint(hashes.SHA256()).hex()}"}}'
        async with Device(tmp_path / "d", url=wfm.url, wfm=f"timeout: 5s, proxy: {proxy.url}", yaml=pin) as daemon:
            await daemon.until("enrolled")
        assert len(proxy.asked) == 2  # the download's connection, and the verified one


async def test_downloaded_root_is_tried_through_the_proxy(tmp_path: Path) -> None:
    """With trust.system the download, the trial of the root that came, and the onboarding all take the proxy."""
    async with DevWfm(tmp_path / "wfm", "--host", NAME) as wfm, ProxyServer() as proxy:
        url, setting = f"https://{NAME}:{urlsplit(wfm.url).port}", f"timeout: 5s, proxy: {proxy.url}"
        env = store(wfm.ca_file)
        async with Device(tmp_path / "d", url=url, wfm=setting, yaml="trust: {system: true}", env=env) as daemon:
            await daemon.until("enrolled")
        assert len(proxy.asked) == 3
        routes = [request["route"] for request in await wfm.requests()]
        assert routes == ["certificate", "certificate", "onboarding", "capabilities"]
