"""The door in the test's own process: what happens to the device, or to its users' names, while a request waits."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from margod.model import reasons
from margod.model.door import Asked, DoorError
from margod.model.wire import Answer
from margod.shell.courier import Courier
from margod.shell.door import Door
from margod.shell.work import Work
from tests.support.rawserver import Certificates, RawServer, Turn
from tests.support.shell import Shell

pytestmark = pytest.mark.e2e
MANIFEST = Asked("GET", "/api/v1/clients/{clientId}/deployments", uid=os.getuid())
LOGS = Asked("POST", "/logs", uid=os.getuid())


class Nowhere:
    """A sink that forgets what it takes."""

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the head."""

    async def write(self, piece: bytes) -> None:
        """Take a piece."""


class DoorWork:
    """As much of Work as the door needs."""

    def __init__(self, shell: Shell) -> None:
        """Lend couriers of this device."""
        self._shell = shell

    def courier(self, name: str) -> Courier:
        """Return another one."""
        return Courier(self._shell.actions, self._shell.disk, name)


@asynccontextmanager
async def device(tmp_path: Path, yaml: str = "") -> AsyncIterator[tuple[Shell, Door, list[str]]]:
    """An enrolled device, its door, and the lines that the WFM was asked through it."""
    certificates = Certificates()
    asked: list[str] = []
    known: list[str] = []
    (ca := tmp_path / "ca.pem").write_bytes(certificates.ca.cert_pem.bytes())

    async def wfm(turn: Turn) -> None:
        if "onboarding" in turn.request.line:
            known.append(f"client-{len(known) + 1}")
            await turn.answer(201, json.dumps({"clientId": known[-1]}).encode())
            return
        if "capabilities" not in turn.request.line:
            asked.append(turn.request.line)
        await turn.answer(200, b"fine")

    async with (
        RawServer(wfm, context=certificates.server()) as server,
        Shell(tmp_path, url=server.url, ca_file=ca, yaml=yaml, timeout="20s") as it,
    ):
        assert it.status()["state"] == "enrolled"
        door = Door(it.ground, cast("Work", DoorWork(it)))
        try:
            yield it, door, asked
        finally:
            await door.close()


async def forward(door: Door, asked: Asked, meanwhile: Callable[[], Awaitable[None]] | None = None) -> int:
    """Ask through the door, without a body; return the status. `meanwhile` is done while the body is waited for."""

    async def body() -> bytes:
        if meanwhile is not None:
            await meanwhile()
        return b""

    answer = await door.forward(asked, body, Nowhere())
    assert isinstance(answer, Answer)
    return answer.status


async def test_a_request_of_a_former_enrolment(tmp_path: Path) -> None:
    """What was allowed in the name of one enrolment is not sent in the name of the next: 503, and again in a second."""
    async with device(tmp_path) as (it, door, asked):

        async def onboarded_anew() -> None:
            await it.disk.run(lambda: it.ground.reset(new_identity=True))
            assert (await it.look())["client_id"] == "client-2"

        with pytest.raises(DoorError) as refused:
            await forward(door, MANIFEST, onboarded_anew)
        said = refused.value
        assert (said.reason, said.status, said.retry_after) == (reasons.NOT_ENROLLED, 503, 1.0)
        assert asked == []
        assert await forward(door, MANIFEST) == 200
        assert asked == ["GET /api/v1/clients/client-2/deployments HTTP/1.1"]


async def test_a_name_service_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is open for a user by name waits for the name; what is open for all does not, nor does any signature."""
    begun, let = threading.Event(), threading.Event()

    def hangs(_name: str) -> pwd.struct_passwd:
        begun.set()
        let.wait(20)
        return pwd.getpwuid(os.getuid())

    monkeypatch.setattr(pwd, "getpwnam", hangs)
    async with device(tmp_path, 'door: {allow: "POST /logs for somebody"}') as (_, door, asked):
        waits = asyncio.ensure_future(forward(door, LOGS))
        await asyncio.sleep(0)
        try:
            assert await asyncio.to_thread(begun.wait, 20)
            async with asyncio.timeout(15):  # the name is waited for longer
                assert await forward(door, MANIFEST) == 200
        finally:
            let.set()
        assert await waits == 200
        assert [line.split()[0] for line in asked] == ["GET", "POST"]
