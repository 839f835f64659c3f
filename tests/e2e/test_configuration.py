"""The configuration of a running daemon: missing, broken in every way, mended, changed; and the WFM's root CA in it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from tests.identity.openssl import make_certificate, make_key
from tests.support.daemon import QUIET, TIMEOUT, Daemon, FreshDaemon
from tests.support.devwfm import DevWfm
from tests.trust.material import dated_root

pytestmark = pytest.mark.e2e

SECRET: Final = "s3cr3t-pa55"

BROKEN: Final[dict[str, tuple[bytes, list[str]]]] = {
    "tabs": (b"wfm:\n\turl: https://wfm.example\n", [":2: is not YAML"]),
    "cut": (b"wfm: {url: 'https://wfm.example\n", [":2: is not YAML"]),
    "bytes": (b"log: {level: info}\nwfm: {url: \xff\xfe}\n", [":2: is not UTF-8"]),
    "list": (b"- wfm\n- trust\n", [":1: expected sections"]),
    "word": (b"margod\n", [":1: expected sections"]),
    "unknown": (b"wmf: {}\nwfm:\n  adress: x\n", [":1: wmf: is not a section", ":3: wfm.adress: is not a setting"]),
    "twice": (b"log: {level: info, level: debug}\nlog: {}\n", [":1: log.level: stands twice", ":2: log: stands twice"]),
    "types": (
        b"wfm:\n  url: [1]\n  timeout: soon\ntrust:\n  system: 'yes'\ndevice:\n  cores: 0\n  memory: lots\n",
        [":2: wfm.url: ", ":3: wfm.timeout: ", ":5: trust.system: ", ":7: device.cores: ", ":8: device.memory: "],
    ),
    "negative": (b"wfm: {timeout: -5s}\nidentity: {lifetime: -1d}\n", [":1: wfm.timeout: ", ":2: identity.lifetime: "]),
    "http": (b"wfm: {url: 'http://wfm.example'}\n", [":1: wfm.url: is http"]),
    "secret": (
        f"wfm: {{url: 'https://operator:{SECRET}@wfm.example'}}\n".encode(),
        [":1: wfm.url: has a user name or password in it"],
    ),
    "hostless": (b"wfm: {url: 'https://:8443/margo'}\n", [":1: wfm.url: has no host"]),
    "port": (b"wfm: {url: 'https://wfm.example:99999'}\n", [":1: wfm.url: has a port that is not"]),
    "half": (b"identity: {key_file: /etc/margod/device.key}\n", [":1: identity.key_file: is set and identity.cert"]),
    "relative": (b"trust: {ca_file: ca.pem}\n", [":1: trust.ca_file: "]),
}
"""What is wrong with a file, and what has to be said of it after its name."""


async def refused(*arguments: str, env: dict[str, str] | None = None) -> str:
    """Run `margod run ARGUMENTS`, see it end with 78 and without a traceback, and return what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "margod", "run", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **(env or {})},
    )
    async with asyncio.timeout(TIMEOUT):
        said, _ = await process.communicate()
    text = said.decode()
    assert process.returncode == 78, text
    assert "Traceback" not in text
    assert SECRET not in text
    return text


async def test_all_problems_of_all_files_at_once(tmp_path: Path) -> None:
    """Broken files at the start are exit code 78, every problem of each with file, line and key; nothing is made."""
    main, folder = tmp_path / "m.yaml", tmp_path / "conf.d"
    folder.mkdir()
    main.write_bytes(b"wfm: {url: 'https://wfm.example', speed: fast}\n")
    for name, (data, _) in BROKEN.items():
        (folder / f"{name}.yaml").write_bytes(data)
    state, run = tmp_path / "state", tmp_path / "run"
    said = await refused("--config", str(main), "--state-dir", str(state), "--runtime-dir", str(run))
    assert f"{main}:1: wfm.speed: is not a setting" in said
    for name, (_, problems) in BROKEN.items():
        for problem in problems:
            assert f"{folder / name}.yaml{problem}" in said
    assert not state.exists()
    assert not run.exists()


