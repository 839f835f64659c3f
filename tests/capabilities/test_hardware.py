"""What a device is recognised by: read from the kernel's files, junk left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from margod.capabilities.hardware import EMMC, NETWORK, SERIAL, hardware
from tests.support.machine import Machine

CID = "15010038474d35520 0".replace(" ", "").ljust(32, "a")


def test_all_three(tmp_path: Path) -> None:
    """Serial number, eMMC and network card, each with its value."""
    Machine(tmp_path / "sys", serial="S-17", cid=CID, mac="00:1B:21:00:00:01")
    expected = {SERIAL: {"S-17"}, EMMC: {CID}, NETWORK: {"00:1b:21:00:00:01"}}
    assert dict(hardware(tmp_path)) == expected


@pytest.mark.parametrize("serial", ["To Be Filled By O.E.M.", "0123456789", "00000000", "Default string"])
def test_junk_serials(tmp_path: Path, serial: str) -> None:
    """What board makers leave there names no board; the next place is asked."""
    machine = Machine(tmp_path / "sys", serial=serial)
    assert not hardware(tmp_path)
    machine.write("class/dmi/id/board_serial", "B-1")
    assert dict(hardware(tmp_path)) == {SERIAL: {"B-1"}}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("class/net/eth0/addr_assign_type", "3"),
        ("class/net/eth0/address", "00:00:00:00:00:00"),
        ("class/net/eth0/address", "rubbish"),
        ("block/mmcblk0/device/type", "SD"),
        ("block/mmcblk0/device/cid", "0" * 32),
    ],
)
def test_what_does_not_count(tmp_path: Path, name: str, text: str) -> None:
    """An address that was set, one that was never programmed, a card that can be pulled out."""
    whole = Machine(tmp_path / "sys", cid=CID, mac="00:1b:21:00:00:01")
    assert set(hardware(tmp_path)) == {EMMC, NETWORK}
    whole.write(name, text)
    assert set(hardware(tmp_path)) == ({EMMC} if "net" in name else {NETWORK})


def test_virtual_and_bonded_cards(tmp_path: Path) -> None:
    """A card without a device behind it is none; one in a bond is known by the address that it was made with."""
    machine = Machine(tmp_path / "sys", mac="00:1b:21:00:00:01")
    machine.write("class/net/eth0/addr_assign_type", "3")
    machine.write("class/net/eth0/bonding_slave/perm_hwaddr", "00:1b:21:00:00:02")
    machine.write("class/net/veth0/address", "00:1b:21:00:00:03")
    machine.write("class/net/veth0/addr_assign_type", "0")
    assert dict(hardware(tmp_path)) == {NETWORK: {"00:1b:21:00:00:02"}}


def test_nothing_at_all(tmp_path: Path) -> None:
    """A container may see nothing of it."""
    assert not hardware(tmp_path)
