"""Interfaces and peripherals, over trees like a PC's, an ARM board's, a field gateway's and an empty container's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from margod.capabilities.attached import MOST, interfaces, peripherals
from margod.model.capabilities import Peripheral

PC = {
    "class/net/lo/type": "772",
    "class/net/eno1/type": "1",
    "class/net/eno1/device/vendor": "0x8086",
    "class/net/eno2/type": "1",
    "class/net/eno2/device/vendor": "0x8086",
    "class/net/wlp3s0/type": "1",
    "class/net/wlp3s0/device/vendor": "0x8086",
    "class/net/wlp3s0/wireless/beacon": "0",
    "class/net/docker0/type": "1",
    "class/net/veth12/type": "1",
    "class/bluetooth/hci0/address": "x",
    "class/bluetooth/hci0:11/address": "x",
    "bus/usb/devices/usb1/speed": "480",
    "bus/usb/devices/1-2/speed": "480",
    "class/tty/ttyS0/type": "4",
    "class/tty/ttyS1/type": "0",
    "class/tty/tty1/active": "1",
    "class/drm/card0/device/vendor": "0x8086",
    "class/drm/card0/device/driver": "-> i915",
    "class/drm/card1/device/vendor": "0x10de",
    "class/drm/card1/device/driver": "-> nvidia",
    "class/drm/card0-HDMI-A-1/status": "connected",
    "class/drm/card0-DP-1/status": "disconnected",
    "class/drm/renderD128/dev": "226:128",
    "class/video4linux/video0/name": "HD Webcam C525",
    "class/video4linux/video0/index": "0",
    "class/video4linux/video1/name": "HD Webcam C525",
    "class/video4linux/video1/index": "1",
    "class/sound/card0/id": "PCH",
    "class/sound/pcmC0D0p/pcm_class": "generic",
    "class/sound/pcmC0D0c/pcm_class": "generic",
    "class/sound/card1/id": "HDMI",
    "class/sound/pcmC1D3p/pcm_class": "generic",
}
ARM = {
    "class/net/eth0/type": "1",
    "class/net/eth0/device/uevent": "DRIVER=bcmgenet",
    "class/net/wlan0/type": "1",
    "class/net/wlan0/device/uevent": "x",
    "class/net/wlan0/phy80211/index": "0",
    "class/drm/card0/device/driver": "-> vc4-drm",
    "class/drm/card1/device/driver": "-> v3d",
    "class/drm/card0-DSI-1/status": "disconnected",
    "class/backlight/10-0045/brightness": "255",
    "class/video4linux/video0/name": "unicam-image",
    "class/video4linux/video0/index": "0",
    "class/video4linux/video10/name": "bcm2835-codec-decode",
    "class/video4linux/video13/name": "bcm2835-isp-output0",
    "class/sound/card0/id": "vc4hdmi0",
    "class/sound/pcmC0D0p/pcm_class": "generic",
    "class/tty/ttyAMA0/type": "32",
}
FIELD = {
    "class/net/can0/type": "280",
    "class/net/can0/device/uevent": "x",
    "class/net/vcan0/type": "280",
    "class/net/wwan0/type": "1",
    "class/net/wwan0/device/uevent": "x",
    "class/net/wwan0/uevent": "DEVTYPE=wwan\nINTERFACE=wwan0",
    "class/net/rmnet0/type": "519",
    "class/net/rmnet0/device/uevent": "x",
    "class/tty/ttyUSB0/device/driver": "-> ftdi_sio",
    "class/tty/ttyUSB1/device/driver": "-> option1",
    "class/usbmisc/cdc-wdm0/dev": "180:0",
    "class/usbmisc/lp0/dev": "180:1",
    "class/drm/card0/device/driver": "-> ast",
}


def tree(root: Path, files: Mapping[str, str]) -> Path:
    """Write files below root/sys; `-> name` makes a link whose target has this name, as the kernel does."""
    for name, text in files.items():
        path = root / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            path.symlink_to(f"../../../../bus/drivers/{text[3:]}")
        else:
            path.write_text(f"{text}\n")
    return root


def test_pc(tmp_path: Path) -> None:
    """Everything that has hardware behind it, once each; bridges, unused UARTs and HDMI sound are none."""
    root = tree(tmp_path, PC)
    assert dict(interfaces(root)) == {
        "ethernet": ("eno1", "eno2"),
        "wifi": ("wlp3s0",),
        "bluetooth": ("hci0",),
        "usb": ("usb1",),
        "rs232": ("ttyS0",),
    }
    assert dict(peripherals(root)) == {
        Peripheral("camera", model="HD Webcam C525"): ("video0",),
        Peripheral("display"): ("card0-HDMI-A-1",),
        Peripheral("gpu", "Intel"): ("card0",),
        Peripheral("gpu", "NVIDIA"): ("card1",),
        Peripheral("microphone"): ("pcmC0D0c",),
        Peripheral("speaker"): ("pcmC0D0p",),
    }


def test_arm_board(tmp_path: Path) -> None:
    """One GPU of two drivers, a panel by its backlight, a camera among codecs; the console's UART is no RS-232."""
    root = tree(tmp_path, ARM)
    assert dict(interfaces(root)) == {"ethernet": ("eth0",), "wifi": ("wlan0",)}
    assert dict(peripherals(root)) == {
        Peripheral("camera", model="unicam-image"): ("video0",),
        Peripheral("display"): ("10-0045",),
        Peripheral("gpu", "Broadcom"): ("card0", "card1"),
    }


def test_field_gateway(tmp_path: Path) -> None:
    """CAN, modems and serial adapters; a virtual CAN, a modem's ttyUSB and a console's graphics do not count."""
    root = tree(tmp_path, FIELD)
    assert dict(interfaces(root)) == {
        "cellular": ("rmnet0", "wwan0", "cdc-wdm0"),
        "canbus": ("can0",),
        "rs232": ("ttyUSB0",),
    }
    assert dict(peripherals(root)) == {}


def test_empty_container(tmp_path: Path) -> None:
    """Nothing to see is nothing attached."""
    assert (dict(interfaces(tmp_path)), dict(peripherals(tmp_path))) == ({}, {})


@pytest.mark.parametrize("name", ["class/net", "class/drm", "class/tty"])
def test_what_is_no_directory(tmp_path: Path, name: str) -> None:
    """A file where a directory should be is passed over."""
    tree(tmp_path, {name: "x"})
    assert (dict(interfaces(tmp_path)), dict(peripherals(tmp_path))) == ({}, {})


def test_a_number_without_bound(tmp_path: Path) -> None:
    """Of very many entries only some are looked at."""
    root = tree(tmp_path, {f"class/tty/ttyS{at:04}/type": "4" for at in range(MOST + 50)})
    assert len(interfaces(root)["rs232"]) == MOST
