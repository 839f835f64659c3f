"""The desired state that the development WFM gives: always an empty manifest, to whoever signs as its client."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.devwfm.running import running
from tests.support.device import Device

MANIFEST = "application/vnd.margo.manifest.v1+json"


@pytest.mark.parametrize("like", ["spec", "sandbox-2026"])
async def test_an_empty_manifest_for_who_signs(like: str, tmp_path: Path) -> None:
    """200 with media type and ETag; another's signature and an unknown client are refused; POST is not taken."""
    async with running(tmp_path, like=like) as server:
        device, other = Device(server.url, server.ca_file), Device(server.url, server.ca_file)
        client_id = (await device.onboard()).json()["clientId"]
        path = f"/api/v1/clients/{client_id}/deployments"
        request = device.sign("GET", path)
        request.headers["Accept"] = MANIFEST
        answer = await device.send(request)
        assert answer.status == 200
        assert answer.headers["content-type"].split(";")[0] == MANIFEST
        assert answer.headers["etag"].startswith('"')
        assert answer.json() == {"manifestVersion": 1, "bundle": None, "deployments": []}
        stranger = other.sign("GET", path)
        stranger.headers["Accept"] = MANIFEST
        assert (await other.send(stranger)).status == (400 if like == "sandbox-2026" else 401)
        unknown = device.sign("GET", "/api/v1/clients/nobody/deployments")
        assert (await device.send(unknown)).status == (400 if like == "sandbox-2026" else 404)
        assert (await device.send(device.sign("POST", path, b"{}"))).status == 405


async def test_2026_wants_exactly_that_accept(tmp_path: Path) -> None:
    """One real server answers 500 to any other Accept, signed or not as it should be."""
    async with running(tmp_path, like="sandbox-2026") as server:
        device = Device(server.url, server.ca_file)
        client_id = (await device.onboard()).json()["clientId"]
        request = device.sign("GET", f"/api/v1/clients/{client_id}/deployments")
        request.headers["Accept"] = "application/json"
        assert (await device.send(request)).status == 500
