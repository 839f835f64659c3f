"""A disk that is copied or moved: on another machine's hardware (a /sys of its own, mounted over the real one)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from margod.protocols import ENROLMENT
from margod.protocols.signed.generation import REPORT
from margod.shell.records import HARDWARE
from margod.vault import Vault, peek
from tests.e2e.test_moving import asked, here, no_deletes
from tests.e2e.test_rotation import begin, rotated
from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm
from tests.support.machine import Machine, as_root

pytestmark = [pytest.mark.e2e, pytest.mark.system, as_root]

MANUAL = ("--approval", "manual", "--retry-after", "1")
FIRST = {"serial": "SN-0001", "cid": "15" * 16, "mac": "00:1b:21:00:00:01"}
OTHER = {"serial": "SN-0002", "cid": "16" * 16, "mac": "00:1b:21:00:00:02"}


def device(place: Path, wfm: DevWfm, yaml: str = "", **parts: str) -> Daemon:
    """Return a device with these parts, in a directory of its own."""
    place.mkdir()
    daemon = Daemon(place, url=wfm.url, ca_file=wfm.ca_file, yaml=yaml)
    daemon.prefix = Machine(place / "sys", **parts).prefix
    return daemon


def copy(original: Daemon, to: Daemon) -> None:
    """Copy the disk."""
    shutil.copytree(original.state, to.state)


def stored(daemon: Daemon) -> dict[str, bytes]:
    """Return every byte of its generations."""
    return {str(file): file.read_bytes() for file in daemon.state.glob("gen-*/*")}


def has(status: dict[str, Any], code: str) -> bool:
    """Return whether the status document warns of this."""
    return code in [warning["code"] for warning in status["warnings"]]


async def test_a_clone_that_was_not_enrolled_makes_its_own_key(tmp_path: Path) -> None:
    """Copied while the WFM decides: the copy asks as another device, with another key; the original is let in."""
    async with DevWfm(tmp_path / "wfm", *MANUAL) as wfm:
        original, clone = device(tmp_path / "a", wfm, **FIRST), device(tmp_path / "b", wfm, **OTHER)
        async with original:
            first = await original.until("pending-approval")
        copy(original, clone)
        key = peek(clone.state)["identity.key"]
        async with original:
            async with clone:
                second = await clone.until("pending-approval")
                await clone.journal_line("hardware-changed")
                assert second["identity"]["key_id"] != first["identity"]["key_id"]
                assert peek(clone.state)["identity.key"] != key
                await wfm.approve(first["identity"]["fingerprint"])
                mine = await original.until("enrolled")
                await wfm.approve(second["identity"]["fingerprint"])
                assert (await clone.until("enrolled"))["client_id"] != mine["client_id"]
            assert mine["identity"] == first["identity"]
        assert len(await wfm.clients()) == 2


async def test_a_clone_that_was_enrolled_says_nothing(tmp_path: Path) -> None:
    """It is blocked, over restarts, whatever a person orders but to clear it; the WFM hears of the original alone."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        original, clone = device(tmp_path / "a", wfm, **FIRST), device(tmp_path / "b", wfm, **OTHER)
        async with original:
            mine = await original.until("enrolled")
        copy(original, clone)
        before, heard = stored(clone), await asked(wfm)
        for _ in range(2):
            async with clone:
                status = await clone.until("blocked", "hardware-mismatch")
                assert all(kind in status["detail"] for kind in ("serial number", "eMMC", "network card"))
                assert "SN-000" not in str(status)
                assert "adopt-hardware" in status["hint"]
                assert (await clone.command("status"))[0] == 5
                for order in (
                    ("reset", "--yes"),
                    ("reset", "--yes", "--unregister"),
                    ("reset", "--yes", "--new-identity"),
                    ("identity", "rotate"),
                ):
                    assert (await clone.command(*order))[0] == 1, order
                await clone.retry()
                await clone.until("blocked", "hardware-mismatch")
        assert stored(clone) == {file.replace("/a/", "/b/"): data for file, data in before.items()}
        assert await asked(wfm) == heard
        async with clone:
            assert (await clone.command("reset", "--yes", "--wipe"))[0] == 0
            await clone.until("blocked", "wiped")
        async with original, clone:
            assert here(await original.until("enrolled")) == here(mine)
            assert here(await clone.until("enrolled")) != here(mine)
        assert await no_deletes(wfm)


