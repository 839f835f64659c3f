"""The state directory of a running daemon: missing, unfit, full, in use, damaged, newer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import QUIET, Daemon, FreshDaemon
from tests.support.devwfm import DevWfm
from tests.support.filesystems import small_disk
from tests.trust.material import dated_root

pytestmark = pytest.mark.e2e

system = pytest.mark.system
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount and to give files away")


async def test_made_private(tmp_path: Path) -> None:
    """A missing directory is made with mode 0700 whatever the umask, and everything in it is the owner's alone."""
    before = os.umask(0)
    try:
        daemon = Daemon(tmp_path, yaml=QUIET)
        await daemon.start()
    finally:
        os.umask(before)
    await daemon.until("discovering")
    assert await daemon.stop() == 0
    assert stat.S_IMODE(daemon.state.stat().st_mode) == 0o700
    for path in daemon.state.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("what", ["parent", "mode", "file", "link", pytest.param("owner", marks=[system, as_root])])
async def test_unfit_until_mended(tmp_path: Path, what: str) -> None:
    """An unfit directory blocks, unchanged, with the command that mends it; run it and reload, and all is well."""
    daemon = Daemon(tmp_path, yaml=QUIET)
    if what == "parent":
        daemon.options[-1] = str(tmp_path / "no" / "such" / "state")
        daemon.state = Path(daemon.options[-1])
    elif what == "file":
        daemon.state.write_text("mine")
    elif what == "link":
        (tmp_path / "real").mkdir(mode=0o700)
        daemon.state.symlink_to(tmp_path / "real")
    else:
        daemon.state.mkdir(mode=0o700)
        if what == "mode":
            daemon.state.chmod(0o755)
        else:
            os.chown(daemon.state, 65534, 65534)
    before = snapshot(tmp_path)
    async with daemon:
        status = await daemon.until("blocked", "state-unusable")
        assert str(daemon.state) in status["detail"] or what == "parent"
        assert status["identity"] is None
        assert (await daemon.command("status"))[0] == 5
        assert {name: data for name, data in snapshot(tmp_path).items() if not name.startswith("run")} == before
        if what == "link":
            daemon.state.unlink()
        else:
            commands = re.findall(r"`(.*?)`", status["detail"])
            assert len(commands) == 1, status["detail"]
            process = await asyncio.create_subprocess_shell(commands[0])
            assert await process.wait() == 0
        await daemon.reload()
        await daemon.until("discovering", "no-url")
        assert stat.S_IMODE(daemon.state.stat().st_mode) == 0o700
        assert (daemon.state / "config.last-good").exists()
        daemon.config.write_text("broken: [")
        await daemon.stop()
        await daemon.start()
        await daemon.until("discovering", "no-url")


async def test_second_daemon(tmp_path: Path) -> None:
    """A second margod on the same directory ends with 75; the first, its sockets and its identity are undisturbed."""
    second_place = tmp_path / "second"
    second_place.mkdir()
    async with DevWfm(tmp_path / "wfm") as wfm, Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as first:
        before = await first.until("enrolled")
        await first.remembered()
        kept = snapshot(first.state)
        for runtime in (first.runtime, second_place / "run"):
            second = FreshDaemon(second_place, url=wfm.url, ca_file=wfm.ca_file)
            second.options[-1] = str(first.state)
            second.runtime = runtime
            await second.start(wait=False)
            assert await second.ended() == 75
            assert any("state-in-use" in line and str(first.state) in line for line in second.journal)
            assert not [line for line in second.journal if "Traceback" in line]
        after = await first.status()
        assert [after[key] for key in ("state", "client_id", "started_at")] == [
            before[key] for key in ("state", "client_id", "started_at")
        ]
        assert await first.reload() == {"result": "unchanged", "problems": []}
        assert snapshot(first.state) == kept
        assert (await wfm.stats())["requests_total"] == 2


async def test_second_daemon_on_the_same_sockets(tmp_path: Path) -> None:
    """With a state directory of its own but the first one's sockets it ends with 75 too; the first goes on."""
    place = tmp_path / "second"
    place.mkdir()
    async with DevWfm(tmp_path / "wfm") as wfm, Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as first:
        before = await first.until("enrolled")
        second = FreshDaemon(place, url=wfm.url, ca_file=wfm.ca_file)
        second.runtime = first.runtime
        second.options = [*second.options, "--runtime-dir", str(first.runtime)]
        await second.start(wait=False)
        assert await second.ended() == 75
        assert (await first.status())["client_id"] == before["client_id"]


