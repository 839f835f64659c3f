"""Onboarding and capabilities as the specification has them, over real TLS, by a foreign signer."""

from __future__ import annotations

import base64
import json
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509

from margod.devwfm.registry import Registry
from margod.devwfm.server import DevServer
from tests.devwfm.running import running
from tests.support.device import ALGORITHMS, Device, Prepared, manifest

ONBOARDING = "/api/v1/onboarding"


def device_of(server: DevServer, algorithm: str = "ecdsa-p256-sha256", **certificate: Any) -> Device:
    """Return a new device that knows this WFM."""
    return Device(server.url, server.ca_file, algorithm, **certificate)


def registry_of(server: DevServer) -> Registry:
    """Return a second look at the server's database, as the control socket would have."""
    return Registry(server.settings.directory / "registry.db")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_onboards_and_reports(tmp_path: Path, algorithm: str) -> None:
    """With every algorithm: 201 with a client id, 409 the second time, 201 for POST and PUT, 204, 404."""
    async with running(tmp_path, prefix="/v1alpha2/margo") as server:
        device = device_of(server, algorithm)
        answer = await device.onboard()
        assert (answer.status, answer.headers["content-type"]) == (201, "application/json")
        client_id = answer.json()["clientId"]
        assert (await device.onboard()).status == 409
        assert (await device.report(client_id)).status == 201
        assert (await device.report(client_id, method="PUT")).status == 201
        path = f"/api/v1/clients/{client_id}/capabilities/{client_id}"
        assert (await device.send(device.sign("DELETE", path))).status == 204
        assert (await device.send(device.sign("DELETE", path))).status == 404


async def test_pem_in_base64_is_the_same_certificate(tmp_path: Path) -> None:
    """A device that changes the encoding is known again."""
    async with running(tmp_path) as server:
        device = device_of(server)
        assert (await device.send(device.sign("POST", ONBOARDING, device.onboarding_body("pem")))).status == 201
        assert (await device.onboard()).status == 409


async def test_certificate_download(tmp_path: Path) -> None:
    """The root CA is given unsigned, as base64 of DER, and is the file that devices are given."""
    async with running(tmp_path) as server:
        device = device_of(server)
        answer = await device.send(Prepared("GET", f"{server.url}{ONBOARDING}/certificate"))
        assert answer.status == 200
        root = x509.load_der_x509_certificate(base64.b64decode(answer.json()["certificate"]))
        assert root == x509.load_pem_x509_certificate(server.ca_file.read_bytes())


@pytest.mark.parametrize("pending", [202, 403])
async def test_approval_by_a_person(tmp_path: Path, pending: int) -> None:
    """Unknown devices wait until approved, are refused when rejected, and are unknown again when forgotten."""
    async with running(tmp_path, approval="manual", pending=pending, retry_after=7) as server:
        device, registry = device_of(server), registry_of(server)
        for _ in range(2):
            answer = await device.onboard()
            assert answer.status == pending
            assert answer.headers.get("retry-after") == ("7" if pending == 202 else None)
        registry.reject(registry.find("1"))
        assert (await device.onboard()).status == 403
        registry.approve(registry.find(registry.find("1").fingerprint[:8]))
        answer = await device.onboard()
        assert answer.status == 201
        client_id = answer.json()["clientId"]
        assert registry.find(client_id).state == "onboarded"
        registry.reject(registry.find(client_id))
        assert (await device.report(client_id)).status == 403
        registry.approve(registry.find("1"))
        assert (await device.report(client_id)).status == 201
        assert (await device.onboard()).status == 409
        registry.forget(registry.find("1"))
        assert (await device.report(client_id)).status == 404
        assert (await device.onboard()).status == pending
        registry.close()


async def test_denied_unless_uploaded(tmp_path: Path) -> None:
    """`--approval deny` refuses everybody whose certificate was not uploaded before."""
    async with running(tmp_path, approval="deny") as server:
        device, registry = device_of(server), registry_of(server)
        assert (await device.onboard()).status == 403
        registry.approve(registry.find("1"))
        assert (await device.onboard()).status == 201
        registry.close()


