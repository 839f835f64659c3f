"""Desired state through running processes: deployed at the WFM, polled, verified, mirrored, shown, adopted."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import TIMEOUT, Daemon
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


async def test_it_is_there_without_the_wfm(tmp_path: Path) -> None:
    """After a restart without network the mirror is shown, and what the agent adopted; a person's retry asks now."""
    yaml = "schedule: {polling: {rate: 30d}}"
    async with DevWfm(tmp_path / "wfm") as wfm, Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=yaml) as daemon:
        await until_version(daemon, 1)
        await wfm.deploy("pump", TEXT)
        await daemon.retry()
        await until_version(daemon, 2)
        for body, code in (('{"manifestVersion": 3}', 409), ('{"manifestVersion": "2"}', 400), ("", 400)):
            assert (await daemon.answer("POST", "/v1/deployments/adopted", body)).status == code
        adopted = await daemon.answer("POST", "/v1/deployments/adopted", '{"manifestVersion": 2}')
        assert (adopted.status, adopted.json()["adopted"]) == (200, 2)
        await wfm.stop()
        await daemon.stop()
        await daemon.start()
        shown = await until_version(daemon, 2)
        assert shown["desired_state"]["adopted"] == 2
        assert (await daemon.answer("GET", "/v1/deployments/pump")).body == TEXT
        again = await daemon.answer("GET", "/v1/deployments")
        assert again.json()["adopted"] == 2


async def test_a_rollback_is_a_security_event(tmp_path: Path) -> None:
    """It is refused, said as a warning with what it is, shown in status, and ends when the WFM is right again."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        await wfm.deploy("pump", TEXT)
        async with Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=POLLS) as daemon:
            await until_version(daemon, 2)
            await wfm.spoil("version-back")
            line = await daemon.journal_line("desired-state-refused", having="security=yes")
            assert line.startswith("<4>")
            assert "code=manifest-rolled-back" in line
            status = await daemon.until_status(lambda s: s["desired_state"]["error"] is not None, "refused")
            error = status["desired_state"]["error"]
            assert (error["code"], error["detail"]) == ("manifest-rolled-back", "version 1; mirrored is 2")
            assert (status["state"], status["last_error"]) == ("enrolled", None)
            assert (await daemon.answer("GET", "/v1/deployments/pump")).body == TEXT
            code, out, _ = await daemon.command("status")
            assert code == 0
            assert "Not taken    manifest-rolled-back" in out
            assert max(map(len, out.splitlines())) <= 80
            await wfm.spoil()
            await daemon.retry()
            await daemon.journal_line("recovered", having="lane=polling")
            await daemon.until_status(lambda s: s["desired_state"]["error"] is None, "well")


@pytest.mark.parametrize("spoil", ["version-back", "version-still"])
async def test_a_person_lets_the_version_go_back(spoil: str, tmp_path: Path) -> None:
    """Once, as a warning with who did it: what comes next is taken whatever its version is; then it counts again."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        await wfm.deploy("pump", TEXT)
        async with Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=POLLS) as daemon:
            await until_version(daemon, 2)
            adopted = await daemon.answer("POST", "/v1/deployments/adopted", '{"manifestVersion": 2}')
            assert adopted.status == 200
            code, _, said = await daemon.command("deployments", "accept")
            assert (code, "No desired state is held back" in said) == (1, True), "not for what nobody has seen"
            await wfm.spoil(spoil)
            await daemon.journal_line("desired-state-refused", having="code=manifest-rolled-back")
            code, out, _ = await daemon.command("deployments", "accept")
            assert code == 0
            assert "asking for the desired state" in out
            taken = await daemon.journal_line("desired-state-accepted", having="security=yes")
            assert taken.startswith("<4>")
            status = await daemon.until_status(lambda s: s["desired_state"]["deployments"] == 0, "taken")
            version = 1 if spoil == "version-back" else 2
            assert (status["desired_state"]["manifest_version"], status["desired_state"]["adopted"]) == (version, None)
            line = await daemon.journal_line("desired-state-any-version")
            assert line.startswith("<4>")
            assert await daemon.journal_line("admin-request", having="/v1/deployments/accept")
            since = len(daemon.journal)
            await wfm.spoil()
            if spoil == "version-still":  # another content under the version that it has, once more
                await daemon.journal_line("desired-state-refused", since, having="with another content")
            else:
                await until_version(daemon, 2)


async def test_a_poll_makes_the_daily_question_needless(tmp_path: Path) -> None:
    """Where the desired state is asked for, nobody asks besides whether the device is known; who is not, is told."""
    yaml = f"{POLLS}\nonboarding: {{confirm: 1m}}"
    async with DevWfm(tmp_path / "wfm") as wfm, Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=yaml) as daemon:
        await until_version(daemon, 1)
        connections = (await wfm.stats())["connections"]
        polls = len(await wfm.requests("deployments"))
        while len(await wfm.requests("deployments")) < polls + 3:
            await daemon.journal_line("answer", len(daemon.journal), having="status=304")
        assert not [line for line in daemon.journal if "step=confirm" in line]
        assert (await wfm.stats())["connections"] == connections
        await wfm.forget(1)
        status = await daemon.until_status(lambda s: s["last_error"] is not None, "told of the WFM's word")
        assert (status["state"], status["last_error"]["code"]) == ("enrolled", "client-unknown")
        assert status["desired_state"]["manifest_version"] == 1