async def test_unreadable_at_the_start(tmp_path: Path) -> None:
    """A named file that is missing, forbidden, a directory, a FIFO or a dangling link is 78 with its name and why."""
    missing, folder, fifo, link, closed, bad = (tmp_path / name for name in ("no", "dir", "fifo", "link", "shut", "x"))
    folder.mkdir()
    os.mkfifo(fifo)
    link.symlink_to(missing)
    bad.write_text("log: {level: debug}\n")
    closed.write_text("{}")
    closed.chmod(0)
    foreign = {"MARGOD_WFM_URL": f"https://x:{SECRET}@wfm.example"}
    rest = ("--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run"))
    found = await asyncio.gather(
        refused("--config", str(missing), *rest),
        refused("--config", str(link), *rest),
        refused("--config", str(folder), *rest),
        refused("--config", str(fifo), *rest),
        refused("--config", str(bad), "--url", "https://wfm.example:0", *rest, env=foreign),
    )
    expected = [
        f"{missing}: cannot be read: no such file",
        f"{link}: cannot be read: no such file",
        f"{folder}: cannot be read: a directory",
        f"{fifo}: cannot be read: not a regular file",
        "--url: wfm.url: has a port",
    ]
    assert "MARGOD_WFM_URL: wfm.url: has a user name or password in it" in found[-1]
    for said, problem in zip(found, expected, strict=True):
        assert problem in said
    if os.geteuid() != 0:
        assert f"{closed}: cannot be read: permission denied" in await refused("--config", str(closed), *rest)


@pytest.mark.parametrize("how", ["empty", "default"])
async def test_nothing_configured(tmp_path: Path, how: str) -> None:
    """An empty file, and no file at the default place, are the defaults: it runs, has an identity and wants a URL."""
    daemon = FreshDaemon(tmp_path)
    if how == "default":
        assert not Path("/etc/margod/margod.yaml").exists()
        daemon.options = ["--state-dir", str(daemon.state)]
    else:
        daemon.config.write_bytes(b"")
    async with daemon:
        status = await daemon.until("discovering", "no-wfm-found")
        assert status["identity"]["source"] == "minted"
        assert status["warnings"] == []
        code, said, _ = await daemon.command("status")
        assert (code, "wfm.url" in said) == (3, True)


async def test_broken_at_reload(tmp_path: Path) -> None:
    """A broken file at a reload changes nothing but says so loudly, however it is broken; mended, it is quiet again."""
    async with DevWfm(tmp_path / "wfm") as wfm, Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
        good = daemon.config.read_bytes()
        before = await daemon.until("enrolled")
        for name, (data, problems) in BROKEN.items():
            daemon.config.write_bytes(data)
            answer = await daemon.reload()
            assert answer["result"] == "kept", name
            said = "\n".join(answer["problems"])
            assert all(f"{daemon.config}{problem}" in said for problem in problems), said
            assert SECRET not in said
            status = await daemon.status()
            assert warned(status) == ["config-last-good"]
            assert f"{daemon.config}{problems[0]}" in status["warnings"][0]["message"]
        daemon.config.unlink()
        assert (await daemon.reload())["result"] == "kept"
        assert same(await daemon.status(), before)
        code, out, error = await daemon.command("reload")
        assert (code, out) == (78, "")
        assert f"{daemon.config}: cannot be read" in " ".join(error.split())
        code, out, _ = await daemon.command("status")
        assert (code, "config-last-good" in out) == (0, True)
        daemon.config.write_bytes(good)
        assert await daemon.reload() == {"result": "reloaded", "problems": []}
        assert warned(await daemon.status()) == []
        assert (await daemon.journal_line("recovered", having="code=config-last-good")).startswith("<6>")
        assert (await wfm.stats())["requests_total"] == 2
        journal = "\n".join(daemon.journal)
        assert SECRET not in journal
        assert all(f"{daemon.config}{problems[0]}" in journal for _, problems in BROKEN.values())


