"""The real answers of a real server against openapi.yaml."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from margod.local import LocalServer
from margod.local.events import EventStreams
from margod.local.routes import routes
from margod.local.routing import BODY_LIMIT, Access
from margod.model.door import BODY_LIMIT as DOOR_LIMIT
from margod.model.errors import MargodError
from margod.model.reasons import (
    DESIRED_STATE_UNKNOWN,
    NO_IDENTITY,
    NOT_OFFERED,
    NOT_ROTATED,
    NOT_UNREGISTERED,
    STATE_NOT_WRITABLE,
)
from margod.model.state import Connection, State
from tests.support.local_api import ROTATION, TIMEOUT, SteeredController, connected, exchange, get, head_and_json

pytestmark = pytest.mark.usefixtures("server")

FILE = Path(__file__).parents[2] / "margod" / "local" / "openapi.yaml"
SPEC: dict[str, Any] = yaml.safe_load(FILE.read_text())


def check(schema: dict[str, Any], document: Any) -> None:
    """Validate with the file's own components in reach of $ref."""
    jsonschema.Draft202012Validator({**schema, "components": SPEC["components"]}).validate(document)


def answer_schema(path: str, method: str, status: int) -> dict[str, Any]:
    content = SPEC["paths"][path][method]["responses"][str(status)]["content"]
    return dict(content["application/json"]["schema"])


async def ask(socket: Path, path: str, method: str, status: int) -> Any:
    got, headers, document = head_and_json(await exchange(socket, get(path, method.upper())))
    path = path.partition("?")[0]
    assert got == status
    assert headers["content-type"] == "application/json; charset=utf-8"
    check(answer_schema(path, method, status), document)
    return document


async def test_routes_are_those_of_the_file(controller: SteeredController) -> None:
    """Pins that code and openapi.yaml name the same routes, socket by socket."""
    table = routes(controller, EventStreams(controller, Access.STATUS))
    for name, access in (("status", Access.STATUS), ("agent", Access.AGENT), ("admin", Access.ADMIN)):
        served = {(route.path.replace("*}", "}"), route.method) for route in table if access in route.access}
        described = {
            (path, method.upper())
            for path, methods in SPEC["paths"].items()
            for method, operation in methods.items()
            if method != "parameters" and name in operation["x-sockets"]
        }
        assert served == described


async def test_the_introduction_is_true(controller: SteeredController) -> None:
    """It names every socket, and every bound of a body with the routes that have it."""
    said = " ".join(SPEC["info"]["description"].split())
    for socket in ("status.sock", "agent/agent.sock", "admin/admin.sock"):
        assert f"/run/margod/{socket}" in said
    for route in routes(controller, EventStreams(controller, Access.STATUS)):
        if route.body != BODY_LIMIT:
            limit = DOOR_LIMIT if route.body is None else route.body
            assert route.path.replace("*}", "}") in said
            assert f"at most {limit} bytes" in said
    assert f"at most {BODY_LIMIT} bytes" in said


def test_the_file_knows_every_state_and_connection() -> None:
    """Pins that openapi.yaml lists exactly the states and connections of the model."""
    schemas = SPEC["components"]["schemas"]
    assert set(schemas["State"]["enum"]) == {state.value for state in State}
    assert set(schemas["Status"]["properties"]["connection"]["enum"]) == {c.value for c in Connection}


@pytest.mark.parametrize("socket", ["status.sock", "agent/agent.sock", "admin/admin.sock"])
async def test_reading(directory: Path, controller: SteeredController, socket: str) -> None:
    """Pins that every document that is read keeps to its schema, on every socket."""
    path = directory / socket
    assert await ask(path, "/v1/status", "get", 200) == controller.document
    assert (await ask(path, "/v1/health", "get", 200))["healthy"] is True
    assert "certificate" in await ask(path, "/v1/identity", "get", 200)
    controller.is_healthy, controller.certificate = False, None
    assert (await ask(path, "/v1/health", "get", 503))["healthy"] is False
    assert (await ask(path, "/v1/identity", "get", 404))["error"]["code"] == "no-identity"


async def test_acting(directory: Path, controller: SteeredController) -> None:
    """Pins the answers of the admin socket's actions, done and not done."""
    path = directory / "admin/admin.sock"
    await ask(path, "/v1/retry", "post", 202)
    assert controller.retries == 1
    await ask(path, "/v1/reload", "post", 200)
    controller.failure = MargodError(STATE_NOT_WRITABLE)
    assert (await ask(path, "/v1/retry", "post", 409))["error"]["code"] == "state-not-writable"


async def test_trust(directory: Path, controller: SteeredController) -> None:
    """Pins that a fingerprint has to be whole, is taken with colons, and that a refusal has its own words."""
    path, hexadecimal = directory / "admin/admin.sock", "AB" * 32
    colons = ":".join(["AB"] * 32)
    for given in (hexadecimal, colons, hexadecimal.lower()):
        answer = await ask(path, f"/v1/trust/accept?fingerprint={given}", "post", 200)
        assert answer["message"].endswith("ab" * 32)
    for given in ("", "?fingerprint=", f"?fingerprint={hexadecimal[1:]}", f"?fingerprint={hexadecimal}%0a"):
        await ask(path, f"/v1/trust/accept{given}", "post", 400)
    await ask(path, "/v1/trust/forget", "post", 200)
    controller.failure = MargodError(NOT_OFFERED)
    answer = await ask(path, f"/v1/trust/accept?fingerprint={hexadecimal}", "post", 409)
    assert answer["error"]["code"] == "fingerprint-not-offered"