REFUSED: dict[str, tuple[dict[str, Any], int]] = {
    "expired": ({"begin": -9, "end": -1}, 422),
    "not yet valid": ({"begin": 1, "end": 2}, 422),
    "no name": ({"subject": False}, 422),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_certificate_rules(tmp_path: Path, what: str) -> None:
    """A certificate that breaks RFC 5280 is 422 and is not remembered."""
    options, status = REFUSED[what]
    async with running(tmp_path) as server:
        answer = await device_of(server, **options).onboard()
        assert answer.status == status
        assert "certificate" in answer.json()["error"]
        registry = registry_of(server)
        assert registry.clients() == []
        registry.close()


BODIES: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"{",
    "not UTF-8": b"\xff",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "no kind": b'{"apiVersion": "v1", "certificate": "AAAA"}',
    "no apiVersion": b'{"kind": "OnboardingRequest", "certificate": "AAAA"}',
    "no certificate": b'{"apiVersion": "v1", "kind": "OnboardingRequest"}',
    "a number": b'{"apiVersion": "v1", "kind": "OnboardingRequest", "certificate": 1}',
    "not a certificate": b'{"apiVersion": "v1", "kind": "OnboardingRequest", "certificate": "AAAA"}',
    "surrogates": b'{"apiVersion": "v1", "kind": "OnboardingRequest", "certificate": "\\ud800"}',
}


async def test_bad_bodies(tmp_path: Path) -> None:
    """What is no onboarding request is 400 with a JSON error, on one server that goes on."""
    async with running(tmp_path) as server:
        device = device_of(server)
        for what, body in BODIES.items():
            answer = await device.send(device.sign("POST", ONBOARDING, body))
            assert answer.status == 400, what
            assert answer.json()["error"], what
        assert (await device.onboard()).status == 201


async def test_bad_signatures(tmp_path: Path) -> None:
    """Unsigned, signed by another key, or for another target: 401; without or with a wrong digest: 400."""
    async with running(tmp_path) as server:
        device, other = device_of(server), device_of(server)
        body = device.onboarding_body()
        digest = device.sign("POST", ONBOARDING, body).headers["Content-Digest"]
        unsigned = Prepared("POST", server.url + ONBOARDING, {"Content-Digest": digest}, body)
        assert (await device.send(unsigned)).status == 401
        assert (await device.send(other.sign("POST", ONBOARDING, body))).status == 401
        elsewhere = device.sign("POST", "/api/v1/onboarding/", body)
        elsewhere.url = server.url + ONBOARDING
        assert (await device.send(elsewhere)).status == 401
        changed = device.sign("POST", ONBOARDING, body)
        changed.body += b" "
        assert (await device.send(changed)).status == 400
        bare = device.sign("POST", ONBOARDING, body)
        del bare.headers["Content-Digest"]
        assert (await device.send(bare)).status == 400
        assert (await device.onboard()).status == 201


async def test_capabilities_are_checked(tmp_path: Path) -> None:
    """Schema and id are 422 naming the field, a bad path 400, another's key 401, an unknown client 404."""
    async with running(tmp_path) as server:
        device, other = device_of(server), device_of(server)
        client_id = (await device.onboard()).json()["clientId"]
        base = f"/api/v1/clients/{client_id}/capabilities"
        answer = await device.report(client_id, cpu=[{"cores": 4, "architecture": "mips"}])
        assert (answer.status, answer.json()["error"].split(":")[0]) == (422, "properties.cpu[0].architecture")
        answer = await device.send(device.sign("POST", f"{base}/gw", manifest("other")))
        assert (answer.status, answer.json()["error"].split(":")[0]) == (422, "properties.id")
        for bad in ("", "a//b", "a/", "%61", "a%2Fb", "a:b"):
            answer = await device.send(device.sign("POST", f"{base}/{bad}", manifest(bad)))
            assert answer.status == 400, bad
        assert (await device.send(device.sign("POST", base, manifest(client_id)))).status == 404
        assert (await device.send(device.sign("POST", f"{base}/gw", b"[]"))).status == 400
        assert (await device.send(other.sign("POST", f"{base}/gw", manifest("gw")))).status == 401
        assert (await device.report("unknown")).status == 404
        assert (await device.send(device.sign("GET", f"{base}/gw"))).status == 405