async def test_broken_at_sighup_and_at_boot(tmp_path: Path) -> None:
    """A broken file at SIGHUP, and at the boot after it, leaves it on the last good one until the file is mended."""
    async with DevWfm(tmp_path / "wfm", "--approval", "manual", "--retry-after", "3600") as wfm:
        daemon = FreshDaemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml="device: {vendor: Kept}")
        await daemon.start()
        await daemon.until("pending-approval")
        good = daemon.config.read_bytes()
        for data, problem in ((b"wfm: [\n", "is not YAML"), (b"wfm: {url: '\xff'}", "is not UTF-8")):
            daemon.config.write_bytes(data)
            since = len(daemon.journal)
            assert daemon.process is not None
            daemon.process.send_signal(signal.SIGHUP)
            assert problem in await daemon.journal_line("configuration-problem", since)
            status = await daemon.until_status(lambda status: warned(status) != [], "warned")
            assert status["state"] == "pending-approval"
            assert await daemon.stop() == 0
            since = len(daemon.journal)
            await daemon.start()
            assert problem in await daemon.journal_line("configuration-problem", since)
            status = await daemon.until("pending-approval")
            assert warned(status) == ["config-last-good"]
            assert status["wfm"]["url"] == wfm.url
        daemon.config.write_bytes(good)
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)
        await daemon.until_status(lambda status: warned(status) == [], "without a warning")
        await wfm.approve(1)
        await daemon.stop()
        daemon.config.unlink()
        async with daemon:
            await daemon.retry()
            await daemon.until_status(lambda status: status["state"] in {"pending-approval", "enrolled"}, "on")
        assert len(await wfm.requests("onboarding")) <= 2


async def test_url_given_later(tmp_path: Path) -> None:
    """A URL at a reload leads from discovering to enrolled without a restart, by the identity that was there."""
    async with DevWfm(tmp_path / "wfm") as wfm, Daemon(tmp_path, yaml=QUIET) as daemon:
        before = await daemon.until("discovering", "no-url")
        daemon.configure(url=wfm.url)
        code, out, _ = await daemon.command("reload")
        assert (code, "in use" in out) == (0, True)
        await daemon.until("untrusted", "no-anchor")
        assert (await daemon.command("status"))[0] == 5
        daemon.configure(url=wfm.url, ca_file=wfm.ca_file)
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)
        status = await daemon.until("enrolled")
        assert status["identity"]["fingerprint"] == before["identity"]["fingerprint"]
        assert (await wfm.stats())["requests_total"] == 2


