"""Asking for the desired state: a signed GET, which registers and changes nothing (wire, section 1.4)."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from margod import __version__
from margod.model.wire import Auth, Request

MANIFEST: Final = "application/vnd.margo.manifest.v1+json"
"""The one value of Accept that every known server takes; one of them answers 500 to any other."""


def manifest_request(client_id: str) -> Request:
    """Return the request for the desired-state manifest of a client."""
    route = f"/api/v1/clients/{quote(client_id, safe='')}/deployments"
    headers = {"Accept": MANIFEST, "User-Agent": f"margod/{__version__}"}
    return Request("GET", route, Auth.SIGNATURE, headers, limit=1_048_576)
