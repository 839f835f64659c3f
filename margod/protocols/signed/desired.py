"""Asking for the desired state: a signed GET, which registers and changes nothing (wire, section 1.4)."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from margod import __version__
from margod.model.wire import Auth, Request

MANIFEST: Final = "application/vnd.margo.manifest.v1+json"
"""The one value of Accept that every known server takes; one of them answers 500 to any other."""


_ANY: Final = {"Accept": "*/*", "User-Agent": f"margod/{__version__}"}
BUNDLE_LIMIT: Final = 8 << 20
FILE_LIMIT: Final = 1 << 20
"""Bytes of a bundle as it is sent, and of one deployment; more is not read."""
_ETAG: Final = re.compile(r"[!-~](?:[ -~]{0,1022}[!-~])?")


def kept_etag(value: str) -> str:
    """Return an ETag as it came, "" for one that no request could bear: more than 1 KiB, or not printable ASCII."""
    return value if _ETAG.fullmatch(value) else ""


def manifest_request(client_id: str, etag: str = "") -> Request:
    """Return the request for the desired-state manifest of a client; with `etag` (opaque): if it is another one."""
    route = f"/api/v1/clients/{quote(client_id, safe='')}/deployments"
    headers = {"Accept": MANIFEST, "User-Agent": f"margod/{__version__}"}
    if etag:
        headers["If-None-Match"] = etag
    return Request("GET", route, Auth.SIGNATURE, headers, limit=1_048_576)


def bundle_request(client_id: str, digest: str) -> Request:
    """Return the request for the archive of this digest."""
    route = f"/api/v1/clients/{quote(client_id, safe='')}/bundles/{digest}"
    return Request("GET", route, Auth.SIGNATURE, _ANY, limit=BUNDLE_LIMIT)


def deployment_request(client_id: str, deployment_id: str, digest: str) -> Request:
    """Return the request for one deployment's YAML. `deployment_id` is one raw segment of a path already."""
    route = f"/api/v1/clients/{quote(client_id, safe='')}/deployments/{deployment_id}/{digest}"
    return Request("GET", route, Auth.SIGNATURE, _ANY, limit=FILE_LIMIT)
