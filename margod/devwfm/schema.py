"""Capabilities and deployment status: the published schemas (`DeviceCapabilitiesManifest`,
`DeploymentStatusManifest`), checked by hand.

The tests hold it against jsonschema and the published file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from margod.model.capabilities import DEVICE_ID

Check: TypeAlias = Callable[[object, str], None]

_EXTENSION: Final = re.compile(r"x-[a-z][a-z0-9-]*-extensions")


class SchemaError(Exception):
    """The manifest breaks the schema; the message begins with the path of the field."""


def check_capabilities(document: object) -> None:
    """Raise `SchemaError` for the first field of `document` (parsed JSON) that breaks the schema."""
    manifest = _object(document, "")
    for key, value in manifest.items():
        if _EXTENSION.fullmatch(key):
            _object(value, key)
        elif key not in _MANIFEST:
            raise SchemaError(f"{key}: unknown member")
    _members(manifest, _MANIFEST, "", required=("apiVersion", "kind", "properties"))


def check_status(document: object) -> None:
    """Raise `SchemaError` for the first field of a deployment status (parsed JSON) that breaks the schema."""
    required = ("apiVersion", "kind", "deploymentId", "status", "components")
    _members(_object(document, ""), _STATUS_MANIFEST, "", required=required)


def _properties(value: object, path: str) -> None:
    _members(_object(value, path), _PROPERTIES, path, required=("id", "vendor", "modelNumber", "serialNumber"))


def _cpu(value: object, path: str) -> None:
    _members(_object(value, path), {"cores": _number, "architecture": _CPU_KIND}, path, required=("cores",))


def _peripheral(value: object, path: str) -> None:
    members = {"type": _PERIPHERAL_KIND, "manufacturer": _string, "model": _string}
    _members(_object(value, path), members, path, required=("type",))


def _interface(value: object, path: str) -> None:
    _members(_object(value, path), {"type": _INTERFACE_KIND}, path, required=("type",))


def _status(value: object, path: str) -> None:
    _members(_object(value, path), {"state": _STATE, "error": _error}, path, required=("state",))


def _component(value: object, path: str) -> None:
    _members(
        _object(value, path), {"name": _string, "state": _STATE, "error": _error}, path, required=("name", "state")
    )


def _error(value: object, path: str) -> None:
    _members(_object(value, path), dict.fromkeys(("code", "source", "message"), _string), path, required=())


def _members(found: dict[str, object], checks: dict[str, Check], path: str, *, required: tuple[str, ...]) -> None:
    for key in required:
        if key not in found:
            raise SchemaError(f"{_join(path, key)}: missing")
    for key, check in checks.items():
        if key in found:
            check(found[key], _join(path, key))


def _object(value: object, path: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise SchemaError(f"{path or 'body'}: not an object")
    return value


def _string(value: object, path: str) -> None:
    if not isinstance(value, str):
        raise SchemaError(f"{path}: not a string")


def _number(value: object, path: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SchemaError(f"{path}: not a number")


def _boolean(value: object, path: str) -> None:
    if not isinstance(value, bool):
        raise SchemaError(f"{path}: not true or false")


def _device_id(value: object, path: str) -> None:
    if not isinstance(value, str) or not DEVICE_ID.fullmatch(value):
        raise SchemaError(f"{path}: not a device id")


def _one_of(*words: str) -> Check:
    def check(value: object, path: str) -> None:
        if value not in words or not isinstance(value, str):
            raise SchemaError(f"{path}: not one of {', '.join(words)}")

    return check


def _list_of(item: Check, *, minimum: int = 0) -> Check:
    def check(value: object, path: str) -> None:
        if not isinstance(value, list):
            raise SchemaError(f"{path}: not a list")
        if len(value) < minimum:
            raise SchemaError(f"{path}: empty")
        for index, entry in enumerate(value):
            item(entry, f"{path}[{index}]")

    return check


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


_CPU_KIND: Final = _one_of("amd64", "arm64", "arm")
_PERIPHERAL_KIND: Final = _one_of("gpu", "display", "camera", "microphone", "speaker")
_INTERFACE_KIND: Final = _one_of("ethernet", "wifi", "cellular", "bluetooth", "usb", "canbus", "rs232")

_STATE: Final = _one_of("pending", "installing", "installed", "failed", "removing", "removed")

_PROPERTIES: Final[dict[str, Check]] = {
    "id": _device_id,
    "vendor": _string,
    "modelNumber": _string,
    "serialNumber": _string,
    "cpu": _list_of(_cpu),
    "memory": _string,
    "storage": _string,
    "peripherals": _list_of(_peripheral),
    "interfaces": _list_of(_interface),
    "otelCollector": _boolean,
    "supportedRuntimes": _list_of(_one_of("oci"), minimum=1),
    "supportedDeploymentTypes": _list_of(_one_of("helm", "compose"), minimum=1),
}

_MANIFEST: Final[dict[str, Check]] = {
    "apiVersion": _string,
    "kind": _one_of("DeviceCapabilitiesManifest"),
    "properties": _properties,
}

_STATUS_MANIFEST: Final[dict[str, Check]] = {
    "apiVersion": _string,
    "kind": _one_of("DeploymentStatusManifest"),
    "deploymentId": _string,
    "deviceId": _device_id,
    "status": _status,
    "components": _list_of(_component),
}