async def test_rotating(directory: Path, controller: SteeredController) -> None:
    """Pins the answers of a rotation that is begun, given up, and refused, and the schema of what status says of it."""
    path = directory / "admin/admin.sock"
    await ask(path, "/v1/identity/rotate", "post", 202)
    await ask(path, "/v1/identity/rotate/abort", "post", 200)
    await ask(path, "/v1/capabilities", "get", 200)
    assert (await ask(path, "/v1/identity/next", "get", 404))["error"]["code"] == "no-candidate"
    await controller.set(rotation=ROTATION)
    await ask(path, "/v1/status", "get", 200)
    await ask(path, "/v1/identity/next", "get", 200)
    controller.failure = MargodError(NOT_ROTATED)
    for target in ("/v1/identity/rotate", "/v1/identity/rotate/abort"):
        assert (await ask(path, target, "post", 409))["error"]["code"] == "not-rotated"


async def test_adopting_hardware(directory: Path, controller: SteeredController) -> None:
    """Pins its answers, and that the status socket does not know it."""
    path = directory / "admin/admin.sock"
    await ask(path, "/v1/identity/adopt-hardware", "post", 200)
    controller.failure = MargodError(NO_IDENTITY)
    answer = await ask(path, "/v1/identity/adopt-hardware", "post", 409)
    assert answer["error"]["code"] == "no-identity"


async def test_accepting_any_version(directory: Path, controller: SteeredController) -> None:
    """Pins its answers, and that the agent socket does not have it, where the word may be a deployment's id."""
    path = directory / "admin/admin.sock"
    await ask(path, "/v1/deployments/accept", "post", 200)
    assert b" 405 " in (await exchange(directory / "agent/agent.sock", get("/v1/deployments/accept", "POST")))[:20]
    controller.failure = MargodError(DESIRED_STATE_UNKNOWN)
    await ask(path, "/v1/deployments/accept", "post", 404)
    await ask(directory / "agent/agent.sock", "/v1/deployments/accept", "get", 404)


async def test_reset(directory: Path, controller: SteeredController) -> None:
    """Pins that what is ordered is what is said, word by word, and that nothing is done for a word too many."""
    path = directory / "admin/admin.sock"
    await ask(path, "/v1/reset?unregister=true&wipe=true", "post", 200)
    await ask(path, "/v1/reset?new_identity=true&wipe=false", "post", 200)
    names = ("unregister", "new_identity", "wipe")
    wanted = [tuple(order[name] for name in names) for order in controller.resets]
    assert wanted == [(True, False, True), (False, True, False)]
    for given in ("wipe=true&new_identity=true", "wipe=1", "wipe", "wiped=true"):
        await ask(path, f"/v1/reset?{given}", "post", 400)
    assert len(controller.resets) == 2
    controller.failure = MargodError(NOT_UNREGISTERED)
    assert (await ask(path, "/v1/reset", "post", 409))["error"]["code"] == "not-unregistered"


async def test_events(directory: Path, controller: SteeredController) -> None:
    """Pins that the stream gives the document at once and at a change, each in the schema of the status."""
    schema = SPEC["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]["x-event-data"]
    async with asyncio.timeout(TIMEOUT), connected(directory / "status.sock") as (reader, writer):
        writer.write(get("/v1/events", headers=""))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-type: text/event-stream" in head.lower()
        for state in ("onboarding", "enrolled"):
            await controller.set(state=state)
            event = await reader.readuntil(b"\n\n")
            data = next(line for line in event.split(b"\n") if line.startswith(b"data: "))
            document = json.loads(data.removeprefix(b"data: "))
            check(schema, document)
            assert document["state"] == state


async def test_the_file_itself_is_served(directory: Path) -> None:
    """Pins that /v1/openapi is the file of the package."""
    answer = await exchange(directory / "status.sock", get("/v1/openapi"))
    assert yaml.safe_load(answer.partition(b"\r\n\r\n")[2]) == SPEC


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("GET", "/", 404, "not-found"),
        ("GET", "/v1/../../etc/passwd", 404, "not-found"),
        ("POST", "/v1/retry", 404, "not-found"),
        ("DELETE", "/v1/status", 405, "method-not-allowed"),
        ("PATCH", "/v1/status", 405, "method-not-allowed"),
    ],
)
async def test_what_is_not_there(directory: Path, method: str, target: str, status: int, code: str) -> None:
    """Pins that errors of the API are JSON errors too, and that the status socket cannot act."""
    got, headers, document = head_and_json(await exchange(directory / "status.sock", get(target, method)))
    assert (got, document["error"]["code"]) == (status, code)
    assert ("allow" in headers) == (status == 405)
    check(SPEC["components"]["schemas"]["Error"], document)


async def test_curl(server: LocalServer, directory: Path, controller: SteeredController) -> None:
    """Pins that curl, another implementation of HTTP, reads the status over the socket."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "--max-time", str(TIMEOUT), "--unix-socket", str(directory / "status.sock")),
        "http://localhost/v1/status",
        stdout=pipe,
        stderr=pipe,
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert json.loads(out) == controller.document