async def test_enrolled_without_configuration(tmp_path: Path) -> None:
    """Enrolled, it stays so when the URL, the root CA and the state's neighbours go from the file, over a restart."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        await daemon.start()
        before = await daemon.until("enrolled")
        daemon.configure()
        assert (await daemon.reload())["result"] == "reloaded"
        assert same(await daemon.until("enrolled"), before)
        await daemon.stop()
        async with daemon:
            status = await daemon.until("enrolled")
            assert same(status, before)
            assert status["wfm"]["url"] == wfm.url
            assert status["trust"] == before["trust"]
            daemon.configure(yaml="device: {vendor: Still reported}")
            await daemon.reload()
            await daemon.until_status(lambda status: status["state"] == "enrolled", "enrolled")
            await reported(wfm, "vendor", "Still reported")


async def test_root_ca_mended(tmp_path: Path) -> None:
    """A root CA file broken in any way is untrusted, with the reason and its name, until it is mended."""
    ca, key = tmp_path / "ca.pem", make_key(tmp_path / "key.pem", "P-256")
    old, _ = dated_root(tmp_path, "old", timedelta(days=-20), timedelta(days=-10))
    leaf = make_certificate(tmp_path / "leaf.pem", key, "-addext", "basicConstraints=CA:FALSE")
    async with DevWfm(tmp_path / "wfm") as wfm, Daemon(tmp_path, url=wfm.url, ca_file=ca) as daemon:
        status = await daemon.until("untrusted", "ca-file-unreadable")
        assert str(ca) in status["detail"]
        cases: list[tuple[bytes | None, str, str]] = [
            (b"", "ca-file-invalid", "is empty"),
            (key.read_bytes(), "ca-file-invalid", "holds a private key"),
            (old.read_bytes(), "ca-file-invalid", "expired at "),
            (leaf.read_bytes(), "ca-file-invalid", "is not a CA"),
            (b"\0" * 10_000_000, "ca-file-invalid", "is larger than 64 KiB"),
            (None, "ca-file-unreadable", "is not a regular file"),
        ]
        for data, code, words in cases:
            if data is None:
                ca.unlink()
                os.mkfifo(ca)
            else:
                ca.write_bytes(data)
            await daemon.reload()
            status = await daemon.status()
            assert (status["state"], status["reason"]) == ("untrusted", code), words
            assert f"{ca} (trust.ca_file)" in status["detail"]
            assert words in status["detail"]
        assert (await daemon.command("status"))[0] == 5
        assert (await wfm.stats())["connections"] == 0
        ca.unlink()
        shutil.copy(wfm.ca_file, ca)
        assert (await daemon.retry())["message"] == "trying now"
        before = await daemon.until("enrolled")
        for data, code in (
            (b"", "ca-file-invalid"),
            (key.read_bytes(), "ca-file-invalid"),
            (None, "ca-file-unreadable"),
        ):
            if data is None:
                ca.unlink()
            else:
                ca.write_bytes(data)
            await daemon.reload()
            status = await daemon.status()
            assert same(status, before)
            assert warned(status) == [code]
            assert str(ca) in status["warnings"][0]["message"]
        daemon.configure(url=wfm.url, ca_file=ca, yaml="device: {vendor: By the kept root}")
        await wfm.close_connections()
        await daemon.reload()
        await reported(wfm, "vendor", "By the kept root")
        shutil.copy(wfm.ca_file, ca)
        await daemon.reload()
        assert warned(await daemon.status()) == []
        assert "PRIVATE KEY" not in "\n".join(daemon.journal)


async def test_another_root_ca(tmp_path: Path) -> None:
    """A root CA that the WFM's certificate does not come from is untrusted before a byte is sent; mended, enrolled."""
    key = make_key(tmp_path / "key.pem", "P-256")
    wrong = make_certificate(tmp_path / "wrong.pem", key, "-addext", "basicConstraints=critical,CA:TRUE")
    async with DevWfm(tmp_path / "wfm") as wfm, Daemon(tmp_path, url=wfm.url, ca_file=wrong) as daemon:
        status = await daemon.until("untrusted", "tls-unknown-issuer")
        assert status["connection"] == "untrusted"
        assert (await wfm.stats())["requests_total"] == 0
        shutil.copy(wfm.ca_file, wrong)
        await daemon.reload()
        status = await daemon.until("enrolled")
        assert (status["connection"], (await wfm.stats())["requests_total"]) == ("online", 2)


async def test_changed_device(tmp_path: Path) -> None:
    """Changed device values at a reload are one PUT, and the device stays enrolled; another device id is reported."""
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml="device: {vendor: One}") as daemon,
    ):
        before = await daemon.until("enrolled")
        states: list[str] = []
        for vendor in ("Two", "Three"):
            daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml=f"device: {{vendor: {vendor}, memory: 8 Gi}}")
            await daemon.reload()
            states.append((await daemon.status())["state"])
            await reported(wfm, "vendor", vendor)
            states.append((await daemon.status())["state"])
        assert set(states) == {"enrolled"}
        sent = await wfm.requests("capabilities")
        assert [(request["method"], request["status"]) for request in sent] == [
            ("POST", 201),
            ("PUT", 201),
            ("PUT", 201),
        ]
        await daemon.reload()
        daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml="device: {vendor: Three, memory: 8 Gi, id: line-3}")
        await daemon.reload()
        await daemon.until_status(lambda status: status["device_id"] == "line-3", "line-3")
        await reported(wfm, "id", "line-3")
        assert same(await daemon.until("enrolled"), before)
        assert len(await wfm.requests("onboarding")) == 1


