"""`margod check` as a process: every line's failing case, and that looking changes nothing and onboards nobody."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from margod.check.report import NAMES
from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm, environment
from tests.support.filesystems import small_disk
from tests.support.proxyserver import ProxyServer, answers
from tests.support.rawserver import Certificates, RawServer, Turn
from tests.trust.material import dated_root

pytestmark = pytest.mark.e2e
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

ONLINE = ("dns", "tcp", "proxy", "tls", "certificate-api", "signed-request")
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


class Report:
    """One run: exit code, lines by name, seconds."""

    def __init__(self, code: int, document: dict[str, Any], seconds: float) -> None:
        """Check what holds of every report."""
        self.code, self.document, self.seconds = code, document, seconds
        assert document["schema"] == 1
        assert [line["name"] for line in document["lines"]] == list(NAMES)
        self.lines = {line["name"]: line for line in document["lines"]}
        verdicts = {line["verdict"] for line in document["lines"]}
        assert code == (11 if "failed" in verdicts else 10 if "warning" in verdicts else 0)
        for line in document["lines"]:
            assert line["message"].isprintable()
            assert line["detail"].isprintable()
            assert (line["verdict"] == "skipped") == (line["because"] is not None)
            assert line["verdict"] in ("ok", "skipped") or line["code"]
            assert line["verdict"] != "failed" or line["hint"] or line["code"] in ("wfm-busy",)

    def verdict(self, name: str) -> tuple[str, str | None]:
        """Return verdict and code, or `skipped` and because of what."""
        line = self.lines[name]
        return line["verdict"], line["because"] if line["verdict"] == "skipped" else line["code"]

    def skipped(self, because: str) -> set[str]:
        """Return the lines that were skipped because of this."""
        return {name for name, line in self.lines.items() if line["because"] == because}


def arguments(daemon: Daemon) -> list[str]:
    """Return the options that point the check at a daemon's files."""
    return [*daemon.options, "--runtime-dir", str(daemon.runtime)]


