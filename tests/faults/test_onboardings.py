"""Whole onboardings killed at random moments: the short part of the campaign."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.campaign import Broken, carry_out
from tests.faults.onboardings import Device, onboardings, token_onboardings
from tests.support.daemon import QUIET, Daemon
from tests.support.devwfm import DevWfm

pytestmark = pytest.mark.e2e


def test_killed_onboardings() -> None:
    """Whenever it is killed: one identity, one client id once it is stored, and the server's record agrees."""
    run = carry_out(onboardings, seed=5, scale=0.005)
    assert run.figures["onboardings"] == 11
    assert run.figures["killed with a client id"] >= 2
    assert run.figures["killed with an identity and no client id"] >= 2


def test_killed_token_onboardings() -> None:
    """The same where the WFM gives a secret and a Git token: they stay this client's, given once."""
    run = carry_out(token_onboardings, seed=7, scale=0.01)
    assert run.figures["onboardings"] == 10
    assert run.figures["killed with a client id"] >= 1


async def test_another_secret_would_be_seen(tmp_path: Path) -> None:
    """A secret that the server has not given, and a Git token of another client, each break a promise."""
    async with DevWfm(tmp_path / "wfm", "--protocol", "token") as wfm:
        yaml = f"wfm: {{url: '{wfm.url}', protocol: token}}\nidentity: {{common_name: device-x}}\n{QUIET}"
        device = Device("device-x", Daemon(tmp_path, ca_file=wfm.ca_file, yaml=yaml), wfm, protocol="token")
        async with device.daemon:
            await device.daemon.until("enrolled")
        device.look()
        assert device.onboardings() == [201]
        for change, said in (
            ("UPDATE tokens SET value = value || 'x'", "not one of"),
            ("UPDATE secrets SET secret = 'x'", "another secret"),
            ("DELETE FROM secrets", "no secret"),
        ):
            with closing(sqlite3.connect(wfm.directory / "token.db", timeout=30)) as base, base:
                base.execute(change)
            with pytest.raises(Broken, match=said):
                device.look()


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
