"""What other programs on the device may read of the WFM, and their requests in the device's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from margod import __version__
from margod.model.wire import Auth, Request
from margod.protocols.signed.desired import MANIFEST

_CLIENT: Final = "/api/v1/clients/{clientId}"
READABLE: Final = (
    f"{_CLIENT}/deployments",
    f"{_CLIENT}/deployments/{{deploymentId}}/{{digest}}",
    f"{_CLIENT}/bundles/{{digest}}",
)
"""The routes of the desired state (wire, section 1.4)."""


def forwarded(method: str, path: str, headers: Mapping[str, str], body: bytes, limit: int) -> Request:
    """Return the request of another program on the device; who asks for the manifest need not know its media type."""
    given = {name.lower() for name in headers}
    accept = {} if "accept" in given or not path.endswith("/deployments") else {"Accept": MANIFEST}
    whole = {**headers, **accept, "User-Agent": f"margod/{__version__}"}
    return Request(method, path, Auth.SIGNATURE, whole, body, limit)
