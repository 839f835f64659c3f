"""Bodies of the `token` generation, checked by hand: each field that the drafts' examples have is of their type.

No schema of them was ever published. A device's capabilities may say more than the examples do, as a person may write
them; a deployment status has what the example has and nothing else.
"""

from __future__ import annotations

from typing import Final

from margod.devwfm.schema import (
    Check,
    SchemaError,
    check_list,
    check_members,
    check_number,
    check_object,
    check_string,
    check_word,
)

_STATE: Final = check_word("Pending", "Installing", "Installed", "Failed")


def check_device(document: object) -> None:
    """Raise `SchemaError` for the first field of a DeviceCapability (parsed JSON) that is not as in the example."""
    check_members(check_object(document, ""), _DEVICE, "", required=tuple(_DEVICE))


def check_report(document: object) -> None:
    """Raise `SchemaError` for the first field of a DeploymentStatus (parsed JSON) that is not as in the example."""
    _exactly(document, "", _REPORT, tuple(_REPORT))


def _exactly(value: object, path: str, checks: dict[str, Check], required: tuple[str, ...]) -> None:
    found = check_object(value, path)
    for key in found.keys() - checks.keys():
        raise SchemaError(f"{path}.{key}: unknown member".removeprefix("."))
    check_members(found, checks, path, required=required)


def _properties(value: object, path: str) -> None:
    required = ("id", "vendor", "modelNumber", "serialNumber", "roles", "resources")
    check_members(check_object(value, path), _PROPERTIES, path, required=required)


def _resources(value: object, path: str) -> None:
    checks: dict[str, Check] = {"memory": check_string, "storage": check_string, "cpus": check_list(_cpu)}
    check_members(check_object(value, path), checks, path, required=())


def _cpu(value: object, path: str) -> None:
    checks: dict[str, Check] = {"architecture": check_string, "cores": check_number, "frequency": check_string}
    check_members(check_object(value, path), checks, path, required=("cores",))


def _thing(value: object, path: str) -> None:
    """A peripheral or an interface."""
    checks: dict[str, Check] = {"name": check_string, "type": check_string, "modelNumber": check_string}
    check_members(check_object(value, path), {**checks, "properties": _free}, path, required=("name", "type"))


def _free(value: object, path: str) -> None:
    check_object(value, path)


def _state(value: object, path: str) -> None:
    _exactly(value, path, {"state": _STATE, "error": _error}, ("state",))


def _component(value: object, path: str) -> None:
    _exactly(value, path, {"name": check_string, "state": _STATE, "error": _error}, ("name", "state"))


def _error(value: object, path: str) -> None:
    _exactly(value, path, {"code": check_string, "message": check_string}, ())


_PROPERTIES: Final[dict[str, Check]] = {
    "id": check_string,
    "vendor": check_string,
    "modelNumber": check_string,
    "serialNumber": check_string,
    "roles": check_list(check_string),
    "resources": _resources,
    "peripherals": check_list(_thing),
    "interfaces": check_list(_thing),
}
_DEVICE: Final[dict[str, Check]] = {
    "apiVersion": check_word("device.margo/v1"),
    "kind": check_word("DeviceCapability"),
    "properties": _properties,
}
_REPORT: Final[dict[str, Check]] = {
    "apiVersion": check_word("deployment.margo/v1"),
    "kind": check_word("DeploymentStatus"),
    "deploymentId": check_string,
    "status": _state,
    "components": check_list(_component),
}
