"""The bodies of the `token` generation: the drafts' examples, and each field of them missing or of another type."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from margod.devwfm.schema import SchemaError
from margod.devwfm.token_schema import check_device, check_report

DATA = Path(__file__).parent.parent / "data"
DEVICE: dict[str, Any] = json.loads((DATA / "DeviceCapabilities.token.json").read_text())
NO_ERROR = {"code": "", "message": ""}
REPORT: dict[str, Any] = {
    "apiVersion": "deployment.margo/v1",
    "kind": "DeploymentStatus",
    "deploymentId": "d",
    "status": {"state": "Failed", "error": NO_ERROR},
    "components": [{"name": "a", "state": "Failed", "error": {"code": "E", "message": "m"}}],
}


def changed(document: dict[str, Any], path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """Return it with another value at `path`; ... takes it away."""
    made: Any = copy.deepcopy(document)
    at = made
    for step in path[:-1]:
        at = at[step]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return dict(made)


def test_the_examples_pass() -> None:
    """The device as it is; the status with the states that are sent instead of the example's slips."""
    check_device(DEVICE)
    check_report(REPORT)
    example = json.loads((DATA / "DeploymentStatus.token.json").read_text())
    with pytest.raises(SchemaError, match=r"status\.state: not one of"):
        check_report(example)
    example["status"]["state"] = "Pending"
    with pytest.raises(SchemaError, match=r"components\[0\]\.state"):
        check_report(example)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("apiVersion",), "device.margo.org/v1alpha1", "apiVersion: not one of"),
        (("kind",), "DeviceCapabilitiesManifest", "kind: not one of"),
        (("properties",), ..., "properties: missing"),
        *(
            (("properties", name), ..., f"properties.{name}: missing")
            for name in ("id", "vendor", "roles", "resources")
        ),
        (("properties", "roles"), "cluster", "properties.roles: not a list"),
        (("properties", "resources", "memory"), 64, "properties.resources.memory: not a string"),
        (("properties", "resources", "cpus"), {}, "properties.resources.cpus: not a list"),
        (("properties", "resources", "cpus", 0, "cores"), "24", "properties.resources.cpus[0].cores: not a number"),
        (("properties", "peripherals", 0, "type"), ..., "properties.peripherals[0].type: missing"),
        (("properties", "interfaces", 1, "properties"), "x", "properties.interfaces[1].properties: not an object"),
    ],
)
def test_a_device_that_is_not(path: tuple[str | int, ...], value: object, says: str) -> None:
    """The field is named."""
    refused(check_device, changed(DEVICE, path, value), says)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        *(((name,), ..., f"{name}: missing") for name in REPORT),
        (("kind",), "DeploymentStatusManifest", "kind: not one of"),
        (("deviceId",), "d", "deviceId: unknown member"),
        (("status", "state"), "failed", "status.state: not one of"),
        (("status", "state"), "Removed", "status.state: not one of"),
        (("status", "error", "source"), "helm", "status.error.source: unknown member"),
        (("components", 0, "name"), 1, "components[0].name: not a string"),
        (("components", 0, "error", "code"), None, "components[0].error.code: not a string"),
        (("components", 0, "note"), "", "components[0].note: unknown member"),
    ],
)
def test_a_report_that_is_not(path: tuple[str | int, ...], value: object, says: str) -> None:
    """The field is named; nothing that the example does not have is taken."""
    refused(check_report, changed(REPORT, path, value), says)


def refused(check: Callable[[object], None], document: object, says: str) -> None:
    """Look that it is, for this."""
    with pytest.raises(SchemaError) as caught:
        check(document)
    assert str(caught.value).startswith(says)
