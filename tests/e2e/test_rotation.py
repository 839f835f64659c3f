"""`margod identity rotate`: another key and certificate, and never a moment without the one or the other."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from margod import identity
from margod.shell import archive
from margod.vault import peek
from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm

pytestmark = pytest.mark.e2e

MANUAL = ("--approval", "manual", "--retry-after", "1")


async def enrolled(daemon: Daemon, wfm: DevWfm) -> dict[str, Any]:
    """Approve the device's first certificate and return its status."""
    await daemon.until("pending-approval")
    await wfm.approve(1)
    return await daemon.until("enrolled")


async def rotated(daemon: Daemon, state: str | None) -> dict[str, Any]:
    """Wait until the rotation is in this state, or (None) over, and return the status."""

    def reached(status: dict[str, Any]) -> bool:
        rotation = status["rotation"]
        return (rotation["state"] if rotation else None) == state

    return await daemon.until_status(reached, f"rotation {state}")


async def begin(daemon: Daemon) -> str:
    """Run `margod identity rotate` and return what it says."""
    code, out, said = await daemon.command("identity", "rotate")
    assert code == 0, out + said
    return out


def old_ones(daemon: Daemon) -> list[tuple[str, bytes]]:
    """Return why each archived enrolment was put aside, and its key."""
    return [(former.why, former.records["identity.key"]) for former in archive.formers(peek(daemon.state))]


async def test_promoted_when_approved(tmp_path: Path) -> None:
    """The old identity stays in force until the new is approved and has reported, and is in the archive then."""
    async with DevWfm(tmp_path / "wfm", *MANUAL) as wfm, Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
        before = await enrolled(daemon, wfm)
        key = peek(daemon.state)["identity.key"]
        said = await begin(daemon)
        waits = await rotated(daemon, "pending-approval")
        assert [waits[name] for name in ("state", "client_id", "identity")] == [
            before[name] for name in ("state", "client_id", "identity")
        ]
        fingerprint = waits["rotation"]["fingerprint"]
        assert fingerprint in said
        assert fingerprint != before["identity"]["fingerprint"]
        _, shown, _ = await daemon.command("status")
        assert fingerprint in shown
        assert "pending-approval" in shown
        assert (await daemon.command("identity", "rotate"))[0] == 1
        assert fingerprint in (await daemon.command("identity", "show", "--next"))[1]
        assert [client["fingerprint"] for client in await wfm.clients()][1:] == [fingerprint]
        await wfm.approve(fingerprint)
        await daemon.retry()
        after = await rotated(daemon, None)
        assert (after["state"], after["identity"]["fingerprint"]) == ("enrolled", fingerprint)
        assert after["identity"]["key_id"] != before["identity"]["key_id"]
        first, second = await wfm.clients()
        assert (first["client_id"], second["client_id"]) == (before["client_id"], after["client_id"])
        assert {device["client_id"] for device in await wfm.devices()} == {before["client_id"], after["client_id"]}
        assert old_ones(daemon) == [("rotated", key)]
        assert not list(daemon.state.glob("*next*"))
        asked = len(await wfm.requests())
        await daemon.stop(signal.SIGKILL)
        await daemon.start()
        again = await daemon.until("enrolled")
        assert (again["client_id"], again["rotation"]) == (after["client_id"], None)
        assert len(await wfm.requests()) == asked
        for event in ("rotation-begun", "rotation-promoted"):
            assert any(event in line for line in daemon.journal)


