"""The deployment status as the 2024 drafts write it, and what of a status they have no words for.

States are `Pending`, `Installing`, `Installed`, `Failed`. There is no word for a removal, and every word that there is
would say of a deployment that goes away that it comes or stays: of such a status nothing is sent. The WFM learns that
a device took a removal over from the commit that it has; here it is only a note.
"""

from __future__ import annotations

import json
from typing import Final
from urllib.parse import quote

from margod import __version__
from margod.model.deployment import DeploymentState, DeploymentStatus, Fault
from margod.model.wire import Auth, Request

VERSION: Final = "deployment.margo/v1"
KIND: Final = "DeploymentStatus"
WORDS: Final = {
    DeploymentState.PENDING: "Pending",
    DeploymentState.INSTALLING: "Installing",
    DeploymentState.INSTALLED: "Installed",
    DeploymentState.FAILED: "Failed",
}
NOTES: Final = (
    "deployments: removing and removed have no word here; such a report is taken from the outbox and not sent",
    "deployments: components that are removing or removed are left out of a report, and so is each error's source",
)
"""What is never said of any deployment, for `margod capabilities`."""


def write_status(status: DeploymentStatus) -> tuple[bytes | None, list[str]]:
    """Return the body, always the same for the same status, and notes of what is not in it. None: nothing is sent."""
    if status.state not in WORDS:
        return None, [f"{status.deployment_id}: this generation has no word for {status.state.value}; not sent"]
    notes = [
        f"{one.name}: this generation has no word for {one.state.value}; left out"
        for one in status.components
        if one.state not in WORDS
    ]
    faults = [("the status", status.fault), *((one.name, one.fault) for one in status.components if one.state in WORDS)]
    notes += [f"{name}: error.source is left out" for name, fault in faults if fault is not None and fault.source]
    document: dict[str, object] = {
        "apiVersion": VERSION,
        "kind": KIND,
        "deploymentId": status.deployment_id,
        "status": _written(status.state, status.fault),
        "components": [
            {"name": one.name, **_written(one.state, one.fault)} for one in status.components if one.state in WORDS
        ],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(), notes


def status_request(device_id: str, deployment_id: str, body: bytes) -> Request:
    """Return the request that sends a body of `write_status`."""
    path = f"/device/{quote(device_id, safe='')}/deployment/{quote(deployment_id, safe='')}/status"
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "User-Agent": f"margod/{__version__}",
    }
    return Request("POST", path, Auth.BEARER, headers, body)


def _written(state: DeploymentState, fault: Fault | None) -> dict[str, object]:
    """Return a state with its error, which the drafts' example always has, empty where there is none."""
    said = fault or Fault()
    return {"state": WORDS[state], "error": {"code": said.code, "message": said.message}}