async def run(*command: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a command; nothing may come out on standard error."""
    clean = {k: v for k, v in environment().items() if not k.upper().endswith("_PROXY") and not k.startswith("MARGOD")}
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**clean, **(env or {})}
    )
    async with asyncio.timeout(40):
        out, error = await process.communicate()
    assert error.decode() == ""
    assert process.returncode is not None
    return process.returncode, out.decode()


async def check(daemon: Daemon, *options: str, env: dict[str, str] | None = None) -> Report:
    """Run `margod check --json` with a daemon's files, whether it runs or not."""
    began = time.monotonic()
    program = (sys.executable, "-m", "margod", "check", "--json")
    code, out = await run(*program, *arguments(daemon), *options, env=env)
    return Report(code, json.loads(out), time.monotonic() - began)


def everything(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Return mode, owner, mtime and content of all below a directory and of itself."""
    found = {}
    for path in [directory, *directory.rglob("*")]:
        about = path.lstat()
        data = path.read_bytes() if stat.S_ISREG(about.st_mode) else b""
        found[str(path)] = (about.st_mode, about.st_uid, about.st_mtime_ns, data)
    return found


async def enrolled(directory: Path, wfm: DevWfm, yaml: str = "") -> Daemon:
    """Return a daemon that has enrolled and was stopped."""
    daemon = Daemon(directory, url=wfm.url, ca_file=wfm.ca_file, yaml=yaml)
    async with daemon:
        await daemon.until("enrolled")
    return daemon


@pytest.mark.parametrize("like", ["spec", "sandbox-2026"])
async def test_all_is_well(like: str, tmp_path: Path) -> None:
    """Enrolled and running: exit 0, all ok; state as it was to the byte and mtime; one GET and one signed GET."""
    async with (
        DevWfm(tmp_path / "wfm", "--like", like) as wfm,
        Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon,
    ):
        await daemon.until("enrolled")
        before, seen = everything(daemon.state), len(await wfm.requests())
        found = await check(daemon)
        assert {name: found.verdict(name) for name in NAMES} == dict.fromkeys(NAMES, ("ok", None))
        assert found.code == 0
        assert everything(daemon.state) == before
        fresh = (await wfm.requests())[seen:]
        assert [(r["route"], r["method"], r["status"]) for r in fresh] == [
            ("certificate", "GET", 200),
            ("deployments", "GET", 200),
        ]
        assert dict(fresh[1]["fields"])["accept"] == "application/vnd.margo.manifest.v1+json"
        assert found.lines["tls"]["facts"]["verified"] is True
        assert found.lines["identity"]["facts"]["fingerprint"] == (await daemon.status())["identity"]["fingerprint"]
        code, text = await run(sys.executable, "-m", "margod", "check", *arguments(daemon), env={"NO_COLOR": "1"})
        assert code == 0
        assert max(map(len, text.splitlines())) <= 80
        assert "\x1b" not in text
        assert "PRIVATE" not in text + json.dumps(found.document)


async def test_daemon_down_and_never_started(tmp_path: Path) -> None:
    """With the daemon down only its line fails, stopped or never started; nothing is made, nobody is onboarded."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        fresh = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        found = await check(fresh)
        assert found.verdict("local-socket") == ("failed", "daemon-unreachable")
        assert "systemctl start margod" in found.lines["local-socket"]["hint"]
        assert found.verdict("state-directory") == ("warning", "state-missing")
        assert found.verdict("identity") == ("warning", "no-identity")
        assert found.verdict("signed-request") == ("skipped", "enrolment")
        assert not fresh.state.exists()
        assert [r["route"] for r in await wfm.requests()] == ["certificate"]
        daemon = await enrolled(tmp_path, wfm)
        before = everything(daemon.state)
        found = await check(daemon)
        assert {name for name, line in found.lines.items() if line["verdict"] != "ok"} == {"local-socket"}
        assert everything(daemon.state) == before
        assert len(await wfm.requests("onboarding")) == 1


async def test_offline(tmp_path: Path) -> None:
    """--offline opens no connection; this device is looked at all the same."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = await enrolled(tmp_path, wfm)
        before = (await wfm.stats())["connections"]
        found = await check(daemon, "--offline")
        assert found.skipped("offline") == set(ONLINE)
        assert found.verdict("identity") == found.verdict("root-ca") == ("ok", None)
        assert (await wfm.stats())["connections"] == before


@pytest.mark.parametrize("which", ["directory", "file", "owner", "link", "damage"])
async def test_state_directory(which: str, tmp_path: Path) -> None:
    """Wrong mode, owner and kind fail with what mends them, a flipped bit as damage; nothing is mended or moved."""
    if which == "owner" and os.geteuid() != 0:
        pytest.skip("needs root to give a file away")
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = await enrolled(tmp_path, wfm)
        newest = max(daemon.state.glob("gen-*"))
        key = newest / "identity.key"
        if which == "directory":
            daemon.state.chmod(0o755)
        elif which == "file":
            key.chmod(0o644)
        elif which == "owner":
            os.chown(key, 65534, -1)
        elif which == "link":
            daemon.state.rename(tmp_path / "elsewhere")
            daemon.state.symlink_to(tmp_path / "elsewhere")
        else:
            key.write_bytes(b"x" + key.read_bytes()[1:])
        before = everything(daemon.state)
        found = await check(daemon, "--offline")
        line = found.lines["state-directory"]
        if which == "damage":
            assert found.verdict("state-directory") == ("failed", "state-damaged")
            assert newest.name in line["detail"]
        else:
            assert found.verdict("state-directory") == ("failed", "state-unusable")
            mending = {
                "directory": f"`chmod 0700 {daemon.state}`",
                "file": f"`chmod 0600 {key}`",
                "owner": f": {key}`",
                "link": "state.directory",
            }
            assert mending[which] in line["message"]
        assert everything(daemon.state) == before


@as_root
async def test_disk(tmp_path: Path) -> None:
    """A full and a read-only file system under the state directory fail before anything has to be written."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        with small_disk(tmp_path / "disk") as disk:
            daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
            daemon.state = disk.place / "state"
            daemon.options[-1] = str(daemon.state)
            async with daemon:
                await daemon.until("enrolled")
            disk.fill()
            found = await check(daemon, "--offline")
            assert found.verdict("state-directory") == ("failed", "state-not-writable")
            assert "KiB free" in found.lines["state-directory"]["detail"]
            disk.free()
            disk.read_only(True)
            found = await check(daemon, "--offline")
            assert found.verdict("state-directory") == ("failed", "state-not-writable")
            assert "read-only" in found.lines["state-directory"]["detail"]
            assert found.verdict("identity") == ("ok", None)


async def test_configuration(tmp_path: Path) -> None:
    """A broken file fails with file, line and key and stops the rest; with a last good one it is a warning."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        good = daemon.config.read_text()
        daemon.config.write_text("wfm:\n  url: 17\n  nonsense: 1\n")
        found = await check(daemon)
        assert found.verdict("configuration") == ("failed", "config-invalid")
        assert f"{daemon.config}:2: wfm.url" in found.lines["configuration"]["detail"]
        assert len(found.lines["configuration"]["facts"]["problems"]) == 2
        assert found.skipped("configuration") == {"state-directory", "identity", "root-ca", "wfm", *ONLINE}
        daemon.config.write_text(good)
        async with daemon:
            await daemon.until("enrolled")
            daemon.config.write_text("wfm: {url: 17}\n")
            found = await check(daemon)
            assert found.verdict("configuration") == ("warning", "config-last-good")
            assert found.verdict("signed-request") == ("ok", None)


async def test_the_daemon_works_with_something_else(tmp_path: Path) -> None:
    """An edited URL that no reload took over shows at the socket's line, and as another WFM than the enrolled one."""
    async with DevWfm(tmp_path / "wfm") as wfm, Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
        await daemon.until("enrolled")
        found = await check(daemon, "--url", "https://127.0.0.1:1")
        assert found.verdict("wfm") == ("failed", "wfm-changed")
        assert found.skipped("wfm") == set(ONLINE)
        other = Daemon(tmp_path, url="https://127.0.0.1:1")
        other.options[-1] = str(tmp_path / "other")
        found = await check(other)
        assert found.verdict("local-socket") == ("warning", "daemon-disagrees")
        assert wfm.url in found.lines["local-socket"]["detail"]
        assert "margod reload" in found.lines["local-socket"]["hint"]


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
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    found = await check(Daemon(tmp_path, url=f"https://127.0.0.1:{port}"))
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
        assert found.seconds < 15
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
                assert found.seconds < 20
    for request in mute.requests:
        assert request.line.startswith("GET /api/v1/onboarding/certificate ")


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed")
@pytest.mark.parametrize(
    ("shift", "code", "tls"),
    [("-3650d", "clock-implausible", ("failed", "tls-not-yet-valid")), ("+12m", "clock-offset", ("ok", None))],
)
async def test_clock(shift: str, code: str, tls: tuple[str, str | None], tmp_path: Path) -> None:
    """A clock before the release date, and one twelve minutes ahead of the WFM's: named, with the evidence."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = await enrolled(tmp_path, wfm)
        env = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": shift, "DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1"}
        found = await check(daemon, env=env)
        assert found.verdict("clock") == ("failed", code)
        assert found.verdict("tls") == tls
        if code == "clock-offset":
            assert found.lines["clock"]["facts"]["wfm_offset_seconds"] == pytest.approx(-720, abs=30)
            assert "ahead of the WFM's" in found.lines["clock"]["detail"]
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


@as_root
async def test_without_rights() -> None:
    """A user without rights is told what it needs; that is no failure of the device."""
    place = Path(tempfile.mkdtemp(prefix="margod-check-"))
    try:
        place.chmod(0o755)
        async with DevWfm(place / "wfm") as wfm:
            ca_file = Path(shutil.copy(wfm.ca_file, place / "ca.pem"))
            ca_file.chmod(0o644)
            async with Daemon(place, url=wfm.url, ca_file=ca_file) as daemon:
                await daemon.until("enrolled")
                daemon.config.chmod(0o644)
                # Once as root for the imports: where this Python is installed nobody else may read.
                program = (
                    "import contextlib, io, os, sys; from margod.cli import main\n"
                    "with contextlib.redirect_stdout(io.StringIO()): main(sys.argv[1:])\n"
                    "os.setgroups([]); os.setgid(65534); os.setuid(65534); sys.exit(main(sys.argv[1:]))"
                )
                for mode in (0o644, 0o600):
                    daemon.config.chmod(mode)
                    code, out = await run(
                        *(sys.executable, "-c", program, "check", "--json", *arguments(daemon)),
                        env={"PYTHONDONTWRITEBYTECODE": "1"},
                    )
                    found = Report(code, json.loads(out), 0.0)
                    assert found.verdict("local-socket") == ("skipped", "rights")
                    assert found.code in (0, 10)
                    if mode == 0o600:
                        assert found.verdict("configuration") == ("skipped", "rights")
                        continue
                    assert found.verdict("state-directory") == ("skipped", "rights")
                    assert "as root" in found.lines["state-directory"]["hint"]
                    assert found.verdict("tls") == found.verdict("certificate-api") == ("ok", None)
                    assert found.skipped("state-directory") == {"identity", "signed-request"}
    finally:
        subprocess.run(["rm", "-rf", str(place)], check=True)