async def test_mended_while_down(tmp_path: Path) -> None:
    """What a person mends while it is down counts at the start: no wait of before is taken over for it."""
    ca = make_certificate(
        tmp_path / "ca.pem", make_key(tmp_path / "key.pem", "P-256"), "-addext", "basicConstraints=critical,CA:TRUE"
    )
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=ca, yaml="device: {vendor: One}")
        await daemon.start()
        await daemon.until("untrusted", "tls-unknown-issuer")
        await daemon.stop()
        shutil.copy(wfm.ca_file, ca)
        await wfm.fault("answer", route="capabilities", status=422, times=0)
        await daemon.start()
        status = await daemon.until("onboarded", "capabilities-refused")
        assert (await daemon.command("status"))[0] == 5
        await daemon.stop()
        await wfm.clear_faults()
        await daemon.start()
        assert same(await daemon.until("onboarded", "capabilities-refused"), status)
        assert await daemon.stop() == 0
        daemon.configure(url=wfm.url, ca_file=ca, yaml="device: {vendor: Two}")
        async with daemon:
            await daemon.until("enrolled")
            assert len(await wfm.requests("onboarding")) == 1


async def test_settings_of_the_start(tmp_path: Path) -> None:
    """Another state or socket directory at a reload is named as counting later; the present ones stay in use."""
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    daemon = FreshDaemon(tmp_path, yaml=f"{QUIET}\nstate: {{directory: {tmp_path / 'state'}}}")
    daemon.options = ["--config", str(daemon.config)]
    async with daemon:
        before = await daemon.until("discovering")
        daemon.configure(yaml=f"{QUIET}\nstate: {{directory: {other}}}")
        answer = await daemon.reload()
        assert [problem.split(":")[0] for problem in answer["problems"]] == ["state.directory"]
        assert (await daemon.status())["identity"] == before["identity"]
        await daemon.stop()
        assert list(other.iterdir()) == []
        assert (daemon.state / "runtime.json").exists()


def same(status: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether both are of one enrolment."""
    keys = ("state", "client_id", "identity", "since")
    return [status[key] for key in keys] == [before[key] for key in keys]


def warned(status: dict[str, Any]) -> list[str]:
    """Return the codes of the warnings."""
    return [warning["code"] for warning in status["warnings"]]


async def reported(wfm: DevWfm, name: str, value: str) -> None:
    """Wait until a device has reported this property."""
    async with asyncio.timeout(TIMEOUT):
        while not any(device["manifest"]["properties"].get(name) == value for device in await wfm.devices()):
            await asyncio.sleep(0.05)  # the WFM tells nobody; its list is all there is


async def test_a_mended_root_ca_counts_at_the_next_retry(tmp_path: Path) -> None:
    """Whoever puts the right root CA into its file and says `margod retry` has it tried with that one."""
    ca = make_certificate(
        tmp_path / "ca.pem", make_key(tmp_path / "key.pem", "P-256"), "-addext", "basicConstraints=critical,CA:TRUE"
    )
    async with DevWfm(tmp_path / "wfm") as wfm, Daemon(tmp_path, url=wfm.url, ca_file=ca) as daemon:
        await daemon.until("untrusted", "tls-unknown-issuer")
        shutil.copy(wfm.ca_file, ca)
        await daemon.retry()
        await daemon.until("enrolled")
