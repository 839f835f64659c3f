"""Whole onboardings killed at random moments: the short part of the campaign."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.campaign import Broken, carry_out
from tests.faults.onboardings import Device, onboardings
from tests.support.daemon import QUIET, Daemon
from tests.support.devwfm import DevWfm

pytestmark = pytest.mark.e2e


def test_killed_onboardings() -> None:
    """Whenever it is killed: one identity, one client id once it is stored, and the server's record agrees."""
    run = carry_out(onboardings, seed=5, scale=0.005)
    assert run.figures["onboardings"] == 11
    assert run.figures["killed with a client id"] >= 2
    assert run.figures["killed with an identity and no client id"] >= 2


async def test_what_would_be_seen(tmp_path: Path) -> None:
    """A lost state directory, another client id and another registration each break a promise."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        yaml = f"identity: {{common_name: device-x}}\n{QUIET}"
        device = Device("device-x", Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=yaml), wfm)
        async with device.daemon:
            await device.daemon.until("enrolled")
        device.look()
        assert device.onboardings() == [201]
        device.client_id, known = "somebody-else", device.client_id
        with pytest.raises(Broken, match="became"):
            device.look()
        device.client_id = known
        shutil.rmtree(device.daemon.state)
        with pytest.raises(Broken, match="the identity is gone"):
            device.look()
        async with device.daemon:
            await device.daemon.until("enrolled")
        with pytest.raises(Broken, match="another key"):
            device.look()
        assert device.onboardings() == [201, 201]
