"""Discovery on a LAN of network namespaces: over IPv6 alone, and a WFM that is found again at another place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.system.lan import Lan, missing
from tests.system.test_discovery import gateway, server

pytestmark = pytest.mark.system

AGAIN = "discovery: {server_names: wfm.test, again_after: 1s}"


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    """All of this needs a LAN."""
    if why := missing():
        pytest.skip(why)


async def test_ipv6_alone(tmp_path: Path) -> None:
    """No IPv4 anywhere: announced, resolved to a link-local address with its interface, connected to, enrolled.

    The gateway's interface comes up late, and its address may be used some seconds later still.
    """
    with Lan("gw", "wfm", up=False, ipv4=False) as lan:
        lan.connect("wfm")
        lan.settle("wfm")
        async with server(lan, tmp_path / "wfm", "--announce", "Six", listen="[::]:8443") as wfm:
            daemon = gateway(lan, tmp_path, wfm.ca_file)
            async with daemon:
                await daemon.journal_line("browsing")
                lan.connect("gw")
                found = await daemon.until_status(lambda status: status["discovery"]["seen"] != [], "seen")
                (seen,) = found["discovery"]["seen"]
                assert seen["addresses"]
                assert all(address.startswith("fe80::") and "%" in address for address in seen["addresses"])
                assert (await daemon.until("enrolled"))["discovery"]["instance"] == "Six"
            assert [request["route"] for request in await wfm.requests()] == ["onboarding", "capabilities"]


async def test_an_enrolled_device_follows(tmp_path: Path) -> None:
    """Enrolled, with something to report, its WFM at another address and port: found there, the client id stays."""
    with Lan("gw", "wfm") as lan:
        first = server(lan, tmp_path / "wfm", "--announce", "Real")
        await first.start()
        daemon = gateway(lan, tmp_path, first.ca_file, AGAIN)
        async with daemon:
            before = await daemon.until("enrolled")
            await daemon.journal_line("browsing-ended")
            await first.stop()
            lan.connect("wfm", "10.77.0.77")
            moved = server(lan, tmp_path / "wfm", "--announce", "Real", listen="0.0.0.0:9443")
            async with moved:
                since = len(daemon.journal)
                daemon.configure(ca_file=first.ca_file, yaml=f"{AGAIN}\ndevice: {{model_number: Another}}")
                await daemon.reload()
                await daemon.until_status(lambda status: status["connection"] == "offline", "offline")
                await daemon.journal_line("browsing", since)
                await daemon.until_status(lambda status: status["wfm"]["url"].endswith(":9443/margo"), "seen there")
                await daemon.retry()  # by itself within two minutes: all devices hear the same announcement
                status = await daemon.until_status(_reported_at(":9443/margo"), "reported at the new place")
                await daemon.journal_line("browsing-ended", since)
                assert (status["state"], status["client_id"]) == ("enrolled", before["client_id"])
                assert len(await moved.requests("onboarding")) == 1
                (device,) = await moved.devices()
                assert device["manifest"]["properties"]["modelNumber"] == "Another"
        assert "10.77.0.77" in _record(daemon.state)


def _reported_at(place: str) -> Any:
    return lambda status: status["wfm"]["url"].endswith(place) and status["connection"] == "online"


def _record(state: Path) -> str:
    """Return what the vault has stored of the WFM."""
    return max(state.glob("gen-*")).joinpath("wfm.json").read_text()
