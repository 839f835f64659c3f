"""The deviations of real servers: `--like sandbox-2025` and `--like sandbox-2026`."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from margod.devwfm.registry import Registry
from tests.devwfm.running import running
from tests.support.device import Device, Prepared, manifest

ONBOARDING = "/api/v1/onboarding"


async def test_2025_wants_the_old_names(tmp_path: Path) -> None:
    """`public_certificate` with base64 of PEM; `client_id` and `endpoint_list`; errors as text."""
    async with running(tmp_path, like="sandbox-2025") as server:
        device = Device(server.url, server.ca_file)
        for body in (device.onboarding_body(), device.onboarding_body("der", "public_certificate")):
            answer = await device.send(device.sign("POST", ONBOARDING, body))
            assert answer.status == 400
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            assert list(json.loads(answer.body)) == ["Error"]
        body = device.onboarding_body("pem", "public_certificate")
        answer = await device.send(device.sign("POST", ONBOARDING, body))
        assert answer.status == 201
        assert answer.json().keys() == {"client_id", "endpoint_list"}
        assert re.fullmatch(r"client-[0-9a-f]+-[0-9]+", answer.json()["client_id"])
        assert (await device.send(device.sign("POST", ONBOARDING, body))).status == 409


async def test_2025_capabilities_without_device_id(tmp_path: Path) -> None:
    """The route with a device id is not there; without it properties.id is the client id; nothing is unregistered."""
    async with running(tmp_path, like="sandbox-2025") as server:
        device = Device(server.url, server.ca_file)
        body = device.onboarding_body("pem", "public_certificate")
        client_id = (await device.send(device.sign("POST", ONBOARDING, body))).json()["client_id"]
        assert (await device.report(client_id)).status == 404
        path = f"/api/v1/clients/{client_id}/capabilities"
        assert (await device.send(device.sign("POST", path, manifest("other")))).status == 400
        assert (await device.send(device.sign("POST", path, manifest(client_id)))).status == 201
        assert (await device.send(device.sign("PUT", path, manifest(client_id)))).status == 201
        assert (await device.send(device.sign("DELETE", path))).status == 405


async def test_2025_keeps_approval(tmp_path: Path) -> None:
    """A person still decides there."""
    async with running(tmp_path, like="sandbox-2025", approval="manual", pending=403) as server:
        device = Device(server.url, server.ca_file)
        body = device.onboarding_body("pem", "public_certificate")
        assert (await device.send(device.sign("POST", ONBOARDING, body))).status == 403


async def test_2026_takes_anything(tmp_path: Path) -> None:
    """Onboarding is unsigned, unapproved, 201 for any text, and 409 for the same text, not the same certificate."""
    async with running(tmp_path, like="sandbox-2026", approval="deny") as server:
        device = Device(server.url, server.ca_file)
        for text in ("garbage", base64.b64encode(device.der).decode(), base64.b64encode(device.pem).decode()):
            request = Prepared("POST", server.url + ONBOARDING, {}, json.dumps({"certificate": text}).encode())
            answer = await device.send(request)
            assert answer.status == 201
            assert answer.json().keys() == {"clientId"}
            again = await device.send(request)
            assert (again.status, again.headers["content-type"]) == (409, "text/plain; charset=utf-8")
        registry = Registry(tmp_path / "registry.db")
        assert len(registry.clients()) == 3
        registry.close()


async def test_2026_checks_signatures_but_not_digest_or_age(tmp_path: Path) -> None:
    """A bad signature and an unknown client are 400; an old `created` and a body that was changed pass."""
    async with running(tmp_path, like="sandbox-2026") as server:
        device, other = Device(server.url, server.ca_file), Device(server.url, server.ca_file)
        client_id = (await device.onboard()).json()["clientId"]
        assert (await device.report(client_id)).status == 201
        assert (await device.report("client-unknown-1")).status == 400
        assert (await other.report(client_id)).status == 400
        path = f"/api/v1/clients/{client_id}/capabilities/{client_id}"
        old = device.sign("PUT", path, manifest(client_id), created=datetime.now(UTC) - timedelta(days=30))
        assert (await device.send(old)).status == 201
        changed = device.sign("PUT", path, manifest(client_id))
        changed.body = manifest(client_id, memory="1 Gi")
        assert (await device.send(changed)).status == 201


async def test_certificate_download_of_the_sandbox(tmp_path: Path) -> None:
    """The field holds base64 of PEM there."""
    async with running(tmp_path, like="sandbox-2026") as server:
        answer = await Device(server.url, server.ca_file).send(Prepared("GET", f"{server.url}{ONBOARDING}/certificate"))
        assert base64.b64decode(answer.json()["certificate"]) == server.ca_file.read_bytes()
