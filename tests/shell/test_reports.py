"""The outbox's lane goes on after an error that nobody foresaw: it says so, waits, and tries again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from margod.engine.messages import Cause
from margod.model import reasons
from margod.model.state import Condition, Connection, State
from margod.model.wire import Answer, Request, TransportFailure
from margod.shell.courier import Courier
from margod.shell.disk import Disk
from margod.shell.reports import Reports
from margod.shell.work import Work
from tests.shell.test_courier import wfm
from tests.support.rawserver import Certificates, RawServer
from tests.support.shell import Shell

pytestmark = pytest.mark.e2e
ENROLLED = Condition(State.ENROLLED, reasons.ENROLLED, "", 0.0, 0, None, None, Connection.ONLINE, 0.0)


class Broken(Courier):
    """A courier that breaks at its first call."""

    calls = 0

    async def call(self, request: Request, **more: Any) -> Answer | TransportFailure:
        """Raise what no courier raises, once."""
        self.calls += 1
        if self.calls == 1:
            raise ZeroDivisionError
        return await super().call(request, **more)


class OneLane:
    """As much of Work as a lane needs."""

    def __init__(self, shell: Shell, courier: type[Courier] | None = None) -> None:
        """Lend a courier, a broken one if no other is given."""
        self.broken = (courier or Broken)(shell.actions, shell.disk, "test")
        self.told = asyncio.Event()

    def courier(self, _name: str) -> Courier:
        """Return it."""
        return self.broken

    async def heard(self, *_: object) -> None:
        """Nobody listens."""

    def tell(self) -> None:
        """Something is another one."""
        self.told.set()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until it is so."""
        while not reached():
            await self.told.wait()
            self.told.clear()


async def test_a_fault_of_its_own_is_not_the_end(tmp_path: Path) -> None:
    """A report whose sending breaks in margod itself is kept, the fault is in the journal, and it goes out later."""
    certificates = Certificates()
    (ca := tmp_path / "ca.pem").write_bytes(certificates.ca.cert_pem.bytes())
    async with (
        RawServer(wfm, context=certificates.server()) as server,
        Shell(tmp_path, url=server.url, ca_file=ca, timeout="20s") as it,
    ):
        work = OneLane(it)
        reports = Reports(cast("Work", work), it.ground, Disk())
        reports.consider(it.actions.situation, ENROLLED)
        with capture_logs() as logs:
            await reports.report("web", b'{"status": {"state": "installed"}}')
            async with asyncio.timeout(60):
                await work.until(lambda: reports.document()["last_error"] is not None)
                reports.wake(Cause.OPERATOR)
                await work.until(lambda: reports.document()["waiting"] == 0)
        assert "ZeroDivisionError" in str([entry for entry in logs if entry["event"] == "internal-error"])
        assert any("/deployments/web/status" in request.line for request in server.requests)
        await reports.close()


class Gated(Courier):
    """A courier whose calls wait until they may go."""

    def __init__(self, *arguments: Any) -> None:
        """Let all of them go at first."""
        super().__init__(*arguments)
        self.open = asyncio.Event()
        self.open.set()

    async def call(self, request: Request, **more: Any) -> Answer | TransportFailure:
        """Wait, then call."""
        await self.open.wait()
        return await super().call(request, **more)


async def test_who_looks_in_between_hears_that_it_is_as_before(tmp_path: Path) -> None:
    """A report that comes and goes while nobody is told: whoever saw it waiting is told that nothing waits."""
    certificates = Certificates()
    (ca := tmp_path / "ca.pem").write_bytes(certificates.ca.cert_pem.bytes())
    async with (
        RawServer(wfm, context=certificates.server()) as server,
        Shell(tmp_path, url=server.url, ca_file=ca, timeout="20s") as it,
        asyncio.timeout(60),
    ):
        work = OneLane(it, Gated)
        gate = cast("Gated", work.broken).open
        reports = Reports(cast("Work", work), it.ground, Disk())
        reports.consider(it.actions.situation, ENROLLED)
        await reports.report("web", b'{"status": {"state": "pending"}}')
        await work.until(lambda: reports.document()["waiting"] == 0 and len(server.requests) > 2)
        gate.clear()
        await reports.report("web", b'{"status": {"state": "installed"}}')
        assert reports.document()["waiting"] == 1, "somebody looks now"
        work.told.clear()
        gate.set()
        told: list[object] = []
        while 0 not in told:
            await work.told.wait()
            work.told.clear()
            told.append(reports.document()["waiting"])
        await reports.close()
