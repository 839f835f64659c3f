"""Deployment statuses at the development WFM: verified, checked against the schema, kept in the order they came."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from margod.devwfm.faults import Fault
from margod.devwfm.registry import Registry
from margod.devwfm.schema import SchemaError, check_status
from margod.devwfm.server import DevServer
from margod.devwfm.statuses import how_it_came
from tests.devwfm.running import running
from tests.devwfm.test_process import run
from tests.support.device import Device, Reply
from tests.support.devwfm import DevWfm

DATA = Path(__file__).parent.parent / "data"
EXAMPLE = json.loads((DATA / "DeploymentStatus.signed.json").read_text())
_OPENAPI = yaml.safe_load((DATA / "openapi.signed.yaml").read_text())
JUDGE = jsonschema.Draft202012Validator(
    {"$ref": "#/components/schemas/DeploymentStatusManifest", "components": _OPENAPI["components"]}
)
VALUES: list[Any] = [
    *(None, True, 0, "", "x", "installed", "gw/child", "gw/", "DeploymentStatusManifest", [], {}, [{}], [None]),
    *(
        {"state": "installed"},
        {"state": "Installed"},
        {"state": "failed", "error": {}},
        {"state": "failed", "error": 1},
    ),
    *({"state": "failed", "error": {"code": 1}}, {"state": "failed", "error": {"code": "E", "more": 1}}),
    *([{"name": "a", "state": "removed"}], [{"name": "a"}], [{"state": "removed"}], [{"name": 1, "state": "removed"}]),
    *([{"name": "a", "state": "removed", "error": {"message": "m"}}], [{"name": "a", "state": "gone"}]),
]


def body(deployment_id: str, state: str, **members: Any) -> dict[str, Any]:
    """Return a status of one deployment."""
    found = {
        "apiVersion": "deployment.margo.org/v1alpha1",
        "kind": "DeploymentStatusManifest",
        "deploymentId": deployment_id,
        "status": {"state": state},
        "components": [{"name": "all", "state": state}],
    }
    return {**found, **members}


async def report(
    device: Device, client_id: str, deployment_id: str, document: object, segment: str = "deployments"
) -> Reply:
    """Send a status."""
    path = f"/api/v1/clients/{client_id}/{segment}/{deployment_id}/status"
    return await device.send(device.sign("POST", path, json.dumps(document).encode()))


def came(server: DevServer) -> list[tuple[str, str, str]]:
    """Return what is recorded: deployment, state, how it came."""
    return [(str(one["deployment_id"]), str(one["state"]), str(one["came"])) for one in recorded(server)]


def recorded(server: DevServer) -> list[dict[str, object]]:
    """Return the record, read through a registry of its own."""
    registry = Registry(server.settings.directory / "registry.db")
    try:
        return registry.statuses.all()
    finally:
        registry.close()


def test_the_schema_is_the_published_one() -> None:
    """The specification's example passes, and every member replaced by every kind of value is judged alike."""
    check_status(EXAMPLE)
    for key in ("apiVersion", "kind", "deploymentId", "deviceId", "status", "components", "more"):
        for value in ["absent", *VALUES]:
            document = copy.deepcopy(EXAMPLE)
            document[key] = value
            if value == "absent":
                del document[key]
            try:
                check_status(document)
                accepted = True
            except SchemaError:
                accepted = False
            assert accepted == JUDGE.is_valid(document), (key, value)


@pytest.mark.parametrize(
    ("before", "state", "expected"),
    [
        ("pending", "installing", "forward"),
        ("installing", "installing", "forward"),
        ("installed", "installing", "back"),
        ("installed", "pending", "back"),
        ("removing", "installed", "back"),
        ("installed", "failed", "forward"),
        ("failed", "pending", "forward"),
        ("removed", "pending", "forward"),
        ("pending", "removed", "forward"),
    ],
)
def test_how_a_report_follows_another(before: str, state: str, expected: str) -> None:
    """A deployment's life goes forward; after failed or removed it may begin anew."""
    assert how_it_came(before, state) == expected


