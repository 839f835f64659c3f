"""Probes over trees that look like a PC, a Raspberry Pi, an empty container and a hostile one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from margod.capabilities import Overrides, Source, look, probe
from margod.capabilities.probe import architecture_of
from margod.capabilities.reading import READ_LIMIT, derived_serial, read_list, read_memory, read_serial, read_text
from margod.model.capabilities import Capabilities, Cpu, Peripheral

MACHINE_ID = "0123456789abcdef0123456789abcdef"
PC = {
    "sys/class/dmi/id/sys_vendor": b"Siemens AG\n",
    "sys/class/dmi/id/product_name": b"SIMATIC IPC227G\n",
    "sys/class/dmi/id/product_serial": b"SVP1234567\n",
    "proc/meminfo": b"MemTotal:        8052372 kB\nMemFree:         1 kB\n",
    "etc/machine-id": MACHINE_ID.encode() + b"\n",
}
PI = {
    "proc/device-tree/model": b"Raspberry Pi 4 Model B Rev 1.4\0",
    "proc/device-tree/compatible": b"raspberrypi,4-model-b\0brcm,bcm2711\0",
    "proc/device-tree/serial-number": b"10000000a1b2c3d4\0",
    "proc/meminfo": b"MemTotal:        3884472 kB\n",
}


def tree(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write `files` below `root`."""
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def test_pc(tmp_path: Path) -> None:
    """A PC speaks through DMI; cores, architecture and storage come from the system."""
    found = look(root=tree(tmp_path, PC), state_directory=tmp_path, overrides=Overrides())
    capabilities = found.capabilities
    assert (capabilities.vendor, capabilities.model_number) == ("Siemens AG", "SIMATIC IPC227G")
    assert capabilities.serial_number == "SVP1234567"
    assert capabilities.memory == 8_052_372 * 1024
    assert capabilities.cpus == (Cpu(os.cpu_count() or 1, architecture_of(os.uname().machine)),)
    status = os.statvfs(tmp_path)
    assert capabilities.storage == status.f_blocks * status.f_frsize
    assert capabilities.device_id is None
    assert {name: str(source) for name, source in found.sources.items()} == {
        "device_id": "fallback",
        "vendor": "dmi",
        "model_number": "dmi",
        "serial_number": "dmi",
        "architecture": "system",
        "cores": "system",
        "memory": "system",
        "storage": "system",
        # What is there has its source entry by entry; of these there is nothing.
        "interfaces": "system",
        "peripherals": "system",
        "runtimes": "system",
        "deployment_types": "system",
        "otel_collector": "system",
    }


def test_raspberry_pi(tmp_path: Path) -> None:
    """A Raspberry Pi speaks through its NUL-terminated device tree."""
    found = look(root=tree(tmp_path, PI), state_directory=tmp_path, overrides=Overrides())
    capabilities = found.capabilities
    assert capabilities.vendor == "raspberrypi"
    assert capabilities.model_number == "Raspberry Pi 4 Model B Rev 1.4"
    assert capabilities.serial_number == "10000000a1b2c3d4"
    assert {found.sources[each] for each in ("vendor", "model_number", "serial_number")} == {Source.DEVICE_TREE}


def test_empty_container(tmp_path: Path) -> None:
    """Nothing to read: texts say unknown, numbers come from the system, nothing raises."""
    found = look(root=tmp_path, state_directory=tmp_path / "not/made/yet", overrides=Overrides())
    capabilities = found.capabilities
    assert (capabilities.vendor, capabilities.model_number, capabilities.serial_number) == ("unknown",) * 3
    assert capabilities.cpus[0].cores >= 1
    assert capabilities.memory == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert (capabilities.storage or 0) > 0  # of the nearest parent there is
    assert found.sources["vendor"] == found.sources["serial_number"] == Source.FALLBACK


def test_every_value_can_be_set(tmp_path: Path) -> None:
    """Settings win over everything that could be probed, and say so."""
    overrides = Overrides(
        "gw/1", "V", "M", "S", "arm", 3, 4, 5, ("rs232",), ("gpu:V:M",), ("oci",), ("compose", "helm"), True
    )
    found = look(root=tree(tmp_path, PC), state_directory=tmp_path, overrides=overrides)
    assert found.capabilities == Capabilities(
        "gw/1", "V", "M", "S", (Cpu(3, "arm"),), 4, 5,
        ("rs232",), (Peripheral("gpu", "V", "M"),), True, ("oci",), ("helm", "compose"),
    )  # fmt: skip
    assert set(found.sources.values()) == {Source.SETTING}
    assert {entry.source for entries in found.found.values() for entry in entries} == {Source.SETTING}
    assert probe(root=tmp_path, state_directory=tmp_path, overrides=overrides) == found.capabilities


def test_next_source_when_the_first_says_nothing(tmp_path: Path) -> None:
    """Fillers are passed over, value by value: board for system, device tree for DMI, machine-id for serial numbers."""
    files = PC | {
        "sys/class/dmi/id/sys_vendor": b"To Be Filled By O.E.M.\n",
        "sys/class/dmi/id/board_vendor": b"ASRock\n",
        "sys/class/dmi/id/product_name": b"Default string\n",
        "sys/class/dmi/id/product_serial": b"None\n",
        "sys/class/dmi/id/board_serial": b"00000000\n",
        "proc/device-tree/model": b"Board of the tree\0",
    }
    found = look(root=tree(tmp_path, files), state_directory=tmp_path, overrides=Overrides())
    assert (found.capabilities.vendor, found.capabilities.model_number) == ("ASRock", "Board of the tree")
    assert found.capabilities.serial_number == derived_serial(tmp_path / "etc/machine-id")
    assert found.sources["serial_number"] == Source.SYSTEM


