"""The routes of reports: their answers in their schemas, on the sockets that have them, their bounds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from margod.local.answers import error_answer
from margod.model.errors import MargodError, OutboxFull, OutboxUnusable
from margod.model.reasons import (
    NO_SUCH_REPORT,
    OUTBOX_FULL,
    OUTBOX_NEWER,
    OUTBOX_UNUSABLE,
    REPORT_INVALID,
    REPORT_OVERTAKEN,
)
from tests.local.test_openapi import answer_schema, ask, check
from tests.support.local_api import SteeredController, exchange, head_and_json

pytestmark = pytest.mark.usefixtures("server")

TARGET = "/v1/deployments/{id}/status"


async def put(socket: Path, body: bytes, *, name: str = "web", length: int | None = None) -> tuple[int, Any]:
    """Report a deployment; return status and document."""
    size = len(body) if length is None else length
    head = (
        f"PUT /v1/deployments/{name}/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
    )
    status, _, document = head_and_json(await exchange(socket, head.encode() + body))
    return status, document


@pytest.mark.parametrize("socket", ["agent/agent.sock", "admin/admin.sock"])
async def test_taken(directory: Path, controller: SteeredController, socket: str) -> None:
    """Pins 202 with the number, and that id and body arrive as they were sent."""
    for number in (1, 2):
        status, document = await put(directory / socket, b"x" * 262_144, name="a-b.c~_")
        assert (status, document) == (202, {"number": number})
        check(answer_schema(TARGET, "put", 202), document)
    assert controller.reporters == [os.getuid()] * 2, "for whom it is"
    assert controller.reported[0] == ("a-b.c~_", b"x" * 262_144)
    page = await ask(directory / socket, "/v1/outbox?after=1", "get", 200)
    assert [report["number"] for report in page["reports"]] == [2]


async def test_who_only_reads_reports_nothing(directory: Path, controller: SteeredController) -> None:
    """Pins that the status socket has neither the reports nor their list, and the agent's no administration."""
    assert (await put(directory / "status.sock", b"{}"))[0] == 404
    for socket, method, target in (
        ("status.sock", "GET", "/v1/outbox"),
        ("agent/agent.sock", "POST", "/v1/outbox/retry"),
        ("agent/agent.sock", "POST", "/v1/outbox/drop"),
    ):
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        assert head_and_json(await exchange(directory / socket, head.encode()))[0] == 404
    assert controller.reported == []


async def test_too_large(directory: Path, controller: SteeredController) -> None:
    """Pins 413 for one byte too many."""
    assert (await put(directory / "agent/agent.sock", b"", length=262_145))[0] == 413
    assert controller.reported == []


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (MargodError(REPORT_INVALID, "components[0].state: not one of them"), 400),
        (OutboxFull(OUTBOX_FULL), 507),
        (OutboxUnusable(OUTBOX_UNUSABLE), 503),
        (OutboxUnusable(OUTBOX_NEWER), 503),
    ],
)
async def test_refused(directory: Path, controller: SteeredController, failure: MargodError, status: int) -> None:
    """Pins the status of each refusal, with its reason and what to do."""
    controller.failure = failure
    got, document = await put(directory / "agent/agent.sock", b"{}")
    assert (got, document["error"]["code"], document["error"]["message"]) == (status, failure.code, failure.message)
    check(answer_schema(TARGET, "put", status), document)


async def test_parked(directory: Path, controller: SteeredController) -> None:
    """Pins retry and drop of one and of all, and that nothing is done for a number that is none."""
    path = directory / "admin/admin.sock"
    for name, says in (("retry", "Taken up again"), ("drop", "Dropped")):
        controller.failure = None
        assert (await ask(path, f"/v1/outbox/{name}?number=7", "post", 200))["message"] == f"{says}: 7."
        assert (await ask(path, f"/v1/outbox/{name}", "post", 200))["message"] == f"{says}: None."
        for query in ("number=", "number=x", "number=-1", "number=1&number=2", "other=1", f"number={2**64}"):
            await ask(path, f"/v1/outbox/{name}?{query}", "post", 400)
        controller.failure = MargodError(NO_SUCH_REPORT)
        await ask(path, f"/v1/outbox/{name}?number=7", "post", 404)
        controller.failure = MargodError(REPORT_OVERTAKEN)
        await ask(path, f"/v1/outbox/{name}?number=7", "post", 409)
    await ask(path, "/v1/outbox?after=x", "get", 400)


def test_an_error_has_its_words() -> None:
    """Pins that 507 and 503 of this room carry the reason's words, not those of the status."""
    assert b"outbox-full" in bytes(error_answer(507, OUTBOX_FULL.code, OUTBOX_FULL.says).body or b"")  # type: ignore[arg-type]  # it is bytes here
