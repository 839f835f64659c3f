"""A WFM that forgets or revokes an enrolled device, and takes it back, as real processes over real TLS."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm

pytestmark = pytest.mark.e2e

QUICK = "onboarding: {confirm: 1s, forgotten_after: 1s}"


def doubted(status: dict[str, Any]) -> bool:
    """Return whether the WFM has said something against this device."""
    return status["last_error"] is not None


async def test_an_enrolled_device_asks_whether_it_is_known(tmp_path: Path) -> None:
    """At the interval of onboarding.confirm it makes a signed GET of the desired state, and nothing else."""
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=QUICK) as daemon,
    ):
        await daemon.until("enrolled")
        for _ in range(3):
            await daemon.journal_line("answer", len(daemon.journal), having="step=confirm")
        status = await daemon.status()
        assert (status["state"], status["next_attempt_at"]) == ("enrolled", None)
        routes = {request["route"] for request in (await wfm.control("GET", "/v1/requests"))["requests"][2:]}
        assert routes == {"deployments"}


@pytest.mark.parametrize(("act", "back", "reason"), [("forget", None, "forgotten"), ("reject", "approve", "revoked")])
async def test_refused_and_taken_back(tmp_path: Path, act: str, back: str | None, reason: str) -> None:
    """Clear words on two routes make it refused, exit code 4; it never asks for another id and comes back by itself."""
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=QUICK) as daemon,
    ):
        client_id = (await daemon.until("enrolled"))["client_id"]
        await wfm.control("POST", f"/v1/clients/1/{act}")
        await daemon.until_status(doubted, "doubted")
        await asyncio.sleep(1.1)  # what is waited for is time itself: onboarding.forgotten_after
        await daemon.retry()
        status = await daemon.until_status(lambda now: now["state"] == "refused", "refused")
        assert (status["reason"], status["client_id"]) == (reason, client_id)
        assert status["next_attempt_at"] is not None
        code, out, _ = await daemon.command("status")
        assert (code, "refused" in out) == (4, True)
        await daemon.stop()
        await daemon.start()
        assert (await daemon.until("refused"))["reason"] == reason
        onboardings = [r for r in (await wfm.control("GET", "/v1/requests"))["requests"] if r["route"] == "onboarding"]
        assert len(onboardings) == 1
        if back is not None:
            await wfm.control("POST", f"/v1/clients/1/{back}")
            await daemon.retry()
            assert (await daemon.until("enrolled"))["client_id"] == client_id
