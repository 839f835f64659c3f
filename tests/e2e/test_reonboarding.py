"""`onboarding.when_forgotten: reonboard`: a WFM that has lost a device gets it back, once, and late enough."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from margod import config
from margod.daemon import Daemon as Margod
from margod.shell import archive, rotation
from margod.shell.settings import Options
from margod.vault import peek
from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm

pytestmark = pytest.mark.e2e

QUICK = "onboarding: {confirm: 1s, forgotten_after: 1s, when_forgotten: reonboard}"
UNKNOWN = json.dumps({"error": "no such client"})


def doubted(status: dict[str, Any]) -> bool:
    """Return whether the WFM has said something against this device."""
    return status["last_error"] is not None


async def emptied(wfm: DevWfm) -> None:
    """Have the WFM answer as one whose database was lost."""
    for route in ("deployments", "capabilities"):
        await wfm.fault("answer", route=route, times=0, status=404, body=UNKNOWN)


async def until_candidate(daemon: Daemon) -> dict[str, Any]:
    """Wait until the device is refused and has a candidate that waits; return what status says of it."""
    await daemon.until_status(doubted, "doubted")
    await asyncio.sleep(1.1)  # what is waited for is time itself: onboarding.forgotten_after
    await daemon.retry()
    status = await daemon.until_status(lambda s: s["rotation"] is not None, "a candidate")
    assert (status["state"], status["reason"]) == ("refused", "forgotten")
    found: dict[str, Any] = status["rotation"]
    assert (found["why"], found["state"], found["reason"]) == ("forgotten", "starting", "reonboard-waits")
    return found


async def test_an_emptied_database_that_comes_back(tmp_path: Path) -> None:
    """The candidate's moment lies within a day and survives a SIGKILL; a WFM that remembers first keeps the old id."""
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=QUICK) as daemon,
    ):
        before = await daemon.until("enrolled")
        await emptied(wfm)
        waits = await until_candidate(daemon)
        assert -5.0 < datetime.fromisoformat(waits["next_attempt_at"]).timestamp() - time.time() <= 86_400.0
        assert waits["fingerprint"] != before["identity"]["fingerprint"]
        await daemon.stop(signal.SIGKILL)
        await daemon.start()
        status = await daemon.until_status(lambda s: s["rotation"] is not None, "the candidate")
        assert status["rotation"] == waits
        await wfm.clear_faults()
        await daemon.retry()
        status = await daemon.until_status(lambda s: s["state"] == "enrolled" and s["rotation"] is None, "as before")
        assert [status[name] for name in ("client_id", "identity")] == [
            before[name] for name in ("client_id", "identity")
        ]
        assert len(await wfm.requests("onboarding")) == 1
        await daemon.journal_line("rotation-dropped")
        assert not list(daemon.state.glob("*next*"))


async def test_the_owner_thinks_better_of_it(tmp_path: Path) -> None:
    """`when_forgotten: wait` and a reload give the candidate up; the device goes on asking under its old id."""
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=QUICK) as daemon,
    ):
        await daemon.until("enrolled")
        await emptied(wfm)
        await until_candidate(daemon)
        daemon.config.write_text(daemon.config.read_text().replace("reonboard", "wait"))
        assert (await daemon.command("reload"))[0] == 0
        status = await daemon.until_status(lambda s: s["rotation"] is None, "no candidate")
        assert (status["state"], len(await wfm.requests("onboarding"))) == ("refused", 1)


SILENT = "schedule: {polling: {rate: off}}"
"""Nobody asks for the desired state: what is waited for here is the enrolment's."""
Reached = Callable[[dict[str, Any]], bool]


class Here:
    """A daemon in this process, whose day of waiting can be taken away."""

    def __init__(self, margod: Margod) -> None:
        self.margod = margod

    async def until(self, reached: Reached) -> dict[str, Any]:
        """Wait until the status is as wanted and return it."""
        async with asyncio.timeout(60):
            async for status in self.margod.changes():
                if reached(status):
                    return status
        raise AssertionError("the daemon has ended")


@asynccontextmanager
async def here(root: Path, wfm: DevWfm, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Here]:
    """Run a daemon whose candidates begin at once."""
    monkeypatch.setattr(rotation, "SPREAD", 0.0)
    file = root / "m.yaml"
    file.write_text(f'wfm: {{url: "{wfm.url}"}}\ntrust: {{ca_file: {wfm.ca_file}}}\n{QUICK}\n{SILENT}\n')
    overrides = {"state.directory": str(root / "state"), "local.directory": str(root / "run")}
    margod = Margod(Options(config.Sources(file), {}, overrides), config.load(config.Sources(file), {}, overrides))
    running = asyncio.ensure_future(margod.run())
    try:
        yield Here(margod)
    finally:
        margod._stopping.set()
        assert await running == 0


async def refused(device: Here) -> None:
    """Wait until the WFM has said it for long enough."""
    await device.until(doubted)
    await asyncio.sleep(1.1)  # as above
    await device.margod.retry()


async def test_onboarded_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forgotten device comes back under the same key and another certificate; one id each; the old is archived."""
    async with DevWfm(tmp_path / "wfm") as wfm, here(tmp_path, wfm, monkeypatch) as device:
        before = await device.until(lambda s: s["state"] == "enrolled")
        await wfm.forget(1)
        await refused(device)
        after = await device.until(lambda s: s["state"] == "enrolled" and s["client_id"] != before["client_id"])
        assert after["identity"]["key_id"] == before["identity"]["key_id"]
        assert after["identity"]["fingerprint"] != before["identity"]["fingerprint"]
        assert [(c["fingerprint"], c["client_id"]) for c in await wfm.clients()] == [
            (after["identity"]["fingerprint"], after["client_id"])
        ]
        assert [r["status"] for r in await wfm.requests("onboarding")] == [201, 201]
        await device.until(lambda s: s["rotation"] is None)
    formers = archive.formers(peek(tmp_path / "state"))
    assert [(former.why, json.loads(former.records["enrolment.json"])) for former in formers] == [
        ("forgotten", {"clientId": before["client_id"]})
    ]


async def test_a_revoked_device_does_not_come_back_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """403 is a person's word: it is refused, and nothing is asked for, whatever the setting."""
    async with DevWfm(tmp_path / "wfm") as wfm, here(tmp_path, wfm, monkeypatch) as device:
        await device.until(lambda s: s["state"] == "enrolled")
        await wfm.reject(1)
        await refused(device)
        status = await device.until(lambda s: s["state"] == "refused")
        assert (status["reason"], status["rotation"]) == ("revoked", None)
        assert len(await wfm.requests("onboarding")) == 1
        assert not (tmp_path / "state" / "next").exists()