@pytest.mark.parametrize(
    "filler",
    [b"", b"\n", b"\0\0\0\0", b"0", b"00000000\n", b"None", b"N/A", b"Default string", b"To be filled by O.E.M.",
     b"System Serial Number", b"Not Specified", b"xxxxxxxx", b"....", b"\xff" * 16, b"123456789", b" \t "],
)  # fmt: skip
def test_fillers_are_no_serial_numbers(tmp_path: Path, filler: bytes) -> None:
    """What factories leave in the field does not become ten thousand devices' serial number."""
    (tmp_path / "serial").write_bytes(filler)
    assert read_serial(tmp_path / "serial") is None


def test_text_is_bounded_and_clean(tmp_path: Path) -> None:
    """Firmware text comes out on one line, at most 128 characters, without control characters."""
    (tmp_path / "name").write_bytes(b"\x1b[31mEvil\r\nBox\t 1 " + b"x" * 100_000)
    text = read_text(tmp_path / "name") or ""
    assert text.startswith("[31mEvil Box 1 xxx")
    assert len(text) == 128
    assert text.isprintable()


def test_files_that_are_none(tmp_path: Path) -> None:
    """FIFOs, devices, directories, loops and what may not be read count as absent, at once."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("fifo", "loop", "zero", "", "missing", "missing/below", "a\0b"):
        assert read_text(tmp_path / name) is None
        assert read_list(tmp_path / name) == ()
        assert derived_serial(tmp_path / name) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_serial_number_for_root_alone(tmp_path: Path) -> None:
    """DMI's 0400 serial number is passed over by an unprivileged daemon."""
    root = tree(tmp_path, PC)
    for each in (root, *root.parents):
        if each.owner() == "root" and each != Path("/tmp") and each.is_relative_to("/tmp"):
            each.chmod(0o755)
    (root / "sys/class/dmi/id/product_serial").chmod(0o400)
    os.seteuid(65534)
    try:
        found = look(root=root, state_directory=tmp_path, overrides=Overrides())
    finally:
        os.seteuid(0)
    assert found.sources["vendor"] == Source.DMI
    assert found.sources["serial_number"] == Source.SYSTEM


def test_serial_number_does_not_betray_the_machine_id(tmp_path: Path) -> None:
    """Derived, stable, of UUID v4 form, different for each machine, never the id itself."""
    path = tmp_path / "machine-id"
    path.write_text(MACHINE_ID + "\n")
    serial = derived_serial(path)
    assert serial == "cc465612c131479888e36061c2a4372a"  # for ever: the WFM knows the device by it
    assert serial[12] == "4"
    assert serial[16] in "89ab"
    assert serial != MACHINE_ID
    path.write_text(MACHINE_ID[::-1])
    assert derived_serial(path) not in {None, serial}


@pytest.mark.parametrize(
    "text", ["", "uninitialized\n", "0" * 32, MACHINE_ID[:-1], MACHINE_ID + "0", "g" * 32, "é" * 32]
)
def test_no_machine_id(tmp_path: Path, text: str) -> None:
    """An image's empty or unset machine-id gives no serial number."""
    (tmp_path / "machine-id").write_text(text)
    assert derived_serial(tmp_path / "machine-id") is None


@pytest.mark.skipif(shutil.which("systemd-id128") is None, reason="needs systemd-id128")
def test_derivation_is_systemds(tmp_path: Path) -> None:
    """systemd itself derives the same value from this machine's id (another implementation)."""
    machine_id = Path("/etc/machine-id")
    done = subprocess.run(
        ["systemd-id128", "machine-id", "--app-specific=a3c6d5b07e1f4f2b9d6480e51b7c2f38"],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"systemd-id128: {done.stderr.strip()}")
    assert derived_serial(machine_id) == done.stdout.strip()


@pytest.mark.parametrize(
    "data", [b"", b"MemTotal: lots kB\n", b"MemTotal: 5\n", b"MemTotal: 0 kB\n", b"MemTotal: -5 kB\n", b"\xff" * 9000]
)
def test_memory_that_cannot_be_read(tmp_path: Path, data: bytes) -> None:
    """A meminfo that is hidden or odd gives nothing rather than nonsense."""
    (tmp_path / "meminfo").write_bytes(data)
    assert read_memory(tmp_path / "meminfo") is None


def test_reads_are_bounded(tmp_path: Path) -> None:
    """Nothing beyond the first 4096 bytes is looked at."""
    (tmp_path / "meminfo").write_bytes(b" " * READ_LIMIT + b"\nMemTotal: 5 kB\n")
    assert read_memory(tmp_path / "meminfo") is None


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        ("x86_64", "amd64"),
        ("aarch64", "arm64"),
        ("armv7l", "arm"),
        ("armv6l", "arm"),
        ("riscv64", None),
        ("i686", None),
    ],
)
def test_architectures(machine: str, name: str | None) -> None:
    """The specification's three architectures, and nothing made up for others."""
    assert architecture_of(machine) == name


@pytest.mark.parametrize("compatible", [b"", b"novendor\0", b",x\0", b"\0"])
def test_tree_without_a_vendor(tmp_path: Path, compatible: bytes) -> None:
    """A `compatible` without a vendor prefix names no vendor."""
    root = tree(tmp_path, {"proc/device-tree/compatible": compatible})
    assert look(root=root, state_directory=tmp_path, overrides=Overrides()).capabilities.vendor == "unknown"


def test_this_machine() -> None:
    """The real root gives something whole, whatever it is."""
    capabilities = probe(state_directory=Path("/var/lib/margod"), overrides=Overrides())
    assert all((capabilities.vendor, capabilities.model_number, capabilities.serial_number))
    assert (capabilities.memory or 0) > 0