async def test_rejected_and_given_up(tmp_path: Path) -> None:
    """A refused candidate leaves the old one in force; it survives a restart, and --abort ends it for good."""
    async with DevWfm(tmp_path / "wfm", *MANUAL) as wfm, Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
        before = await enrolled(daemon, wfm)
        await begin(daemon)
        fingerprint = (await rotated(daemon, "pending-approval"))["rotation"]["fingerprint"]
        waits = await daemon.journal_line("state", having=fingerprint)
        assert "`margod identity show --next`" in waits, "the other one's fingerprint is not what is to be compared"
        await wfm.reject(fingerprint)
        await daemon.retry()
        await rotated(daemon, "rejected")
        await daemon.stop()
        await daemon.start()
        status = await rotated(daemon, "rejected")
        assert (status["state"], status["client_id"]) == ("enrolled", before["client_id"])
        assert status["rotation"]["fingerprint"] == fingerprint
        code, out, _ = await daemon.command("identity", "rotate", "--abort")
        assert (code, fingerprint in out) == (0, True)
        assert (await daemon.status())["rotation"] is None
        code, _, said = await daemon.command("identity", "export", "--next")
        assert (code, "No other identity" in said) == (1, True)
        assert (await daemon.command("identity", "rotate", "--abort"))[0] == 1
        assert not list(daemon.state.glob("*next*"))
        await daemon.stop()
        await daemon.start()
        status = await daemon.until("enrolled")
        assert (status["client_id"], status["rotation"]) == (before["client_id"], None)
        assert old_ones(daemon) == []


@pytest.mark.parametrize(
    ("event", "having"),
    [
        ("rotation-begun", ""),
        ("request", "step=enrol"),
        ("accepted", "step=enrol"),
        ("request", "step=report"),
        ("accepted", "step=report"),
        ("rotation-promoted", ""),
    ],
)
async def test_killed_at(tmp_path: Path, event: str, having: str) -> None:
    """SIGKILL at any moment of a rotation: it is enrolled at once after, and ends with the new one, never a mixture."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        await daemon.start()
        before = await daemon.until("enrolled")
        since = len(daemon.journal)
        assert "message" in await daemon.post("/v1/identity/rotate")
        await daemon.journal_line(event, since, having=having)
        await daemon.stop(signal.SIGKILL)
        ids = {client["fingerprint"]: client["client_id"] for client in await wfm.clients()}
        assert ids[before["identity"]["fingerprint"]] == before["client_id"]
        async with daemon:
            await daemon.until("enrolled")
            after = await daemon.until_status(
                lambda s: s["rotation"] is None and s["identity"]["key_id"] != before["identity"]["key_id"], "promoted"
            )
            ids = {client["fingerprint"]: client["client_id"] for client in await wfm.clients()}
            assert ids[after["identity"]["fingerprint"]] == after["client_id"] != before["client_id"]
            assert [why for why, _ in old_ones(daemon)] == ["rotated"]


async def test_files_of_the_operator(tmp_path: Path) -> None:
    """Replaced files are taken by `rotate` only, and not before the WFM has accepted them."""
    files = {"identity.key": tmp_path / "device.key", "identity.crt": tmp_path / "device.crt"}

    def mint(name: str) -> None:
        made = identity.mint(name, None, 86_400.0 * 30, time.time())
        for record, file in files.items():
            file.write_bytes(made[record])
            file.chmod(0o600)

    mint("first")
    yaml = f"identity: {{key_file: {files['identity.key']}, certificate_file: {files['identity.crt']}}}"
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=yaml) as daemon,
    ):
        before = await daemon.until("enrolled")
        code, _, said = await daemon.command("identity", "rotate")
        assert (code, "replace those files" in said) == (1, True)
        mint("second")
        assert (await daemon.command("reload"))[0] == 0
        assert [w["code"] for w in (await daemon.status())["warnings"]] == ["identity-files-ignored"]
        await begin(daemon)
        after = await daemon.until_status(
            lambda s: s["client_id"] != before["client_id"] and s["rotation"] is None, "promoted"
        )
        assert (after["identity"]["subject"], after["state"], after["warnings"]) == ("CN=second", "enrolled", [])


async def test_not_while_there_is_no_enrolment(tmp_path: Path) -> None:
    """A device that is not enrolled has nothing to rotate: the answer names the way there is."""
    async with DevWfm(tmp_path / "wfm", *MANUAL) as wfm, Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
        await daemon.until("pending-approval")
        code, _, said = await daemon.command("identity", "rotate")
        assert (code, "not enrolled" in said) == (1, True)
        assert not (daemon.state / "next").exists()
