"""The routes of the desired state against openapi.yaml: what they answer, to whom, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from margod.model.errors import MargodError
from margod.model.reasons import (
    ADOPTED_TOO_OFTEN,
    DEPLOYMENT_DAMAGED,
    DEPLOYMENT_UNKNOWN,
    DESIRED_STATE_UNKNOWN,
    STATE_NOT_WRITABLE,
    VERSION_UNKNOWN,
)
from tests.local.test_openapi import answer_schema, check
from tests.support.local_api import DEPLOYMENTS, DIGEST, SteeredController, exchange, get, head_and_json

pytestmark = pytest.mark.usefixtures("server")


def adopting(body: str) -> bytes:
    """Return the request that says what is adopted."""
    head = f"POST /v1/deployments/adopted HTTP/1.1\r\nHost: margod\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n{body}".encode()


@pytest.mark.parametrize("socket", ["agent/agent.sock", "admin/admin.sock"])
async def test_the_mirror_is_shown(directory: Path, controller: SteeredController, socket: str) -> None:
    """The list in its schema; a deployment as it is, under its digest; 304 for who has it; an id may be any word."""
    path = directory / socket
    status, _, document = head_and_json(await exchange(path, get("/v1/deployments")))
    assert (status, document) == (200, DEPLOYMENTS)
    check(answer_schema("/v1/deployments", "get", 200), document)
    for name in ("pump", "adopted", "a~b.c_d-e"):
        answer = await exchange(path, get(f"/v1/deployments/{name}"))
        head, body = answer.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 200")
        assert f'ETag: "{DIGEST}"'.encode() in head
        assert b"Content-Type: application/yaml" in head
        assert body == f"kind: ApplicationDeployment # {name}\n".encode()
    same = await exchange(
        path, get("/v1/deployments/pump", headers=f'Connection: close\r\nIf-None-Match: "{DIGEST}"\r\n')
    )
    assert same.startswith(b"HTTP/1.1 304")
    assert same.endswith(b"\r\n\r\n")
    status, _, document = head_and_json(await exchange(path, adopting('{"manifestVersion": 7}')))
    assert (status, document["adopted"]) == (200, 7)
    check(answer_schema("/v1/deployments/adopted", "post", 200), document)
    controller.failure = MargodError(VERSION_UNKNOWN)
    assert head_and_json(await exchange(path, adopting('{"manifestVersion": 8}')))[0] == 409


async def test_who_only_reads_the_status_is_not_shown_it(directory: Path) -> None:
    """On the status socket there are no such routes: a deployment may hold what is not everybody's."""
    for target in ("/v1/deployments", "/v1/deployments/pump", "/v1/deployments/adopted"):
        assert (await exchange(directory / "status.sock", get(target))).startswith(b"HTTP/1.1 404")
    assert (await exchange(directory / "status.sock", adopting('{"manifestVersion": 7}'))).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    "body",
    [
        *("", "7", "[7]", "{}", "{" * 3000, '{"manifestVersion": "7"}', '{"manifestVersion": true}'),
        *('{"manifestVersion": 0}', '{"manifestVersion": 18446744073709551616}', '{"manifestVersion": 7.5}'),
        '{"manifestversion": 7}',
    ],
)
async def test_no_version(directory: Path, body: str) -> None:
    """Whatever is not a version is refused, and nothing is stored."""
    status, _, document = head_and_json(await exchange(directory / "agent/agent.sock", adopting(body)))
    assert status == 400
    check(answer_schema("/v1/deployments/adopted", "post", 400), document)


@pytest.mark.parametrize(
    ("reason", "status"),
    [(DESIRED_STATE_UNKNOWN, 404), (DEPLOYMENT_UNKNOWN, 404), (DEPLOYMENT_DAMAGED, 503), (STATE_NOT_WRITABLE, 409),
     (ADOPTED_TOO_OFTEN, 429)],
    ids=lambda value: getattr(value, "code", str(value)),
)  # fmt: skip
async def test_refusals_say_why(directory: Path, controller: SteeredController, reason: object, status: int) -> None:
    """Each with a status of its own, its code and what to do."""
    controller.failure = MargodError(reason)  # type: ignore[arg-type]  # a Reason, from the table above
    got, _, document = head_and_json(await exchange(directory / "agent/agent.sock", get("/v1/deployments/pump")))
    assert (got, document["error"]["code"]) == (status, reason.code)  # type: ignore[attr-defined]  # as above
    assert document["error"]["hint"] or reason is STATE_NOT_WRITABLE
