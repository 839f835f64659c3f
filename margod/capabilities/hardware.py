"""What tells this device's hardware from another's of the same make: serial number, eMMC, network cards.

Everything is read from /sys and /proc, bounded; what a device does not say, or what its maker left unfilled, is left
out. The values name a device for ever: they are compared as salted hashes (identity/hardware.py) and never shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from margod.capabilities.reading import read_serial, read_text

SERIAL: Final = "serial number"
EMMC: Final = "eMMC"
NETWORK: Final = "network card"

MOST: Final = 64
"""Network cards or memories that are looked at."""

_CID: Final = re.compile("[0-9a-f]{32}")
_MAC: Final = re.compile("[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_PERMANENT: Final = "0"
"""NET_ADDR_PERM of addr_assign_type (linux/netdevice.h): the address is the card's own."""
_JUNK_MACS: Final = frozenset(
    {
        "00:00:00:00:00:00",
        "00:01:02:03:04:05",
        "00:11:22:33:44:55",
        "12:34:56:78:9a:bc",
        "aa:bb:cc:dd:ee:ff",
        "ff:ff:ff:ff:ff:ff",
    }
)
"""What boards have whose address was never programmed."""


def hardware(root: Path = Path("/")) -> Mapping[str, frozenset[str]]:
    """Return what is known of each kind, kinds of which nothing is known left out. Never raises.

    A device may have several network cards; of a bonded card the address that it was made with counts. Cards without a
    device behind them (bridges, containers' veth) and addresses that were set or drawn do not.
    """
    found = {SERIAL: _serial(root), EMMC: frozenset(_emmc(root)), NETWORK: frozenset(_network(root))}
    return {kind: values for kind, values in found.items() if values}


def _serial(root: Path) -> frozenset[str]:
    dmi, tree = root / "sys/class/dmi/id", root / "proc/device-tree"
    for path in (dmi / "product_serial", dmi / "board_serial", tree / "serial-number"):
        if (serial := read_serial(path)) is not None:
            return frozenset({serial})
    return frozenset()


def _emmc(root: Path) -> Iterator[str]:
    for device in _entries(root / "sys/block", "mmcblk"):
        # An SD card may be moved to another board by hand; an eMMC is soldered in.
        cid = read_text(device / "device/cid")
        if read_text(device / "device/type") == "MMC" and cid is not None and _CID.fullmatch(cid) and int(cid, 16):
            yield cid


def _network(root: Path) -> Iterator[str]:
    for card in _entries(root / "sys/class/net", ""):
        if not (card / "device").exists():
            continue
        own = read_text(card / "bonding_slave/perm_hwaddr")
        if own is None and read_text(card / "addr_assign_type") == _PERMANENT:
            own = read_text(card / "address")
        if own is not None and _MAC.fullmatch(own.lower()) and own.lower() not in _JUNK_MACS:
            yield own.lower()


def _entries(directory: Path, prefix: str) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.name.startswith(prefix))[:MOST]
    except OSError:
        return []
