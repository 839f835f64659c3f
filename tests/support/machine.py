"""A machine's /sys of a test's own, over the real one, in a namespace of mounts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount over /sys")


class Machine:
    """The part of /sys by which a device is recognised, below `directory`."""

    def __init__(self, directory: Path, *, serial: str = "", cid: str = "", mac: str = "") -> None:
        """Write it; an empty value is not there."""
        self.sys = directory
        self.become(serial=serial, cid=cid, mac=mac)

    def become(self, *, serial: str = "", cid: str = "", mac: str = "") -> None:
        """Make another machine of it, or exchange a part."""
        self.write("class/dmi/id/product_serial", serial)
        self.write("block/mmcblk0/device/cid", cid)
        self.write("block/mmcblk0/device/type", "MMC")
        (self.sys / "class/net/eth0/device").mkdir(parents=True, exist_ok=True)
        self.write("class/net/eth0/address", mac)
        self.write("class/net/eth0/addr_assign_type", "0")

    def write(self, name: str, text: str) -> None:
        """Write one file of it."""
        file = self.sys / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n" if text else "")

    @property
    def prefix(self) -> list[str]:
        """The command that runs the one after it on this machine."""
        script = 'mount --bind "$0" /sys && exec "$@"'
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(self.sys)]