async def test_the_same_device_with_another_board(tmp_path: Path) -> None:
    """One part of three may be exchanged; two are another device until a person says that it is the same."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = device(tmp_path / "a", wfm, **FIRST)
        machine = Machine(tmp_path / "a" / "sys", **FIRST)
        async with daemon:
            code, out, said = await daemon.command("identity", "adopt-hardware")
            assert code == 0, out + said
            mine = await daemon.until("enrolled")
        machine.become(**{**FIRST, "mac": "00:1b:21:00:00:09"})
        async with daemon:
            assert here(await daemon.until("enrolled")) == here(mine)
        machine.become(**{**OTHER, "cid": FIRST["cid"]})
        async with daemon:
            await daemon.until("blocked", "hardware-mismatch")
            code, out, said = await daemon.command("identity", "adopt-hardware")
            assert code == 0, out + said
            assert here(await daemon.until("enrolled")) == here(mine)
        async with daemon:
            assert here(await daemon.until("enrolled")) == here(mine)
        assert len(await wfm.clients()) == 1


async def test_a_clone_in_the_middle_of_a_rotation(tmp_path: Path) -> None:
    """Neither the identity in force nor the candidate asks anything, and an accepted candidate takes no place."""
    async with DevWfm(tmp_path / "wfm", *MANUAL) as wfm:
        original, clone = device(tmp_path / "a", wfm, **FIRST), device(tmp_path / "b", wfm, **OTHER)
        async with original:
            await original.until("pending-approval")
            await wfm.approve(1)
            await original.until("enrolled")
            await begin(original)
            await rotated(original, "pending-approval")
        copy(original, clone)
        await wfm.approve(2)
        beside = Vault.open(clone.state / "next")
        beside.commit({ENROLMENT: b'{"clientId": "c-2"}', REPORT: b'{"digest": "d", "form": "device"}'}, beside.binding)
        beside.close()
        heard, before = await asked(wfm), stored(clone)
        async with clone:
            await clone.until("blocked", "hardware-mismatch")
            status = await rotated(clone, "blocked")
            assert status["rotation"]["reason"] == "hardware-mismatch"
            await clone.retry()
            await rotated(clone, "blocked")
        assert await asked(wfm) == heard
        assert stored(clone) == before
        async with original:
            await rotated(original, None)


async def test_a_vault_from_before(tmp_path: Path) -> None:
    """An enrolled vault without a record is bound by the next commit that is made anyway, not by one of its own."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = device(tmp_path / "a", wfm, **FIRST)
        async with daemon:
            mine = await daemon.until("enrolled")
        vault = Vault.open(daemon.state)
        assert b"SN-0001" not in vault.records[HARDWARE]
        vault.commit({HARDWARE: None}, vault.binding)
        vault.close()
        before = stored(daemon)
        async with daemon:
            assert here(await daemon.until("enrolled")) == here(mine)
            assert stored(daemon) == before
            daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml="device: {vendor: Another}")
            await daemon.reload()
            await daemon.until_status(lambda _: HARDWARE in peek(daemon.state), "bound")
            await daemon.until("enrolled")
        Machine(tmp_path / "a" / "sys", **OTHER)
        async with daemon:
            await daemon.until("blocked", "hardware-mismatch")


async def test_nothing_to_bind_to(tmp_path: Path) -> None:
    """A device that says nothing of its hardware is onboarded, with a warning."""
    async with DevWfm(tmp_path / "wfm") as wfm, device(tmp_path / "a", wfm) as daemon:
        assert has(await daemon.until("enrolled"), "hardware-unknown")