async def test_gateway_children(tmp_path: Path) -> None:
    """Raw slashes are the hierarchy: a child needs its gateway, and goes with it."""
    async with running(tmp_path) as server:
        device, registry = device_of(server), registry_of(server)
        client_id = (await device.onboard()).json()["clientId"]
        assert (await device.report(client_id, "gw/child")).status == 404
        assert (await device.report(client_id, "gw")).status == 201
        assert (await device.report(client_id, "gw-2")).status == 201
        assert (await device.report(client_id, "gw/child")).status == 201
        assert [d["device_id"] for d in registry.devices()] == ["gw", "gw-2", "gw/child"]
        gone = await device.send(device.sign("DELETE", f"/api/v1/clients/{client_id}/capabilities/gw"))
        assert gone.status == 204
        assert [d["device_id"] for d in registry.devices()] == ["gw-2"]
        registry.close()


async def test_routes(tmp_path: Path) -> None:
    """Only the exact routes under the prefix are there; wrong methods are 405 with Allow."""
    async with running(tmp_path, prefix="/p") as server:
        device = device_of(server)
        root = server.url.removesuffix("/p")
        for path in ("/api/v1/onboarding", "/p/api/v1/onboarding/", "/p//api/v1/onboarding", "/p/%61pi/v1/onboarding",
                     "/", "/px/api/v1/onboarding", "/p/api/v1/clients//capabilities/x"):  # fmt: skip
            assert (await device.send(Prepared("POST", root + path))).status == 404, path
        answer = await device.send(Prepared("PUT", server.url + ONBOARDING))
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_everything_is_recorded(tmp_path: Path) -> None:
    """Each request is on record with what was decided, whatever it was."""
    async with running(tmp_path) as server:
        device, registry = device_of(server), registry_of(server)
        client_id = (await device.onboard()).json()["clientId"]
        await device.report(client_id)
        await device.send(Prepared("GET", server.url + "/%ff?x"))
        found = registry.requests()
        assert [(r["route"], r["status"]) for r in found] == [
            ("onboarding", 201),
            ("capabilities", 201),
            ("other", 404),
        ]
        assert found[0]["body"] == device.onboarding_body()
        assert dict(json.loads(str(found[0]["fields"])))["content-type"] == "application/json"
        assert found[1]["client_id"] == client_id
        registry.close()


async def test_counts(tmp_path: Path) -> None:
    """Connections, handshakes and requests by route are counted at the server."""
    async with running(tmp_path) as server:
        device = device_of(server)
        client_id = (await device.onboard()).json()["clientId"]
        await device.report(client_id)
        counts = server.stats.public()
        assert (counts["connections"], counts["handshakes"], counts["handshakes_failed"]) == (2, 2, 0)
        assert (counts["requests_total"], counts["requests"]) == (2, {"onboarding": 1, "capabilities": 1})
        server.stats.reset()
        assert server.stats.public()["requests_total"] == 0


async def test_one_connection_for_many_requests(tmp_path: Path) -> None:
    """A kept connection serves request after request: one TCP connection, one handshake."""
    async with running(tmp_path) as server:
        context = ssl.create_default_context(cafile=str(server.ca_file))
        connector = aiohttp.TCPConnector(ssl=context, limit=1)
        async with aiohttp.ClientSession(connector=connector) as session:
            for _ in range(3):
                async with session.get(f"{server.url}{ONBOARDING}/certificate") as answer:
                    assert answer.status == 200
                    await answer.read()
        counts = server.stats.public()
        assert (counts["connections"], counts["handshakes"], counts["requests_total"]) == (1, 1, 3)


async def test_listens_on_ipv6(tmp_path: Path) -> None:
    """An IPv6 address is listened on and written in brackets."""
    async with running(tmp_path, listen=("::1", 0)) as server:
        assert server.url.startswith("https://[::1]:")
        assert (await device_of(server).onboard()).status == 201