async def test_newest_generation_damaged(tmp_path: Path) -> None:
    """One flipped bit in the newest generation: enrolled again from the one before, with a warning, no registration."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        await daemon.start()
        before = await daemon.until("enrolled")
        await daemon.stop()
        *_, newest = sorted(daemon.state.glob("gen-*"))
        flip(newest / "identity.key")
        async with daemon:
            status = await daemon.until("enrolled")
            assert [status[key] for key in ("client_id", "identity")] == [
                before[key] for key in ("client_id", "identity")
            ]
            assert [warning["code"] for warning in status["warnings"]] == ["state-damaged"]
            assert newest.name in status["warnings"][0]["message"]
            assert await daemon.journal_line("needs-attention", having="state-damaged")
            assert (daemon.state / "quarantine" / newest.name).exists()
            assert len(await wfm.requests("onboarding")) == 1


async def test_all_generations_damaged(tmp_path: Path) -> None:
    """Nothing valid left: blocked, now and after a restart, and never is another identity made in its place."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        await daemon.start()
        await daemon.until("enrolled")
        await daemon.stop()
        generations = sorted(daemon.state.glob("gen-*"))
        for generation in generations:
            flip(generation / "identity.key")
        before = await wfm.stats()
        for _ in range(2):
            async with daemon:
                status = await daemon.until("blocked", "state-damaged")
                assert status["identity"] is None
                assert (await daemon.command("identity", "show"))[0] == 1
                await daemon.reload()
                assert (await daemon.status())["reason"] == "state-damaged"
        assert not list(daemon.state.glob("gen-*"))
        assert {path.name for path in (daemon.state / "quarantine").iterdir()} >= {path.name for path in generations}
        assert (await wfm.stats())["connections"] == before["connections"]


