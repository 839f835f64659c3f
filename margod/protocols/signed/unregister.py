"""Unregistering: the DELETE of capabilities (wire, section 1.4), of the device itself or of one behind it."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from margod import __version__
from margod.model.wire import Answer, Auth, Request

_GONE: Final = (404, 410)


def unregister_request(client_id: str, device_id: str) -> Request:
    """Return the request that removes a device, and everything under it, at the WFM."""
    path = "/".join(quote(segment, safe="") for segment in device_id.split("/"))
    route = f"/api/v1/clients/{quote(client_id, safe='')}/capabilities/{path}"
    headers = {"Accept": "application/json", "User-Agent": f"margod/{__version__}"}
    return Request("DELETE", route, Auth.SIGNATURE, headers)


def is_unregistered(answer: Answer) -> bool:
    """Return whether the WFM does not have the device any more."""
    return (200 <= answer.status < 300 and answer.status != 202) or answer.status in _GONE
