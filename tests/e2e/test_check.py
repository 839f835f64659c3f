"""`margod check` as a process: every line's failing case, and that looking changes nothing and onboards nobody."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.e2e.checking import ONLINE, Report, arguments, check, enrolled, everything, run
from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm
from tests.support.filesystems import small_disk

pytestmark = pytest.mark.e2e
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.mark.parametrize("like", ["spec", "sandbox-2026"])
async def test_all_is_well(like: str, tmp_path: Path) -> None:
    """Enrolled and running: exit 0, all ok; state as it was to the byte and mtime; one GET and one signed GET."""
    async with (
        DevWfm(tmp_path / "wfm", "--like", like) as wfm,
        Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon,
    ):
        await daemon.until("enrolled")
        await daemon.remembered()
        before, seen = everything(daemon.state), len(await wfm.requests())
        found = await check(daemon)
        assert {name: found.verdict(name) for name in found.lines} == dict.fromkeys(found.lines, ("ok", None))
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
        assert found.verdict("wfm") == ("warning", "wfm-changed")
        assert found.skipped("wfm") == set(ONLINE)
        other = Daemon(tmp_path, url="https://127.0.0.1:1")
        other.options[-1] = str(tmp_path / "other")
        found = await check(other)
        assert found.verdict("local-socket") == ("warning", "daemon-disagrees")
        assert wfm.url in found.lines["local-socket"]["detail"]
        assert "margod reload" in found.lines["local-socket"]["hint"]


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
