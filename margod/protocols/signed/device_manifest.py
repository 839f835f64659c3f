"""The DeviceCapabilitiesManifest (specification 1.0.0-rc.2): our own model of its schema, and what is made by it.

The schema leaves members of `properties` open; here they are not, because what a person misspells in a manifest is
then said instead of being lost at the WFM. The tests hold this against the published schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from margod.model.capabilities import (
    ARCHITECTURES,
    DEPLOYMENT_TYPES,
    DEVICE_ID_IN_PATH,
    INTERFACES,
    PERIPHERALS,
    RUNTIMES,
    Capabilities,
)
from margod.protocols.plain import join, shown, unplain

VERSION: Final = "device.margo.org/v1alpha1"
KIND: Final = "DeviceCapabilitiesManifest"
LONGEST_ID: Final = 255

MEBIBYTE: Final = 1024**2
GIBIBYTE: Final = 1024**3

_EXTENSION: Final = re.compile(r"x-[a-z][a-z0-9-]*-extensions")
_Check: TypeAlias = Callable[[object, str], str]


def problem(document: object) -> str:
    """Return what is wrong first with a parsed manifest, beginning with the field's path; "" if it may be sent."""
    if not isinstance(document, dict):
        return "is not a manifest but " + _kind(document)
    if said := unplain(document):
        return said
    for name, value in document.items():
        if _EXTENSION.fullmatch(name) and not isinstance(value, dict):
            return f"{name}: not an object"
    return _members(document, _MANIFEST, "", ("apiVersion", "kind", "properties"))


def of(device: Capabilities, device_id: str) -> dict[str, object]:
    """Return the manifest of a device under this id; what is not known is left out."""
    if device.manifest is not None:
        properties = device.manifest.get("properties")
        named = {**(properties if isinstance(properties, dict) else {}), "id": device_id}
        return {**device.manifest, "properties": named}
    made: dict[str, object] = {
        "id": device_id,
        "vendor": device.vendor,
        "modelNumber": device.model_number,
        "serialNumber": device.serial_number,
    }
    if device.cpus:
        made["cpu"] = [
            {"cores": cpu.cores} | ({"architecture": cpu.architecture} if cpu.architecture else {})
            for cpu in device.cpus
        ]
    if device.memory is not None:
        made["memory"] = size(device.memory)
    if device.storage is not None:
        made["storage"] = size(device.storage)
    if device.peripherals is not None:
        made["peripherals"] = [
            {"type": each.type}
            | ({"manufacturer": each.manufacturer} if each.manufacturer else {})
            | ({"model": each.model} if each.model else {})
            for each in device.peripherals
        ]
    if device.interfaces is not None:
        made["interfaces"] = [{"type": kind} for kind in device.interfaces]
    if device.otel_collector is not None:
        made["otelCollector"] = device.otel_collector
    if device.runtimes:  # at least one, or the field is not there
        made["supportedRuntimes"] = list(device.runtimes)
    if device.deployment_types:
        made["supportedDeploymentTypes"] = list(device.deployment_types)
    return {"apiVersion": VERSION, "kind": KIND, "properties": made}


def size(count: int) -> str:
    """Return bytes (>= 0) in the examples' form, rounded down: `59 Gi`, below one `Gi` in `Mi`."""
    return f"{count // GIBIBYTE} Gi" if count >= GIBIBYTE else f"{count // MEBIBYTE} Mi"


def identifier(document: Mapping[str, object]) -> str:
    """Return the id in a manifest that `problem` has nothing against."""
    properties = document["properties"]
    return str(properties["id"]) if isinstance(properties, dict) else ""


def _members(found: Mapping[str, object], checks: Mapping[str, _Check], path: str, required: tuple[str, ...]) -> str:
    for name in found:
        if name not in checks and (path or not _EXTENSION.fullmatch(name)):
            return f"{join(path, shown(name))}: no member of a manifest"
    for name in required:
        if name not in found:
            return f"{join(path, name)}: missing"
    return next(
        (said for name in checks if name in found and (said := checks[name](found[name], join(path, name)))), ""
    )


def _object(checks: Mapping[str, _Check], *required: str) -> _Check:
    def check(value: object, path: str) -> str:
        return _members(value, checks, path, required) if isinstance(value, dict) else f"{path}: not an object"

    return check


def _string(value: object, path: str) -> str:
    return "" if isinstance(value, str) and value.isprintable() else f"{path}: not a string but {_kind(value)}"


def _boolean(value: object, path: str) -> str:
    return "" if isinstance(value, bool) else f"{path}: not true or false"


def _cores(value: object, path: str) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65_536
    return "" if whole else f"{path}: not a whole number from 1 to 65536"


def _device_id(value: object, path: str) -> str:
    if isinstance(value, str) and len(value) <= LONGEST_ID and DEVICE_ID_IN_PATH.fullmatch(value):
        return ""
    return f"{path}: not a device id (letters, digits and . _ ~ - in segments divided by slashes, none . or ..)"


def _one_of(words: tuple[str, ...]) -> _Check:
    def check(value: object, path: str) -> str:
        return "" if isinstance(value, str) and value in words else f"{path}: not one of {', '.join(words)}"

    return check


def _list(item: _Check, *, least: int = 0) -> _Check:
    def check(value: object, path: str) -> str:
        if not isinstance(value, list):
            return f"{path}: not a list"
        if len(value) < least:
            return f"{path}: empty; leave it out"
        return next((said for index, each in enumerate(value) if (said := item(each, f"{path}[{index}]"))), "")

    return check


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "nothing" if value is None else "something else")


_PROPERTIES: Final[Mapping[str, _Check]] = {
    "id": _device_id,
    "vendor": _string,
    "modelNumber": _string,
    "serialNumber": _string,
    "cpu": _list(_object({"cores": _cores, "architecture": _one_of(ARCHITECTURES)}, "cores")),
    "memory": _string,
    "storage": _string,
    "peripherals": _list(_object({"type": _one_of(PERIPHERALS), "manufacturer": _string, "model": _string}, "type")),
    "interfaces": _list(_object({"type": _one_of(INTERFACES)}, "type")),
    "otelCollector": _boolean,
    "supportedRuntimes": _list(_one_of(RUNTIMES), least=1),
    "supportedDeploymentTypes": _list(_one_of(DEPLOYMENT_TYPES), least=1),
}
_MANIFEST: Final[Mapping[str, _Check]] = {
    "apiVersion": _string,
    "kind": _one_of((KIND,)),
    "properties": _object(_PROPERTIES, "id", "vendor", "modelNumber", "serialNumber"),
}
