"""What is attached to this device: interfaces and peripherals, by what the kernel shows of them in /sys.

Names and small files only, nothing in /dev is opened (a sandbox may hide it); bounded in number, never raises. What has
no hardware behind it (bridges, veth, vcan, dummies, loopbacks) is not attached.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from margod.capabilities.reading import read_text
from margod.model.capabilities import INTERFACES, Peripheral

MOST: Final = 256
"""Entries of one directory that are looked at; a board with a thousand UARTs has an RS-232 all the same."""
MOST_PERIPHERALS: Final = 32

_ETHERNET, _CAN, _RAW_IP = "1", "280", "519"
"""ARPHRD_ETHER, ARPHRD_CAN, ARPHRD_RAWIP (linux/if_arp.h)."""
_UNKNOWN_PORT: Final = "0"
"""PORT_UNKNOWN (linux/serial_core.h): the 8250 driver makes ttyS devices where there is no UART."""
_ADAPTERS: Final = frozenset({"ftdi_sio", "pl2303", "cp210x", "ch341-uart", "ch341", "mos7840", "xr_serial"})
"""Drivers of USB adapters with a serial line behind them; a modem's ttyUSB has another."""
_CARD: Final = re.compile(r"card\d{1,3}")
_CONNECTOR: Final = re.compile(r"card\d{1,3}-.+")
_PCM: Final = re.compile(r"pcmC(\d{1,3})D\d{1,3}([cp])")
_NOT_A_GPU: Final = frozenset({"ast", "bochs-drm", "cirrus", "mgag200", "simple-framebuffer", "vkms", "hibmc-drm"})
"""Drivers of what shows a console and computes nothing: management controllers and emulators."""
_NOT_A_CAMERA: Final = re.compile(
    r"codec|isp\b|-isp|vpu|m2m|decod|encod|dec\b|enc\b|loopback|dummy|vivid", re.IGNORECASE
)
_NOT_A_SOUND: Final = re.compile(r"hdmi|loopback|dummy", re.IGNORECASE)
_MAKERS: Final = {
    "0x10de": "NVIDIA",
    "0x1002": "AMD",
    "0x8086": "Intel",
    "nvgpu": "NVIDIA",
    "tegra": "NVIDIA",
    "v3d": "Broadcom",
    "vc4-drm": "Broadcom",
    "panfrost": "Arm",
    "lima": "Arm",
    "panthor": "Arm",
    "mali": "Arm",
    "etnaviv": "Vivante",
    "msm": "Qualcomm",
    "msm_dpu": "Qualcomm",
}
"""PCI vendors and drivers by whose GPU it is."""


def interfaces(root: Path = Path("/")) -> Mapping[str, tuple[str, ...]]:
    """Return each interface type that this device has, in the specification's order, with the kernel's names for it."""
    found: dict[str, list[str]] = {kind: [] for kind in INTERFACES}
    for card in _entries(root / "sys/class/net"):
        if (kind := _network(card)) is not None:
            found[kind].append(card.name)
    for name in ("class/wwan", "class/usbmisc"):
        found["cellular"] += [e.name for e in _entries(root / "sys" / name) if e.name.startswith(("wwan", "cdc-wdm"))]
    found["bluetooth"] = [e.name for e in _entries(root / "sys/class/bluetooth") if re.fullmatch(r"hci\d+", e.name)]
    found["usb"] = [e.name for e in _entries(root / "sys/bus/usb/devices") if re.fullmatch(r"usb\d+", e.name)]
    found["rs232"] = [e.name for e in _entries(root / "sys/class/tty") if _is_serial(e)]
    return {kind: tuple(names) for kind, names in found.items() if names}


def peripherals(root: Path = Path("/")) -> Mapping[Peripheral, tuple[str, ...]]:
    """Return what is attached, each once, sorted, with the kernel's names for it."""
    found: dict[Peripheral, list[str]] = {}
    for peripheral, name in [*_graphics(root), *_cameras(root), *_sound(root)]:
        found.setdefault(peripheral, []).append(name)
    return {each: tuple(found[each]) for each in sorted(found)[:MOST_PERIPHERALS]}


def _network(card: Path) -> str | None:
    if not (card / "device").exists():
        return None
    kind = read_text(card / "type")
    if kind == _CAN:
        return "canbus"
    if (card / "wireless").is_dir() or (card / "phy80211").exists():
        return "wifi"
    if kind == _RAW_IP or "DEVTYPE=wwan" in (read_text(card / "uevent") or "").split():
        return "cellular"
    return "ethernet" if kind == _ETHERNET else None


def _is_serial(tty: Path) -> bool:
    if re.fullmatch(r"ttyS\d+", tty.name):
        return read_text(tty / "type") not in (None, _UNKNOWN_PORT)
    return tty.name.startswith("ttyUSB") and _driver(tty / "device") in _ADAPTERS


def _graphics(root: Path) -> Iterator[tuple[Peripheral, str]]:
    for entry in _entries(root / "sys/class/drm"):
        if _CARD.fullmatch(entry.name):
            driver = _driver(entry / "device")
            if driver and driver not in _NOT_A_GPU:
                vendor = read_text(entry / "device/vendor") or ""
                yield Peripheral("gpu", _MAKERS.get(vendor, _MAKERS.get(driver, ""))), entry.name
        elif _CONNECTOR.fullmatch(entry.name) and read_text(entry / "status") == "connected":
            yield Peripheral("display"), entry.name
    for entry in _entries(root / "sys/class/backlight"):
        yield Peripheral("display"), entry.name


def _cameras(root: Path) -> Iterator[tuple[Peripheral, str]]:
    for entry in _entries(root / "sys/class/video4linux"):
        name = read_text(entry / "name") or ""
        # A camera has several nodes (frames, metadata); the first is the one that counts.
        first = read_text(entry / "index") in (None, "0")
        if entry.name.startswith("video") and first and name and not _NOT_A_CAMERA.search(name):
            yield Peripheral("camera", model=name), entry.name


def _sound(root: Path) -> Iterator[tuple[Peripheral, str]]:
    for entry in _entries(root / "sys/class/sound"):
        if not (match := _PCM.fullmatch(entry.name)):
            continue
        card = read_text(root / "sys/class/sound" / f"card{match[1]}" / "id") or ""
        if not _NOT_A_SOUND.search(card):
            yield Peripheral("microphone" if match[2] == "c" else "speaker"), entry.name


def _driver(device: Path) -> str:
    """Return the name of the driver that a device is bound to, "" for none."""
    try:
        return os.path.basename(os.readlink(device / "driver"))  # noqa: PTH115, PTH119 - the link's text, not its target
    except OSError:
        return ""


def _entries(directory: Path) -> list[Path]:
    """Return at most `MOST` entries of a directory, in the order of their names; none if it cannot be read."""
    try:
        with os.scandir(directory) as found:
            names = [entry.name for entry, _ in zip(found, range(16 * MOST), strict=False)]
    except OSError:
        return []
    return [directory / name for name in sorted(names)[:MOST]]
