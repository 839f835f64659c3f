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
    manifest = check_object(document, "")
    for key, value in manifest.items():
        if _EXTENSION.fullmatch(key):
            check_object(value, key)
        elif key not in _MANIFEST:
            raise SchemaError(f"{key}: unknown member")
    check_members(manifest, _MANIFEST, "", required=("apiVersion", "kind", "properties"))


def check_status(document: object) -> None:
    """Raise `SchemaError` for the first field of a deployment status (parsed JSON) that breaks the schema."""
    required = ("apiVersion", "kind", "deploymentId", "status", "components")
    check_members(check_object(document, ""), _STATUS_MANIFEST, "", required=required)


def _properties(value: object, path: str) -> None:
    check_members(
        check_object(value, path), _PROPERTIES, path, required=("id", "vendor", "modelNumber", "serialNumber")
    )


def _cpu(value: object, path: str) -> None:
    check_members(
        check_object(value, path), {"cores": check_number, "architecture": _CPU_KIND}, path, required=("cores",)
    )


def _peripheral(value: object, path: str) -> None:
    members = {"type": _PERIPHERAL_KIND, "manufacturer": check_string, "model": check_string}
    check_members(check_object(value, path), members, path, required=("type",))


def _interface(value: object, path: str) -> None:
    check_members(check_object(value, path), {"type": _INTERFACE_KIND}, path, required=("type",))


def _status(value: object, path: str) -> None:
    check_members(check_object(value, path), {"state": _STATE, "error": _error}, path, required=("state",))


def _component(value: object, path: str) -> None:
    check_members(
        check_object(value, path),
        {"name": check_string, "state": _STATE, "error": _error},
        path,
        required=("name", "state"),
    )


def _error(value: object, path: str) -> None:
    check_members(
        check_object(value, path), dict.fromkeys(("code", "source", "message"), check_string), path, required=()
    )


def check_members(found: dict[str, object], checks: dict[str, Check], path: str, *, required: tuple[str, ...]) -> None:
    for key in required:
        if key not in found:
            raise SchemaError(f"{_join(path, key)}: missing")
    for key, check in checks.items():
        if key in found:
            check(found[key], _join(path, key))


def check_object(value: object, path: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise SchemaError(f"{path or 'body'}: not an object")
    return value


def check_string(value: object, path: str) -> None:
    if not isinstance(value, str):
        raise SchemaError(f"{path}: not a string")


def check_number(value: object, path: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SchemaError(f"{path}: not a number")


def _boolean(value: object, path: str) -> None:
    if not isinstance(value, bool):
        raise SchemaError(f"{path}: not true or false")


def _device_id(value: object, path: str) -> None:
    if not isinstance(value, str) or not DEVICE_ID.fullmatch(value):
        raise SchemaError(f"{path}: not a device id")


def check_word(*words: str) -> Check:
    def check(value: object, path: str) -> None:
        if value not in words or not isinstance(value, str):
            raise SchemaError(f"{path}: not one of {', '.join(words)}")

    return check


def check_list(item: Check, *, minimum: int = 0) -> Check:
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


_CPU_KIND: Final = check_word("amd64", "arm64", "arm")
_PERIPHERAL_KIND: Final = check_word("gpu", "display", "camera", "microphone", "speaker")
_INTERFACE_KIND: Final = check_word("ethernet", "wifi", "cellular", "bluetooth", "usb", "canbus", "rs232")

_STATE: Final = check_word("pending", "installing", "installed", "failed", "removing", "removed")

_PROPERTIES: Final[dict[str, Check]] = {
    "id": _device_id,
    "vendor": check_string,
    "modelNumber": check_string,
    "serialNumber": check_string,
    "cpu": check_list(_cpu),
    "memory": check_string,
    "storage": check_string,
    "peripherals": check_list(_peripheral),
    "interfaces": check_list(_interface),
    "otelCollector": _boolean,
    "supportedRuntimes": check_list(check_word("oci"), minimum=1),
    "supportedDeploymentTypes": check_list(check_word("helm", "compose"), minimum=1),
}

_MANIFEST: Final[dict[str, Check]] = {
    "apiVersion": check_string,
    "kind": check_word("DeviceCapabilitiesManifest"),
    "properties": _properties,
}

_STATUS_MANIFEST: Final[dict[str, Check]] = {
    "apiVersion": check_string,
    "kind": check_word("DeploymentStatusManifest"),
    "deploymentId": check_string,
    "deviceId": _device_id,
    "status": _status,
    "components": check_list(_component),
}