async def test_a_reset_takes_it_along(tmp_path: Path) -> None:
    """After a reset nothing of the former enrolment is shown, until the next one has its own."""
    async with DevWfm(tmp_path / "wfm", "--approval", "manual") as wfm:
        await wfm.deploy("pump", TEXT)
        async with Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=POLLS) as daemon:
            await daemon.until("pending-approval")
            unknown = await daemon.answer("GET", "/v1/deployments")
            assert (unknown.status, unknown.json()["error"]["code"]) == (404, "desired-state-unknown")
            assert "once this device is enrolled" in unknown.json()["error"]["hint"]
            await wfm.approve(1)
            await daemon.retry()
            await until_version(daemon, 2)
            assert (daemon.state / "mirror").exists()
            await daemon.post("/v1/reset?new_identity=true")
            await until_version(daemon, None)
            assert (await daemon.answer("GET", "/v1/deployments")).status == 404
            async with asyncio.timeout(TIMEOUT):
                while (daemon.state / "mirror").exists():  # shown no more, and let go in the turn of the disk
                    await asyncio.sleep(0.02)


async def test_a_person_looks(tmp_path: Path) -> None:
    """margod deployments: the list, JSON, one YAML byte for byte, adopted; without any, what to do."""
    yaml = "schedule: {polling: {rate: 30d}}"
    async with DevWfm(tmp_path / "wfm") as wfm, Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=yaml) as daemon:
        await until_version(daemon, 1)
        assert (await daemon.command("deployments"))[1].splitlines()[1:] == ["Nothing is to run here."]
        await wfm.deploy("pump-1.a", TEXT)
        code, out, _ = await daemon.command("retry")
        assert (code, out.splitlines()[0]) == (0, "asking for the desired state now")
        await until_version(daemon, 2)
        code, out, _ = await daemon.command("deployments")
        assert code == 0
        assert "nothing adopted yet" in out
        assert f"pump-1.a{'':36}  {digest(TEXT)[:27]}..." in out
        assert max(map(len, out.splitlines())) <= 80
        assert (await daemon.command("deployments", "show", "pump-1.a"))[:2] == (0, TEXT)
        code, _, err = await daemon.command("deployments", "show", "fan/../x")
        assert code == 1
        assert "no deployment of this id" in err
        assert (await daemon.command("deployments", "adopted", "2"))[:2] == (0, "Adopted: 2\n")
        assert '"adopted": 2' in (await daemon.command("deployments", "--json"))[1]
        assert "version 2, 1 deployment, adopted" in (await daemon.command("status"))[1]


async def test_a_downtime_is_silent(tmp_path: Path) -> None:
    """While it lasts nothing is asked for, the mirror is shown and a person's retry says so; then it goes on."""
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=POLLS) as daemon,
    ):
        await until_version(daemon, 1)
        assert (await daemon.command("downtime", "start", "1h"))[0] == 0
        await daemon.until_status(lambda s: s["downtime"]["active"], "in a downtime")
        shown = await daemon.until_status(lambda s: s["desired_state"]["next_poll_at"] is None, "silent")
        asked = len(await wfm.requests("deployments"))
        assert shown["last_error"] is None
        await wfm.deploy("pump", TEXT)
        await daemon.retry()
        assert (await daemon.answer("GET", "/v1/deployments")).json()["manifestVersion"] == 1
        assert len(await wfm.requests("deployments")) == asked
        assert (await daemon.command("downtime", "stop"))[0] == 0
        await daemon.until_status(lambda s: s["desired_state"]["next_poll_at"] is not None, "asking again")
        await daemon.retry()
        await until_version(daemon, 2)


async def test_another_identity_has_its_own(tmp_path: Path) -> None:
    """After a rotation the mirror is the new client's: asked for at once, whole, from whatever version on."""
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=POLLS) as daemon,
    ):
        await wfm.deploy("pump", TEXT)
        before = await until_version(daemon, 2)
        await daemon.post("/v1/identity/rotate")

        def rotated(status: dict[str, Any]) -> bool:
            desired = status["desired_state"]
            return status["client_id"] not in (None, before["client_id"]) and desired["manifest_version"] == 2

        after = await daemon.until_status(rotated, "mirrored for the new client")
        assert after["state"] == "enrolled"
        assert (await daemon.answer("GET", "/v1/deployments/pump")).body == TEXT
        asked = [record["client_id"] for record in await wfm.requests("bundle")]
        assert asked == [before["client_id"], after["client_id"]]
