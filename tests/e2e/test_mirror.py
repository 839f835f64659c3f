"""Desired state through running processes: deployed at the WFM, polled, verified, mirrored, shown, adopted."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm

pytestmark = pytest.mark.e2e

POLLS = "schedule: {polling: {rate: 1s}}"
TEXT = "kind: ApplicationDeployment\nmetadata: {name: pump}\n"
OTHER = "kind: ApplicationDeployment\nmetadata: {name: fan}\n"


def digest(text: str) -> str:
    """Return the digest as the manifest writes it."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


async def until_version(daemon: Daemon, version: int | None) -> dict[str, Any]:
    """Wait on the events until the mirror has this manifest version."""

    def reached(status: dict[str, Any]) -> bool:
        return bool(status["desired_state"]["manifest_version"] == version)

    return await daemon.until_status(reached, f"at manifest version {version}")


async def test_what_is_deployed_is_mirrored(tmp_path: Path) -> None:
    """deploy, poll, mirror, GET on the agent socket: list and YAML; a change is an event; what is removed goes."""
    async with DevWfm(tmp_path / "wfm", prefix="/v1alpha2/margo") as wfm:
        await wfm.deploy("pump", TEXT)
        async with Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=POLLS) as daemon:
            status = await until_version(daemon, 2)
            assert status["desired_state"]["complete"] is True
            listed = (await daemon.answer("GET", "/v1/deployments")).json()
            assert listed["manifestVersion"] == 2
            assert listed["deployments"] == [{"deploymentId": "pump", "digest": digest(TEXT)}]
            one = await daemon.answer("GET", "/v1/deployments/pump", socket="admin/admin.sock")
            assert (one.status, one.body, one.headers["etag"]) == (200, TEXT, f'"{digest(TEXT)}"')
            assert (await daemon.answer("GET", "/v1/deployments", socket="status.sock")).status == 404
            await wfm.deploy("fan", OTHER)
            await until_version(daemon, 3)
            await wfm.undeploy("pump")
            await until_version(daemon, 4)
            gone = await daemon.answer("GET", "/v1/deployments/pump")
            assert (gone.status, gone.json()["error"]["code"]) == (404, "deployment-unknown")
            assert (await daemon.answer("GET", "/v1/deployments/fan")).body == OTHER
