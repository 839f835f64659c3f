"""The device's capabilities: the setting if there is one, else what firmware and system say, else an honest blank.

Cores and memory are the machine's. Limits that cgroups, CPU affinity or a container put on margod's own process are
not looked at: workloads do not run inside margod.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

from margod.capabilities import amending, attached, software
from margod.capabilities.reading import derived_serial, read_list, read_memory, read_serial, read_text
from margod.capabilities.sources import Found, Source
from margod.model.capabilities import DEPLOYMENT_TYPES, INTERFACES, RUNTIMES, Capabilities, Cpu, Peripheral

UNKNOWN: Final = "unknown"
"""What stands where the specification demands a text and the device has none."""

_ARCHITECTURES: Final = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv8l": "arm",  # a 32-bit process on a 64-bit kernel
    "armv7l": "arm",
    "armv6l": "arm",
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Overrides:
    """The configuration's `device.*` and lists of `capabilities.*`. None means: probe. Sizes in bytes, cores >= 1.

    `interfaces` to `deployment_types` are lists as config/lists.py reads them; `withhold` names fields of this class.
    """

    device_id: str | None = None
    vendor: str | None = None
    model_number: str | None = None
    serial_number: str | None = None
    architecture: str | None = None
    cores: int | None = None
    memory: int | None = None
    storage: int | None = None
    interfaces: tuple[str, ...] | None = None
    peripherals: tuple[str, ...] | None = None
    runtimes: tuple[str, ...] | None = None
    deployment_types: tuple[str, ...] | None = None
    otel_collector: bool | None = None
    withhold: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Probed:
    """The capabilities; where the value of each field of `Overrides` comes from; and the same of what is in lists."""

    capabilities: Capabilities
    sources: Mapping[str, Source] = field(default_factory=dict)
    found: Mapping[str, tuple[Found, ...]] = field(default_factory=dict)


def probe(*, root: Path = Path("/"), state_directory: Path, overrides: Overrides) -> Capabilities:
    """Return the capabilities. As `look`, without the sources."""
    return look(root=root, state_directory=state_directory, overrides=overrides).capabilities


def look(*, root: Path = Path("/"), state_directory: Path, overrides: Overrides) -> Probed:
    """Probe what `overrides` leaves open. `root` is where /proc, /sys and /etc are found. Never raises.

    Texts are never empty ("unknown" at last). Storage is the size of the file system that holds `state_directory`
    or its nearest parent. Some dozen small files of memory file systems are read: milliseconds, without waiting.
    """
    dmi, tree = root / "sys/class/dmi/id", root / "proc/device-tree"
    sources: dict[str, Source] = {}

    def settle(name: str, set_to: T | None, tries: Iterable[tuple[Source, Callable[[], T | None]]], last: T) -> T:
        if set_to is not None:
            sources[name] = Source.SETTING
            return set_to
        for source, attempt in tries:
            if (found := attempt()) is not None:
                sources[name] = source
                return found
        sources[name] = Source.FALLBACK
        return last

    vendor = settle(
        "vendor",
        overrides.vendor,
        [
            (Source.DMI, lambda: read_text(dmi / "sys_vendor")),
            (Source.DMI, lambda: read_text(dmi / "board_vendor")),
            (Source.DEVICE_TREE, lambda: _tree_vendor(tree / "compatible")),
        ],
        UNKNOWN,
    )
    model = settle(
        "model_number",
        overrides.model_number,
        [
            (Source.DMI, lambda: read_text(dmi / "product_name")),
            (Source.DMI, lambda: read_text(dmi / "board_name")),
            (Source.DEVICE_TREE, lambda: read_text(tree / "model")),
        ],
        UNKNOWN,
    )
    serial = settle(
        "serial_number",
        overrides.serial_number,
        [
            # DMI's are readable by root alone (0400); an unprivileged daemon passes on to the next.
            (Source.DMI, lambda: read_serial(dmi / "product_serial")),
            (Source.DMI, lambda: read_serial(dmi / "board_serial")),
            (Source.DEVICE_TREE, lambda: read_serial(tree / "serial-number")),
            (Source.SYSTEM, lambda: derived_serial(root / "etc/machine-id")),
        ],
        UNKNOWN,
    )
    architecture = settle(
        "architecture", overrides.architecture, [(Source.SYSTEM, lambda: architecture_of(os.uname().machine))], None
    )
    cores = settle("cores", overrides.cores, [(Source.SYSTEM, os.cpu_count)], 1)
    memory = settle(
        "memory",
        overrides.memory,
        # ProcSubset=pid hides /proc/meminfo; the C library then asks the kernel directly.
        [(Source.SYSTEM, lambda: read_memory(root / "proc/meminfo")), (Source.SYSTEM, _physical_memory)],
        None,
    )
    storage = settle("storage", overrides.storage, [(Source.SYSTEM, lambda: _file_system_size(state_directory))], None)
    sources["device_id"] = Source.FALLBACK if overrides.device_id is None else Source.SETTING  # the client id
    found = Capabilities(
        device_id=overrides.device_id,
        vendor=vendor,
        model_number=model,
        serial_number=serial,
        cpus=(Cpu(cores, architecture),),
        memory=memory,
        storage=storage,
    )
    return _withheld(_with_lists(found, sources, root, overrides), overrides.withhold)


def _with_lists(device: Capabilities, sources: Mapping[str, Source], root: Path, overrides: Overrides) -> Probed:
    """Add what is attached and what is installed."""
    lists = {
        "interfaces": amending.words(overrides.interfaces, attached.interfaces(root), INTERFACES),
        "peripherals": amending.peripherals(overrides.peripherals, attached.peripherals(root)),
        "runtimes": amending.words(overrides.runtimes, software.runtimes(root), RUNTIMES),
        "deployment_types": amending.words(
            overrides.deployment_types, software.deployment_types(root), DEPLOYMENT_TYPES
        ),
    }
    listening = software.collector(root)
    hosts = bool(lists["runtimes"] or lists["deployment_types"])
    has_collector = bool(listening) if overrides.otel_collector is None else overrides.otel_collector
    # One that hosts no workloads has nothing to say of a collector for them, unless its owner does.
    says = hosts or bool(listening) or overrides.otel_collector is not None
    source = Source.SYSTEM if overrides.otel_collector is None else Source.SETTING
    by = listening if overrides.otel_collector is None else ()
    found = {name: tuple(entries) for name, entries in lists.items()}
    found["otel_collector"] = (Found(str(has_collector).lower(), source, by),) if says else ()
    written = {name: getattr(overrides, name) is not None for name in found}
    empty = {name: Source.SETTING if written[name] else Source.SYSTEM for name, each in found.items() if not each}
    device = replace(
        device,
        interfaces=_texts(lists["interfaces"]),
        peripherals=tuple(each.value for each in lists["peripherals"] if isinstance(each.value, Peripheral)),
        runtimes=_texts(lists["runtimes"]),
        deployment_types=_texts(lists["deployment_types"]),
        otel_collector=has_collector if says else None,
    )
    return Probed(device, {**sources, **empty}, found)


def _withheld(probed: Probed, names: frozenset[str]) -> Probed:
    """Take out what the owner does not want to be said."""
    device = probed.capabilities
    cpus = device.cpus
    if "architecture" in names:
        cpus = tuple(replace(cpu, architecture=None) for cpu in cpus)
    device = replace(
        device,
        cpus=() if "cpu" in names else cpus,
        memory=None if "memory" in names else device.memory,
        storage=None if "storage" in names else device.storage,
        interfaces=None if "interfaces" in names else device.interfaces,
        peripherals=None if "peripherals" in names else device.peripherals,
        runtimes=() if "runtimes" in names else device.runtimes,
        deployment_types=() if "deployment_types" in names else device.deployment_types,
        otel_collector=None if "otel_collector" in names else device.otel_collector,
    )
    hidden = {*names, *(("cores", "architecture") if "cpu" in names else ())} - {"cpu"}
    sources = {name: Source.WITHHELD if name in hidden else source for name, source in probed.sources.items()}
    sources |= dict.fromkeys(hidden - set(sources), Source.WITHHELD)
    return Probed(device, sources, {name: entries for name, entries in probed.found.items() if name not in hidden})


def _texts(entries: Iterable[Found]) -> tuple[str, ...]:
    return tuple(each.value for each in entries if isinstance(each.value, str))


def architecture_of(machine: str) -> str | None:
    """Return the specification's name for a `uname -m`: `amd64`, `arm64`, `arm`, or None if it has none."""
    return _ARCHITECTURES.get(machine)


def _tree_vendor(compatible: Path) -> str | None:
    """Return the vendor prefix of the first entry of `compatible` ("raspberrypi,4-model-b"): that is the board."""
    entries = read_list(compatible)
    prefix, comma, _ = entries[0].partition(",") if entries else ("", "", "")
    return prefix if prefix and comma else None


def _physical_memory() -> int | None:
    try:
        return max(0, os.sysconf("SC_PHYS_PAGES")) * max(0, os.sysconf("SC_PAGE_SIZE")) or None
    except (OSError, ValueError):
        return None


def _file_system_size(directory: Path) -> int | None:
    for each in (directory, *directory.parents):
        try:
            status = os.statvfs(each)
        except OSError:  # not made yet, or not ours to look into
            continue
        return status.f_blocks * status.f_frsize or None
    return None
