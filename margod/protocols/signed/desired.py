"""Asking for the desired state: a signed GET, which registers and changes nothing (wire, section 1.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from margod import __version__
from margod.model.wire import Auth, Request

MANIFEST: Final = "application/vnd.margo.manifest.v1+json"
"""The one value of Accept that every known server takes; one of them answers 500 to any other."""


_CLIENT: Final = "/api/v1/clients/{clientId}"
READABLE: Final = (
    f"{_CLIENT}/deployments",
    f"{_CLIENT}/deployments/{{deploymentId}}/{{digest}}",
    f"{_CLIENT}/bundles/{{digest}}",
)
"""The routes of the desired state."""


def manifest_request(client_id: str) -> Request:
    """Return the request for the desired-state manifest of a client."""
    route = f"/api/v1/clients/{quote(client_id, safe='')}/deployments"
    headers = {"Accept": MANIFEST, "User-Agent": f"margod/{__version__}"}
    return Request("GET", route, Auth.SIGNATURE, headers, limit=1_048_576)


def forwarded(method: str, path: str, headers: Mapping[str, str], body: bytes, limit: int) -> Request:
    """Return the request of another program on the device; who asks for the manifest need not know its media type."""
    given = {name.lower() for name in headers}
    accept = {} if "accept" in given or not path.endswith("/deployments") else {"Accept": MANIFEST}
    return Request(
        method, path, Auth.SIGNATURE, {**headers, **accept, "User-Agent": f"margod/{__version__}"}, body, limit
    )
