"""The DeviceCapability of the 2024 drafts, and what of a device it has no words for.

Memory and storage in GB, which are 10^9 bytes, rounded down: the WFM is promised no more than there is. `frequency` is
optional in our reading, because nothing on the device says it reliably.
"""

from __future__ import annotations

from typing import Final

from margod.model.capabilities import Capabilities, Peripheral
from margod.protocols.plain import unplain

VERSION: Final = "device.margo/v1"
KIND: Final = "DeviceCapability"

GIGABYTE: Final = 10**9
CLUSTER, DEVICE = "standalone cluster", "standalone device"
"""Roles: who takes Helm charts is a cluster, anybody else is not. Nothing here leads a cluster."""

_PERIPHERALS: Final = {"gpu": "GPU"}
_INTERFACES: Final = {
    "ethernet": "Ethernet",
    "wifi": "Wi-Fi",
    "cellular": "Cellular",
    "bluetooth": "Bluetooth",
    "usb": "USB",
    "canbus": "CAN bus",
    "rs232": "RS-232",
}


def of(device: Capabilities, device_id: str) -> dict[str, object]:
    """Return the manifest of a device under this id; what is not known is left out, what has no word too."""
    if device.manifest is not None:
        properties = device.manifest.get("properties")
        named = {**(properties if isinstance(properties, dict) else {}), "id": device_id}
        return {**device.manifest, "properties": named}
    made: dict[str, object] = {
        "id": device_id,
        "vendor": device.vendor,
        "modelNumber": device.model_number,
        "serialNumber": device.serial_number,
        "roles": [CLUSTER if "helm" in device.deployment_types else DEVICE],
        "resources": _resources(device),
    }
    if device.peripherals is not None:
        made["peripherals"] = [_peripheral(each) for each in device.peripherals]
    if device.interfaces is not None:
        words = [_INTERFACES.get(kind, kind) for kind in device.interfaces]
        made["interfaces"] = [{"name": word, "type": word} for word in words]
    return {"apiVersion": VERSION, "kind": KIND, "properties": made}


def notes(device: Capabilities) -> list[str]:
    """Return what this generation cannot say of the device, a sentence each, for `margod capabilities`."""
    if device.manifest is not None:
        return []  # it is sent as it is
    said: list[str] = []
    if device.deployment_types:
        said.append("deployment_types: said by the role alone, which is that of a cluster where helm is among them")
    if device.runtimes:
        said.append("runtimes: this generation has no word for them")
    if device.otel_collector is not None:
        said.append("otel_collector: this generation has no word for it")
    return said


def problem(document: object) -> str:
    """Return what is wrong first with a parsed manifest of a person, beginning with the field; "" if nothing."""
    if not isinstance(document, dict):
        return "is not a manifest but something else"
    if said := unplain(document):
        return said
    if document.get("kind") != KIND:
        return f"kind: not {KIND}"
    properties = document.get("properties")
    if not isinstance(properties, dict):
        return "properties: not an object"
    for name in ("id", "vendor", "modelNumber", "serialNumber"):
        if not isinstance(properties.get(name), str) or not properties[name]:
            return f"properties.{name}: missing or not text"
    roles = properties.get("roles", [])
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        return "properties.roles: not a list of texts"
    return "" if isinstance(properties.get("resources", {}), dict) else "properties.resources: not an object"


def gigabytes(count: int, places: int) -> str:
    """Return bytes (>= 0) as the examples write them, `64.0 GB` or `2000 GB`, rounded down."""
    unit = GIGABYTE // 10**places
    whole, rest = divmod(count // unit, 10**places)
    return f"{whole}.{rest:0{places}} GB" if places else f"{whole} GB"


def _resources(device: Capabilities) -> dict[str, object]:
    made: dict[str, object] = {}
    if device.memory is not None:
        made["memory"] = gigabytes(device.memory, 1)
    if device.storage is not None:
        made["storage"] = gigabytes(device.storage, 0)
    if device.cpus:
        made["cpus"] = [
            ({"architecture": cpu.architecture} if cpu.architecture else {}) | {"cores": cpu.cores}
            for cpu in device.cpus
        ]
    return made


def _peripheral(each: Peripheral) -> dict[str, object]:
    word = _PERIPHERALS.get(each.type, each.type.capitalize())
    made: dict[str, object] = {"name": " ".join(filter(None, (each.manufacturer, each.model))) or word, "type": word}
    if each.model:
        made["modelNumber"] = each.model
    if each.manufacturer:
        made["properties"] = {"manufacturer": each.manufacturer}
    return made
