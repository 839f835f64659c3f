"""The `token` generation through a running device: onboarding with a secret, a bearer token on every call."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.e2e.checked import CheckedDaemon
from tests.support.devwfm import DevWfm

TOKEN: Final = "protocol: token, timeout: 5s"
"""What a CheckedDaemon is given as `wfm`."""


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
