"""The deployment status as `signed` writes it: read from a local agent, and sent (wire, section 1.4)."""

from __future__ import annotations

import json
from typing import Final

from margod.model.deployment import Component, DeploymentState, DeploymentStatus, Fault, overall
from margod.protocols.signed.manifest import DEPLOYMENT_ID, Unacceptable

STATUS_LIMIT: Final = 256 << 10
"""Bytes of one report."""
COMPONENT_LIMIT: Final = 256
TEXT_LIMIT: Final = 4_096
"""Characters of a name, a code or a message."""
API_VERSION: Final = "deployment.margo.org/v1alpha1"
KIND: Final = "DeploymentStatusManifest"


def read_status(deployment_id: str, body: bytes) -> DeploymentStatus:
    """Return what an agent reports of the deployment of the path's id. Raises Unacceptable, which names the field.

    `apiVersion` and `kind` may be anything or missing: the specification's own example has another one. The overall
    state follows from the components; where there are none it has to be given.
    """
    if not DEPLOYMENT_ID.fullmatch(deployment_id):
        raise Unacceptable("deploymentId: not an id that fits into a path")
    document = _object(_json(body), "the body")
    if document.get("deploymentId", deployment_id) != deployment_id:
        raise Unacceptable("deploymentId: not the one of the path")
    status = _object(document.get("status", {}), "status")
    listed = document.get("components", [])
    if not isinstance(listed, list) or len(listed) > COMPONENT_LIMIT:
        raise Unacceptable(f"components: not a list of at most {COMPONENT_LIMIT}")
    components = tuple(_component(entry, f"components[{at}]") for at, entry in enumerate(listed))
    names = [component.name for component in components]
    if len(set(names)) < len(names):
        raise Unacceptable("components: two of the same name")
    given = _state(status, "status") if "state" in status or not components else None
    state = overall([component.state for component in components]) or given
    assert state is not None, "without components the state was given"
    return DeploymentStatus(deployment_id, state, _fault(status, "status"), components)


def write_status(status: DeploymentStatus) -> bytes:
    """Return the body that is sent: UTF-8 JSON, always the same for the same status."""
    document: dict[str, object] = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "deploymentId": status.deployment_id,
        "status": _written(status.state, status.fault),
        "components": [{"name": one.name, **_written(one.state, one.fault)} for one in status.components],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _written(state: DeploymentState, fault: Fault | None) -> dict[str, object]:
    if fault is None:
        return {"state": state.value}
    parts = {"code": fault.code, "source": fault.source, "message": fault.message}
    return {"state": state.value, "error": {name: text for name, text in parts.items() if text}}


def _json(body: bytes) -> object:
    if len(body) > STATUS_LIMIT:
        raise Unacceptable(f"the body is larger than {STATUS_LIMIT} bytes")
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        raise Unacceptable("the body is not JSON") from None
    return value


def _object(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise Unacceptable(f"{where}: not a JSON object")
    return value


def _component(value: object, where: str) -> Component:
    entry = _object(value, where)
    name = _text(entry, "name", where)
    if not name:
        raise Unacceptable(f"{where}.name: missing or empty")
    return Component(name, _state(entry, where), _fault(entry, where))


def _state(entry: dict[str, object], where: str) -> DeploymentState:
    states = [state.value for state in DeploymentState]
    if (value := entry.get("state")) not in states:
        raise Unacceptable(f"{where}.state: not one of {', '.join(states)}")
    return DeploymentState(value)


def _fault(entry: dict[str, object], where: str) -> Fault | None:
    if entry.get("error") is None:
        return None
    error = _object(entry["error"], f"{where}.error")
    # A key of an old example ends in a blank: taken as well, never sent.
    message = _text(error, "message", f"{where}.error") or _text(error, "message ", f"{where}.error")
    return Fault(_text(error, "code", f"{where}.error"), _text(error, "source", f"{where}.error"), message)


def _text(entry: dict[str, object], name: str, where: str) -> str:
    value = entry.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > TEXT_LIMIT:
        raise Unacceptable(f"{where}.{name}: not a text of at most {TEXT_LIMIT} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unacceptable(f"{where}.{name}: half a surrogate pair is no character") from None
    return value
