"""A disk image without identity, and a state directory that does not survive a restart."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.e2e.test_moving import here
from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm
from tests.support.filesystems import small_disk

pytestmark = pytest.mark.e2e

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount and to give files away")


async def test_prepared(tmp_path: Path) -> None:
    """Refused while margod runs; then all of the state goes, the configuration stays, and the next start is anew."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        prepare = ("prepare-image", "--state-dir", str(daemon.state))
        async with daemon:
            before = await daemon.until("enrolled")
            code, _, said = await daemon.command(*prepare, "--yes")
            assert (code, "Another margod is using" in said) == (75, True), said
            assert here(await daemon.status()) == here(before)
        configured = daemon.config.read_bytes()
        assert (await daemon.command(*prepare))[0] == 2, "it asks, and there is nobody"
        assert len(list(daemon.state.iterdir())) > 3
        code, out, said = await daemon.command(*prepare, "--yes")
        assert code == 0, said
        assert all(name in out for name in ("gen-", "answer.log", "config.last-good"))
        assert [path.name for path in daemon.state.iterdir()] == ["lock"]
        assert daemon.config.read_bytes() == configured
        assert "nothing" in (await daemon.command(*prepare, "--yes"))[1]
        async with daemon:
            after = await daemon.until("enrolled")
        assert after["identity"]["key_id"] != before["identity"]["key_id"]
        assert after["client_id"] != before["client_id"]


@pytest.mark.system
@as_root
async def test_root_prepares_what_is_the_daemons(tmp_path: Path) -> None:
    """Root works as the owner: what is left can be used by the daemon."""
    place = Path(tempfile.mkdtemp(prefix="margod-image-"))  # pytest's own are closed to other users
    place.chmod(0o755)
    try:
        state = place / "state"
        (state / "gen-000001").mkdir(parents=True)
        (state / "answer.log").write_text("x")
        for path in (state, *state.iterdir()):
            path.chmod(0o700 if path.is_dir() else 0o600)
            os.chown(path, 65534, 65534)
        code, out, said = await Daemon(tmp_path).command("prepare-image", "--yes", "--state-dir", str(state))
        assert (code, "answer.log, gen-000001" in out) == (0, True), said
        assert {path.name: path.stat().st_uid for path in state.iterdir()} == {"lock": 65534}
    finally:
        shutil.rmtree(place)


@pytest.mark.system
@as_root
async def test_volatile(tmp_path: Path) -> None:
    """On a tmpfs nothing is minted and nobody asked unless the owner says so; what is enrolled goes on, warned."""
    with small_disk(tmp_path / "disk") as disk:
        async with DevWfm(tmp_path / "wfm") as wfm:
            daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml="state: {}")
            daemon.state = disk.place / "state"
            daemon.options[-1] = str(daemon.state)
            async with daemon:
                status = await daemon.until("blocked", "state-volatile")
                assert "tmpfs" in status["detail"]
                assert "state.allow_volatile" in status["hint"]
                assert status["identity"] is None
                assert not list(daemon.state.glob("gen-*"))
                assert (await wfm.stats())["connections"] == 0
                daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml="state: {allow_volatile: true}")
                await daemon.reload()
                mine = await daemon.until("enrolled")
                assert "state-volatile" not in [warning["code"] for warning in mine["warnings"]]
            daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml="state: {}")
            async with daemon:
                status = await daemon.until("enrolled")
                assert here(status) == here(mine)
                assert "state-volatile" in [warning["code"] for warning in status["warnings"]]
