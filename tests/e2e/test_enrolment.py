"""From nothing to enrolled, and again after every kind of end, as real processes over real TLS."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from margod.daemon import DRAIN, PATIENCE
from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm

pytestmark = pytest.mark.e2e


async def test_two_requests_one_connection(tmp_path: Path) -> None:
    """A fresh device is enrolled by exactly two requests over one TCP connection and one TLS handshake."""
    async with DevWfm(tmp_path / "wfm") as wfm, Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
        status = await daemon.until("enrolled")
        assert status["connection"] == "online"
        assert status["client_id"]
        stats = await wfm.stats()
        assert (stats["requests_total"], stats["connections"], stats["handshakes"]) == (2, 1, 1)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("online", [True, False])
async def test_enrolled_after_a_restart(tmp_path: Path, end: signal.Signals, online: bool) -> None:
    """After a stop or a SIGKILL it is enrolled again without a single request, with or without the WFM."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        await daemon.start()
        first = await daemon.until("enrolled")
        await daemon.stop(end)
        before = await wfm.stats()
        if not online:
            await wfm.stop()
        async with daemon:
            second = await daemon.until("enrolled")
            assert second["client_id"] == first["client_id"]
            assert second["identity"] == first["identity"]
            if online:
                assert (await wfm.stats())["requests_total"] == before["requests_total"]


async def test_approval_by_a_person(tmp_path: Path) -> None:
    """202 is pending approval with exit code 4, and approval leads to enrolled."""
    async with (
        DevWfm(tmp_path / "wfm", "--approval", "manual", prefix="/v1alpha2/margo") as wfm,
        Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon,
    ):
        status = await daemon.until("pending-approval", "pending-approval")
        assert status["next_attempt_at"]
        code, out, _ = await daemon.command("status")
        assert (code, "approve" in out.lower()) == (4, True)
        await wfm.approve(1)
        code, _, _ = await daemon.command("retry")
        assert code == 0
        await daemon.until("enrolled")
        assert (await daemon.command("wait", "--for", "enrolled", "--timeout", "10s"))[0] == 0


async def test_retry_moves_the_attempt_in_the_running_loop(tmp_path: Path) -> None:
    """A retry that the WFM does not allow at once is made when it does, not when the old wait would have ended."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        await wfm.fault("answer", route="onboarding", times=1, status=404, headers={"Retry-After": "6"})
        async with Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
            await daemon.until("blocked")
            # No command: it may take longer than those 6 s.
            assert (await daemon.retry())["message"].startswith("trying in ")
            await daemon.until("enrolled")


@pytest.mark.parametrize("state", ["pending-approval", "enrolled", "onboarding"])
async def test_stops_within_two_seconds(tmp_path: Path, state: str) -> None:
    """One SIGTERM ends it within 2 s, also in the middle of a request that nobody answers.

    The seconds are margod's own bounds, this machine's are on top of them; the answer would be waited for much longer.
    """
    assert DRAIN + PATIENCE < 2.0
    approval = "manual" if state == "pending-approval" else "auto"
    async with DevWfm(tmp_path / "wfm", "--approval", approval) as wfm:
        if state == "onboarding":
            await wfm.fault("hang")
        yaml = f'wfm: {{url: "{wfm.url}", timeout: 10m}}'
        daemon = Daemon(tmp_path, ca_file=wfm.ca_file, yaml=yaml)
        await daemon.start()
        if state == "onboarding":
            await daemon.journal_line("request")
        else:
            await daemon.until(state)
        assert await daemon.stop() == 0


async def test_answer_lost_on_the_wire(tmp_path: Path) -> None:
    """The WFM commits and the connection breaks: at the 409 the certificate is re-issued over the same key, once."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        await wfm.fault("cut", route="onboarding", times=1, when="after")
        async with Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
            status = await daemon.until("enrolled")
            assert await daemon.journal_line("certificate-reissued")
            clients = await wfm.clients()
            assert len({client["fingerprint"] for client in clients}) == 2
            assert status["identity"]["fingerprint"] in {client["fingerprint"] for client in clients}


async def test_sigkill_between_answer_and_commit(tmp_path: Path) -> None:
    """Killed at any moment of the onboarding, it comes back enrolled, never registered twice for one certificate."""
    for after in (0.45, 0.5, 0.55, 0.6, 0.65, 0.7):
        place = tmp_path / f"{after}"
        place.mkdir()
        async with DevWfm(place / "wfm") as wfm:
            daemon = Daemon(place, url=wfm.url, ca_file=wfm.ca_file)
            await daemon.start(wait=False)
            await asyncio.sleep(after)  # the moment of the kill is the point of the test, nothing is awaited
            await daemon.stop(signal.SIGKILL)
            async with daemon:
                status = await daemon.until("enrolled")
                mine = [c for c in await wfm.clients() if c["fingerprint"] == status["identity"]["fingerprint"]]
                assert [client["client_id"] for client in mine] == [status["client_id"]]
