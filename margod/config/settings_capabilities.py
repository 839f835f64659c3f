"""The settings of what the device reports of itself and of the devices behind it; the table is in settings.py."""

# Fields of frozen attrs classes; what RUF009 warns of (a default shared and changed) cannot happen to them:
# ruff: noqa: RUF009

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs

from margod.config import lists, values
from margod.config.setting import setting as _setting
from margod.model.capabilities import DEPLOYMENT_TYPES, INTERFACES, PERIPHERALS, RUNTIMES

WITHHELD: Final = (
    "cpu",
    "architecture",
    "memory",
    "storage",
    "interfaces",
    "peripherals",
    "otel_collector",
    "runtimes",
    "deployment_types",
)
"""What the specification lets a device keep to itself; id, vendor, model and serial number it does not."""


@attrs.frozen(kw_only=True)
class CapabilitiesSettings:
    """What the capabilities report says beside device.*; what is not set is looked for. `margod capabilities` shows it.

    In a list a word alone replaces what is found, +word adds to it, -word leaves it out.
    """

    interfaces: tuple[str, ...] | None = _setting(
        lists.amendments(INTERFACES),
        None,
        "Interfaces: ethernet, wifi, cellular, bluetooth, usb, canbus, rs232; or none.",
        example="+rs232, -usb",
    )
    peripherals: tuple[str, ...] | None = _setting(
        lists.amendments(PERIPHERALS, details=2),
        None,
        "Peripherals: gpu, display, camera, microphone, speaker, each with :manufacturer:model behind it if wanted; or "
        "none.",
        example="+camera:Example Works:EW-CAM",
    )
    runtimes: tuple[str, ...] | None = _setting(
        lists.amendments(RUNTIMES), None, "Runtimes that workloads find here: oci, or none.", example="oci"
    )
    deployment_types: tuple[str, ...] | None = _setting(
        lists.amendments(DEPLOYMENT_TYPES),
        None,
        "Types of deployment that this device takes: helm, compose; or none.",
        example="compose",
    )
    otel_collector: str = _setting(
        values.choice("auto", "present", "absent"),
        "auto",
        "Whether workloads find an OpenTelemetry collector here: present, absent, or auto: present if something "
        "listens on this device's port 4317 or 4318. Reported by a device that hosts workloads, and where it is set.",
    )
    withhold: tuple[str, ...] | None = _setting(
        lists.names(*WITHHELD),
        None,
        f"What is not reported at all: {', '.join(WITHHELD)}.",
        example="memory, storage",
    )
    file: Path | None = _setting(
        values.path(),
        None,
        "A complete manifest (JSON or YAML), reported in the place of all that is found or set. Its id is the "
        "device's.",
        example="/etc/margod/capabilities.json",
    )
    children: tuple[Path, ...] | None = _setting(
        lists.paths(),
        None,
        "Manifests of the devices behind this gateway: a directory of *.json, *.yaml and *.yml, or a list of files and "
        "directories. Their ids lie below the gateway's: gateway-17/plc-1.",
        example="/etc/margod/children",
    )
    look: float = _setting(
        values.duration("1s", "30d"),
        3_600.0,
        "How often it is looked whether something has changed, beside every start and every device that comes or goes.",
    )
    settle: float = _setting(
        values.duration("1s", "1d"),
        120.0,
        "For how long a change has to hold before it is reported; what `margod reload` brings is reported at once.",
    )
