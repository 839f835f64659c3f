"""Stopped, killed and started again: where it stood is where it goes on, and no moment of death costs the identity."""

from __future__ import annotations

import asyncio
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import FreshDaemon
from tests.support.devwfm import DevWfm

pytestmark = pytest.mark.e2e

SHOWN = ("state", "reason", "message", "detail", "since", "attempt", "client_id", "identity")


@pytest.mark.parametrize(
    ("state", "reason", "code", "status", "headers", "end"),
    [
        ("pending-approval", "pending-approval", 4, 202, {"Retry-After": "180"}, signal.SIGTERM),
        ("pending-approval", "pending-approval", 4, 202, {"Retry-After": "180"}, signal.SIGKILL),
        ("rejected", "rejected", 4, 403, {"Retry-After": "180"}, signal.SIGTERM),
        ("blocked", "certificate-refused", 5, 422, {}, signal.SIGTERM),
        ("blocked", "certificate-refused", 5, 422, {}, signal.SIGKILL),
        ("onboarding", "wfm-busy", 3, 503, {"Retry-After": "180"}, signal.SIGTERM),
    ],
)
async def test_goes_on_where_it_stood(
    tmp_path: Path,
    state: str,
    reason: str,
    code: int,
    status: int,
    headers: dict[str, str],
    end: signal.Signals,
) -> None:
    """After a stop or SIGKILL state, reason, attempt and next attempt are what they were; nothing is asked early."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        body = '{"error": "the server\'s own words"}'
        await wfm.fault("answer", route="onboarding", times=0, status=status, headers=headers, body=body)
        daemon = FreshDaemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        await daemon.start()
        before = await daemon.until(state, reason)
        if end is signal.SIGTERM:
            assert (await daemon.command("status"))[0] == code
        await daemon.answer_kept()
        await daemon.stop(end)
        async with daemon:
            after = await daemon.until(state, reason)
            assert [after[key] for key in SHOWN] == [before[key] for key in SHOWN]
            assert abs(moment(after["next_attempt_at"]) - moment(before["next_attempt_at"])) <= 2.0
            assert len(await wfm.requests()) == 1
            await wfm.clear_faults()
            if not headers:
                assert (await daemon.retry())["message"] == "trying now"
                await daemon.until("enrolled")
            else:
                assert "never before the WFM allows it" in (await daemon.retry())["message"]
                assert len(await wfm.requests()) == 1


async def test_enrolled_since_survives_a_kill(tmp_path: Path) -> None:
    """The time of an enrolment is kept as soon as there is one: SIGKILL does not make it a new one."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = FreshDaemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        await daemon.start()
        before = await daemon.until("enrolled")
        await daemon.remembered()
        await daemon.stop(signal.SIGKILL)
        while datetime.now(UTC).timestamp() < moment(before["since"]) + 2.0:
            await asyncio.sleep(0.1)  # a time that is made anew is another one then
        since = len(daemon.journal)
        async with daemon:
            after = await daemon.until("enrolled")
            assert after["since"] == before["since"]
            line = await daemon.journal_line("state", since, having="resumed=yes")
            assert f"since={before['since']}" in line


async def test_asked_in_vain(tmp_path: Path) -> None:
    """With the WFM gone it is onboarding and offline, exit code 3, the error named; the WFM back, it is let in."""
    wfm = DevWfm(tmp_path / "wfm")
    await wfm.start()
    await wfm.stop()
    async with FreshDaemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
        status = await daemon.until("onboarding", "connect-refused")
        assert (status["connection"], status["last_error"]["code"]) == ("offline", "connect-refused")
        code, said, _ = await daemon.command("status")
        assert (code, "wfm.url" in said) == (3, True)
        async with wfm:
            await daemon.retry()
            await daemon.until("enrolled")
    code, _, said = await daemon.command("status")
    assert (code, "systemctl start margod" in said) == (1, True)


@pytest.mark.parametrize(
    ("event", "having", "most"),
    [
        ("request", "step=enrol", 2),
        ("answer", "step=enrol", 2),
        ("accepted", "step=enrol", 1),
        ("request", "step=report", 1),
        ("accepted", "step=report", 1),
    ],
)
async def test_killed_at(tmp_path: Path, event: str, having: str, most: int) -> None:
    """SIGKILL as soon as the journal says so: it comes back enrolled, and each certificate is registered once.

    From `accepted` on the client id is durable: never another onboarding request.
    """
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = FreshDaemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        await daemon.start(wait=False)
        await daemon.journal_line(event, having=having)
        assert await daemon.stop(signal.SIGKILL) == -signal.SIGKILL
        known = await wfm.clients()
        async with daemon:
            status = await daemon.until("enrolled")
        clients = await wfm.clients()
        mine = [client for client in clients if client["fingerprint"] == status["identity"]["fingerprint"]]
        assert [client["client_id"] for client in mine] == [status["client_id"]]
        answers = [request["status"] for request in await wfm.requests("onboarding")]
        assert answers.count(201) <= most
        if most == 1:
            assert len(answers) == len(clients) == 1
        if known and event == "accepted":
            assert clients == known


async def test_killed_with_the_answer_on_its_way(tmp_path: Path) -> None:
    """The WFM has registered it and SIGKILL comes before the answer: after the 409 it has a certificate that is its."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        await wfm.fault("hang", route="onboarding", times=1, when="after")
        daemon = FreshDaemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        await daemon.start()
        async with asyncio.timeout(60):
            while not [client for client in await wfm.clients() if client["client_id"]]:
                await asyncio.sleep(0.02)  # the WFM tells nobody
        key = (await daemon.status())["identity"]["key_id"]
        await daemon.stop(signal.SIGKILL)
        for _ in range(2):
            async with daemon:
                status = await daemon.until("enrolled")
                assert status["identity"]["key_id"] == key
                assert [request["status"] for request in await wfm.requests("onboarding")] == [201, 409, 201]
                lost, mine = await wfm.clients()
                assert (mine["fingerprint"], mine["client_id"]) == (
                    status["identity"]["fingerprint"],
                    status["client_id"],
                )
                assert lost["fingerprint"] != mine["fingerprint"]


async def test_killed_again_and_again(tmp_path: Path) -> None:
    """A crash loop while the WFM is busy neither loses count of what was asked nor asks more often than it may."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = FreshDaemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        await wfm.fault("answer", route="onboarding", times=0, status=503, headers={"Retry-After": "3600"})
        await daemon.start()
        first = await daemon.until("onboarding", "wfm-busy")
        await daemon.answer_kept()
        for _ in range(2):
            await daemon.stop(signal.SIGKILL)
            await daemon.start()
            status = await daemon.until("onboarding", "wfm-busy")
            assert [status[key] for key in SHOWN] == [first[key] for key in SHOWN]
        await daemon.stop()
        assert len(await wfm.requests()) == 1


def moment(text: Any) -> float:
    """Return the Unix seconds of an RFC 3339 time."""
    return datetime.fromisoformat(text).timestamp()