async def test_recorded_in_order(tmp_path: Path) -> None:
    """200 and a record of each, per deployment and client; a second time the same, and going back, are told apart."""
    async with running(tmp_path) as server:
        device = Device(server.url, server.ca_file)
        client_id = (await device.onboard()).json()["clientId"]
        for deployment, state in [("a", "pending"), ("b", "installed"), ("a", "installing"), ("a", "installing")]:
            assert (await report(device, client_id, deployment, body(deployment, state))).status == 200
        assert (await report(device, client_id, "b", body("b", "installing"))).status == 200
        assert came(server) == [
            ("a", "pending", "first"),
            ("b", "installed", "first"),
            ("a", "installing", "forward"),
            ("a", "installing", "again"),
            ("b", "installing", "back"),
        ]
        assert recorded(server)[1]["manifest"] == body("b", "installed")


async def test_refused(tmp_path: Path) -> None:
    """Whoever is not known, did not sign this, or breaks the schema is refused, and nothing is recorded."""
    async with running(tmp_path) as server:
        device, other = Device(server.url, server.ca_file), Device(server.url, server.ca_file)
        client_id = (await device.onboard()).json()["clientId"]
        assert (await report(device, "nobody", "a", body("a", "pending"))).status == 404
        assert (await report(other, client_id, "a", body("a", "pending"))).status == 401
        assert (await report(device, client_id, "a", [])).status == 400
        assert (await report(device, client_id, "a", body("a", "Pending"))).status == 422
        assert (await report(device, client_id, "a", body("b", "pending"))).status == 422
        assert (await report(device, client_id, "a", body("a", "pending"), "deployment")).status == 404
        path = f"/api/v1/clients/{client_id}/deployments/a/status"
        assert (await device.send(device.sign("GET", path))).status == 405
        assert came(server) == []


async def test_earlier_servers(tmp_path: Path) -> None:
    """The singular in the route, 201 with the body `null`, and 400 for an unknown client."""
    async with running(tmp_path, like="sandbox-2025") as server:
        device = Device(server.url, server.ca_file)
        onboarding = device.onboarding_body("pem", "public_certificate")
        answer = await device.send(device.sign("POST", "/api/v1/onboarding", onboarding))
        client_id = answer.json()["client_id"]
        assert (await report(device, client_id, "a", body("a", "pending"))).status == 404
        answer = await report(device, client_id, "a", body("a", "pending"), "deployment")
        assert (answer.status, answer.body) == (201, b"null")
        assert (await report(device, "nobody", "a", body("a", "pending"), "deployment")).status == 400


async def test_a_fault_of_one_deployment(tmp_path: Path) -> None:
    """A fault with a deployment meets the reports of that one alone, as often as was asked for."""
    async with running(tmp_path) as server:
        device = Device(server.url, server.ca_file)
        client_id = (await device.onboard()).json()["clientId"]
        fault = {"action": "answer", "route": "status", "deployment": "a", "status": 422, "times": 2}
        server.faults.add(Fault.from_json(fault))
        server.faults.add(Fault.from_json({"action": "answer", "route": "status", "status": 503}))
        assert (await report(device, client_id, "b", body("b", "pending"))).status == 503
        assert (await report(device, client_id, "b", body("b", "pending"))).status == 200
        assert [(await report(device, client_id, "a", body("a", "pending"))).status for _ in range(3)] == [
            422,
            422,
            200,
        ]


async def test_a_person_looks(tmp_path: Path) -> None:
    """`statuses` in words and as JSON; what went back is said; all of it survives SIGKILL, and `forget` clears it."""
    directory = tmp_path / "wfm"
    where = ("--directory", str(directory))
    async with DevWfm(directory) as wfm:
        assert await run("statuses", *where) == (0, "No deployment was reported yet.\n", "")
        device = Device(wfm.url, wfm.ca_file)
        client_id = (await device.onboard()).json()["clientId"]
        for state in ("pending", "installed", "installed", "pending"):
            assert (await report(device, client_id, "web", body("web", state))).status == 200
        await wfm.kill()
        await wfm.start()
        _, out, _ = await run("statuses", *where)
        assert [line.split(maxsplit=3)[3:] for line in out.splitlines()] == [
            [],
            [],
            ["sent again"],
            ["WENT BACK: an update, or out of order"],
        ]
        assert max(map(len, out.splitlines())) <= 100
        found = json.loads((await run("statuses", "--json", *where))[1])
        assert [one["came"] for one in found] == ["first", "forward", "again", "back"]
        assert found == await wfm.statuses("web")
        _, out, _ = await run("fault", "answer", "--route", "status", "--deployment", "web", "--status", "404", *where)
        assert out == "answer on status of web, before, left: 1\n"
        await wfm.forget(client_id)
        assert await wfm.statuses() == []