async def test_newer_format(tmp_path: Path) -> None:
    """A directory that a newer margod wrote is left as it is, to the byte, and the older one says so."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        await daemon.start()
        await daemon.until("enrolled")
        await daemon.stop()
        newest = sorted(daemon.state.glob("gen-*"))[-1]
        number = int(newest.name[4:]) + 1
        newer = daemon.state / f"gen-{number:06d}"
        shutil.copytree(newest, newer)
        manifest: dict[str, Any] = json.loads((newer / "manifest.json").read_bytes())
        manifest = {**manifest, "format": 2, "generation": number, "compression": "none"}
        del manifest["sum"]
        canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
        manifest["sum"] = hashlib.sha256(canonical).hexdigest()
        (newer / "manifest.json").write_text(json.dumps(manifest))
        before, stats = snapshot(daemon.state), await wfm.stats()
        async with daemon:
            await daemon.until("blocked", "state-newer")
            daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml="device: {vendor: Other}")
            await daemon.reload()
            status = await daemon.until("blocked", "state-newer")
            assert "newer margod" in status["hint"]
            assert (await daemon.command("status"))[0] == 5
        assert snapshot(daemon.state) == before
        assert (await wfm.stats())["connections"] == stats["connections"]


@system
@as_root
async def test_full_before_there_is_an_identity(tmp_path: Path) -> None:
    """On a full disk nothing is made that could not be kept, and nothing is sent; with room it goes on by itself."""
    with small_disk(tmp_path / "disk") as disk:
        async with DevWfm(tmp_path / "wfm") as wfm:
            daemon = on_disk(tmp_path, disk.place, wfm)
            daemon.state.mkdir(mode=0o700)
            disk.fill()
            async with daemon:
                status = await daemon.until("blocked", "state-not-writable")
                assert "No space left on device" in status["detail"]
                assert status["identity"] is None
                assert (await daemon.command("status"))[0] == 5
                assert (await wfm.stats())["connections"] == 0
                disk.free()
                assert (await daemon.retry())["message"] == "trying now"
                status = await daemon.until("enrolled")
                assert status["warnings"] == []
                assert len(await wfm.clients()) == 1


@system
@as_root
async def test_full_before_the_intent(tmp_path: Path) -> None:
    """What cannot be recorded is not asked: the disk fills up between two requests, and the next never leaves."""
    with small_disk(tmp_path / "disk") as disk:
        async with DevWfm(tmp_path / "wfm") as wfm:
            for answer in (400, 422):  # the other form is asked for, then nothing helps
                body = json.dumps({"error": "\U0001f512" * 95})
                await wfm.fault("answer", route="onboarding", times=1, status=answer, body=body)
            daemon = on_disk(tmp_path, disk.place, wfm)
            async with daemon:
                await daemon.until("blocked", "certificate-refused")
                log = daemon.state / "answer.log"
                await lines(log, 4)
                # tmpfs gives room by pages of 4 KiB: the next line has to need another one.
                intent = log.read_bytes().index(b"\n")
                assert log.stat().st_size < 4096 < log.stat().st_size + intent
                disk.fill()
                daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml="tls: {maximum_version: 1.2}")
                await daemon.reload()
                status = await daemon.until("blocked", "state-not-writable")
                assert "No space left on device" in status["last_error"]["detail"]
                assert [warning["code"] for warning in status["warnings"]] == ["state-not-writable"]
                assert len(await wfm.requests("onboarding")) == 2
                disk.free()
                await daemon.retry()
                assert (await daemon.until("enrolled"))["warnings"] == []
                assert len(await wfm.requests("onboarding")) == 3


@system
@as_root
async def test_full_once_enrolled(tmp_path: Path) -> None:
    """An enrolled device on a full or read-only disk goes on, says so, starts again, and sends nothing twice."""
    with small_disk(tmp_path / "disk") as disk:
        async with DevWfm(tmp_path / "wfm") as wfm:
            daemon = on_disk(tmp_path, disk.place, wfm)
            await daemon.start()
            before = await daemon.until("enrolled")
            disk.fill()
            daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml="device: {vendor: Fuller}")
            await daemon.reload()
            status = await daemon.until_status(lambda status: status["warnings"] != [], "warned")
            assert [status[key] for key in ("state", "client_id")] == ["enrolled", before["client_id"]]
            assert [warning["code"] for warning in status["warnings"]] == ["state-not-writable"]
            assert (await daemon.command("status"))[0] == 0
            assert len(await wfm.requests("capabilities")) == 2
            disk.free()
            await daemon.retry()
            await daemon.until_status(lambda status: status["warnings"] == [], "without a warning")
            assert len(await wfm.requests("capabilities")) == 2
            await daemon.stop()
            for trouble in (disk.fill, lambda: disk.read_only(True)):
                trouble()
                async with daemon:
                    status = await daemon.until("enrolled")
                    assert [status[key] for key in ("client_id", "identity")] == [
                        before[key] for key in ("client_id", "identity")
                    ]
                    assert len(await wfm.requests()) == 3
            disk.read_only(False)
            disk.fill()
            root, _ = dated_root(tmp_path, "second", timedelta(days=-1), timedelta(days=10))
            both = tmp_path / "both.pem"
            both.write_bytes(wfm.ca_file.read_bytes() + root.read_bytes())
            daemon.configure(url=wfm.url, ca_file=both, yaml="device: {vendor: Fuller}")
            async with daemon:
                status = await daemon.until("enrolled")
                assert status["client_id"] == before["client_id"]
                assert [warning["code"] for warning in status["warnings"]] == ["state-not-writable"]
                assert len(await wfm.requests()) == 3


@system
@as_root
async def test_read_only_from_the_start(tmp_path: Path) -> None:
    """A read-only mount without an identity blocks with the system's word; made writable, it goes on."""
    with small_disk(tmp_path / "disk") as disk:
        async with DevWfm(tmp_path / "wfm") as wfm:
            daemon = on_disk(tmp_path, disk.place, wfm)
            disk.read_only(True)
            async with daemon:
                status = await daemon.until("blocked", "state-not-writable")
                assert "Read-only file system" in status["detail"]
                assert (await wfm.stats())["connections"] == 0
                disk.read_only(False)
                await daemon.reload()
                await daemon.until("enrolled")


def on_disk(directory: Path, disk: Path, wfm: DevWfm) -> Daemon:
    """Return a daemon whose state directory is on another file system."""
    daemon = Daemon(directory, url=wfm.url, ca_file=wfm.ca_file)
    daemon.state = disk / "state"
    daemon.options[-1] = str(daemon.state)
    return daemon


def snapshot(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return mode, owner and content of everything below `directory`, by name."""
    found = {}
    for path in directory.rglob("*"):
        about = path.lstat()
        data = path.read_bytes() if stat.S_ISREG(about.st_mode) else b""
        found[str(path.relative_to(directory))] = (about.st_mode, about.st_uid, data)
    return found


def flip(path: Path) -> None:
    """Flip one bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


async def lines(path: Path, number: int) -> None:
    """Wait until a file has so many lines."""
    async with asyncio.timeout(60):
        while not path.exists() or path.read_bytes().count(b"\n") < number:
            await asyncio.sleep(0.02)  # a file tells nobody
