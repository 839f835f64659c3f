"""The `token` generation through a running device: onboarding with a secret, a bearer token on every call."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from tests.e2e.checked import CheckedDaemon
from tests.support.devwfm import DevWfm

pytestmark = pytest.mark.e2e

TOKEN: Final = "protocol: token, timeout: 5s"
"""What a CheckedDaemon is given as `wfm`."""


async def at(daemon: CheckedDaemon, protocol: str) -> dict[str, Any]:
    """Wait until the device is enrolled in this generation."""
    return await daemon.until_status(
        lambda s: s["state"] == "enrolled" and s["wfm"]["protocol"] == protocol, f"enrolled by {protocol}"
    )


async def test_enrolled_and_known_after_a_restart(tmp_path: Path) -> None:
    """One onboarding, one token, one report; the secret is in the vault and holds over a restart."""
    async with (
        DevWfm(tmp_path / "wfm", "--protocol", "token") as wfm,
        CheckedDaemon(tmp_path / "d", url=wfm.url, wfm=TOKEN, ca_file=wfm.ca_file) as daemon,
    ):
        status = await daemon.until("enrolled")
        assert status["wfm"]["protocol"] == "token"
        client_id = status["client_id"]
        await daemon.stop()
        await daemon.restart()
        assert (await daemon.until("enrolled"))["client_id"] == client_id
        assert len(await wfm.requests("onboarding")) == 1
        assert len(await wfm.requests("capabilities")) == 1
        assert len(await wfm.requests("token")) == 1, "nothing was asked since"


async def test_a_wfm_that_learns_another_generation(tmp_path: Path) -> None:
    """What `signed` has enrolled is archived and not read as `token`'s, at the same URL; and back again, unasked."""
    first = DevWfm(tmp_path / "first")
    daemon = CheckedDaemon(tmp_path / "d", url="https://127.0.0.1:1", wfm=TOKEN)
    async with AsyncExitStack() as ended:
        async with first:
            daemon.configure(url=first.url, ca_file=first.ca_file)
            await ended.enter_async_context(daemon)
            enrolled = await daemon.until("enrolled")
        port = urlsplit(first.url).port
        second = await ended.enter_async_context(
            DevWfm(tmp_path / "second", "--protocol", "token", "--listen", f"127.0.0.1:{port}")
        )
        assert second.url == first.url
        yaml = f'wfm: {{url: "{second.url}", protocol: token}}\ntrust: {{ca_file: {second.ca_file}}}'
        daemon.configure(yaml=yaml)
        await daemon.reload()
        other = await at(daemon, "token")
        assert other["client_id"] != enrolled["client_id"]
        assert other["identity"]["fingerprint"] == enrolled["identity"]["fingerprint"]
        seen = len(await second.requests())
        daemon.configure(url=second.url, ca_file=first.ca_file)
        await daemon.reload()
        back = await at(daemon, "signed")
        assert back["client_id"] == enrolled["client_id"]
        assert len(await second.requests()) == seen
