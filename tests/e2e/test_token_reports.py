"""Reports of the `token` generation: in its words, what it has none for, and nothing of it in a downtime."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_outbox import beside, failed, outbox, recorded, status
from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm

pytestmark = pytest.mark.e2e


async def test_a_removal_is_not_said(tmp_path: Path) -> None:
    """It leaves the outbox in its turn, is in the journal, and no request is made of it; what comes after goes out."""
    async with DevWfm(tmp_path / "wfm", "--protocol", "token") as wfm, beside(wfm, tmp_path) as daemon:
        await daemon.until("enrolled")
        for number, state in enumerate(("installed", "removing", "removed", "pending"), 1):
            taken = await daemon.report("web", status(state))
            notes = [f"web: this generation has no word for {state}; not sent"] if number in (2, 3) else []
            assert (taken["number"], taken.get("notes", [])) == (number, notes)
        assert await recorded(wfm, 2) == [("web", "installed"), ("web", "pending")]
        await daemon.until_status(outbox(waiting=0, parked=0, last_error=None), "an empty outbox")
        for number, state in ((2, "removing"), (3, "removed")):
            line = await daemon.journal_line("report-not-said", having=f"number={number}")
            assert (f"state={state}" in line, "deployment_id=web" in line) == (True, True)
        sent = await wfm.requests("status")
        assert [request["status"] for request in sent] == [201, 201]
        code, out, _ = await daemon.command("deployment", "report", "web", "--state", "removed")
        assert (code, out) == (
            0,
            "Taken as report 5; not all of it is told to the WFM.\n"
            "note: web: this generation has no word for removed; not sent\n",
        )
        code, out, _ = await daemon.command("capabilities")
        assert (code, "Not said          deployments: removing and removed have no word here;" in out) == (0, True)


async def test_a_removal_says_nothing_of_the_wfm(tmp_path: Path) -> None:
    """It waits its turn behind what cannot be sent, and leaves then although the WFM is away; nobody was heard."""
    async with DevWfm(tmp_path / "wfm", "--protocol", "token") as wfm, beside(wfm, tmp_path) as daemon:
        await daemon.until("enrolled")
        await wfm.stop()
        await daemon.report("web", status("installed"))
        await daemon.report("web", status("removed"))
        await daemon.until_status(failed("connect-refused"), "a failed attempt")
        assert [item["state"] for item in await daemon.outbox()] == ["installed", "removed"]
        since = len(daemon.journal)
        assert (await daemon.command("deployment", "drop", "1"))[0] == 0
        await daemon.journal_line("report-not-said", since, having="number=2")
        found = await daemon.until_status(outbox(waiting=0), "an empty outbox")
        assert found["connection"] == "offline"


async def test_what_the_wfm_is_told_of_components(tmp_path: Path) -> None:
    """Each with its state and error, as in the drafts' example; what has no place is not there."""
    components: list[dict[str, Any]] = [
        {"name": "web", "state": "failed", "error": {"code": "E1", "source": "helm", "message": "no such image"}},
        {"name": "db", "state": "installed"},
        {"name": "old", "state": "removed"},
    ]
    async with DevWfm(tmp_path / "wfm", "--protocol", "token") as wfm, beside(wfm, tmp_path) as daemon:
        client_id = (await daemon.until("enrolled"))["client_id"]
        await daemon.report("line-1", {"components": components, "status": {"error": {"message": "web failed"}}})
        assert await recorded(wfm, 1) == [("line-1", "failed")]
        none = {"code": "", "message": ""}
        assert (await wfm.statuses())[0]["manifest"] == {
            "apiVersion": "deployment.margo/v1",
            "kind": "DeploymentStatus",
            "deploymentId": "line-1",
            "status": {"state": "Failed", "error": {"code": "", "message": "web failed"}},
            "components": [
                {"name": "web", "state": "Failed", "error": {"code": "E1", "message": "no such image"}},
                {"name": "db", "state": "Installed", "error": none},
            ],
        }
        request = (await wfm.requests("status"))[0]
        assert request["target"] == f"/device/{client_id}/deployment/line-1/status"
        names = {name.lower() for name, _ in request["fields"]}
        assert {"authorization", "x-payload-signature"} <= names
        assert "signature" not in names


async def test_capabilities_in_the_drafts_words(tmp_path: Path) -> None:
    """POST, then PUT of what changed, on the routes of that generation; what it cannot say is noted.

    Manifests of devices behind the gateway have no route: they are not looked at, and nobody waits for them.
    """
    said = f"children: {tmp_path}/none, runtimes: oci, deployment_types: helm, peripherals: '+gpu:NVIDIA:A2'"
    yaml = f"device: {{id: gw-17, vendor: V}}\ncapabilities: {{{said}}}"
    async with DevWfm(tmp_path / "wfm", "--protocol", "token") as wfm:
        daemon = beside(wfm, tmp_path, yaml)
        async with daemon:
            found = await daemon.until_status(lambda seen: seen["capabilities"]["accepted"], "reported")
            assert (found["device_id"], found["warnings"]) == ("gw-17", [])
            assert found["capabilities"]["children"] == 0
            properties = json.loads((await wfm.requests("capabilities"))[0]["body"])["properties"]
            assert properties["roles"] == ["standalone cluster"]
            gpu = {"name": "NVIDIA A2", "type": "GPU", "modelNumber": "A2", "properties": {"manufacturer": "NVIDIA"}}
            assert gpu in properties["peripherals"]
            code, out, _ = await daemon.command("capabilities", "--json")
            shown = json.loads(out)
            assert (code, shown["manifest"]["properties"]) == (0, properties)
            names = [note.partition(":")[0] for note in shown["notes"]]
            assert names[:3] == ["children", "deployment_types", "runtimes"]
            assert (await daemon.command("capabilities", "--diff"))[:2] == (0, "The WFM has all of it as it is.\n")
            daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml=yaml.replace("vendor: V", "vendor: W"))
            await wfm.fault("answer", route="capabilities", status=422, body='{"error": "properties.vendor: no"}')
            await daemon.reload()
            found = await daemon.until_status(lambda seen: bool(seen["warnings"]), "warned")
            assert "properties.vendor: no" in found["warnings"][0]["message"]
            code, out, _ = await daemon.command("capabilities", "--diff")
            assert (code, out.splitlines()[0]) == (3, 'vendor: "V" -> "W"')
            daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml=yaml.replace("vendor: V", "vendor: X"))
            await daemon.reload()
            await daemon.until_status(lambda seen: seen["capabilities"]["accepted"], "reported")
            asked = [(one["method"], one["target"]) for one in await wfm.requests("capabilities")]
            route = "/device/gw-17/capabilities"
            assert asked == [("POST", route), ("PUT", route), ("PUT", route)]
            assert (await wfm.devices())[0]["manifest"]["properties"]["vendor"] == "X"


async def test_a_manifest_of_another_generation_is_named(tmp_path: Path) -> None:
    """capabilities.file of `signed` is not sent; one of the drafts is, as it is."""
    file = tmp_path / "own.json"
    signed = Path(__file__).parent.parent / "data" / "DeviceCapabilities.signed.json"
    drafts = signed.with_name("DeviceCapabilities.token.json")
    file.write_bytes(signed.read_bytes())
    async with (
        DevWfm(tmp_path / "wfm", "--protocol", "token") as wfm,
        beside(wfm, tmp_path, f"capabilities: {{file: {file}}}") as daemon,
    ):
        found = await daemon.until("onboarded", "capabilities-invalid")
        assert "own.json: kind: not DeviceCapability" in found["detail"]
        assert await wfm.requests("capabilities") == []
        file.write_bytes(drafts.read_bytes())
        await daemon.reload()
        found = await daemon.until("enrolled")
        assert found["device_id"] == "northstarida.xtapro.k8s.edge"
        assert (await wfm.devices())[0]["manifest"] == json.loads(drafts.read_bytes())


async def test_another_generation_is_another_wfm(tmp_path: Path) -> None:
    """What was reported to a WFM of `signed` is parked for one of `token`, told it by a person alone, and kept."""
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        DevWfm(tmp_path / "other", "--protocol", "token") as other,
        beside(wfm, tmp_path) as daemon,
    ):
        await daemon.until("enrolled")
        await wfm.stop()
        await daemon.report("web", status("pending"))
        await daemon.report("db", status("failed", "no room"))
        await switch(daemon, other)
        found = await daemon.until_status(outbox(parked=2, waiting=0), "two parked")
        assert (found["wfm"]["protocol"], found["wfm"]["url"]) == ("token", other.url)
        assert {item["parked"] for item in await daemon.outbox()} == {"report-of-other-enrolment"}
        assert (await daemon.command("deployment", "retry", "2"))[0] == 0
        assert await recorded(other, 1) == [("db", "failed")]
        assert (await other.statuses())[0]["manifest"]["status"]["state"] == "Failed"
        await wfm.start()
        await switch(daemon, wfm)
        assert await recorded(wfm, 1) == [("web", "pending")]
        await daemon.until_status(outbox(parked=0, waiting=0), "an empty outbox")
        assert len(await other.statuses()) == 1


async def switch(daemon: Daemon, wfm: DevWfm) -> None:
    """Have it go to another WFM."""
    daemon.protocol = wfm.protocol
    daemon.configure(url=wfm.url, ca_file=wfm.ca_file)
    await daemon.reload()


async def test_nothing_leaves_in_a_downtime(tmp_path: Path) -> None:
    """No token is renewed and nothing reported while it lasts, whoever asks; after it all of it is, and no worry."""
    options = ("--protocol", "token", "--token-lifetime", "1")
    async with DevWfm(tmp_path / "wfm", *options) as wfm:
        daemon = beside(wfm, tmp_path)
        async with daemon:
            await daemon.until("enrolled")
            await daemon.report("web", status("installing"))
            await recorded(wfm, 1)
            assert (await daemon.command("downtime", "start", "4h"))[0] == 0
            await daemon.until_status(lambda found: bool(found["downtime"]["active"]), "downtime")
            before = await wfm.stats()
            await daemon.report("web", status("installed"))
            await asyncio.sleep(1.1)  # the token's end is the server's time, which is no event here
            await daemon.retry()
            daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml="device: {vendor: Another}")
            await daemon.reload()
            found = await daemon.until_status(outbox(waiting=1), "one waiting")
            assert found["outbox"]["last_error"] is None, "nothing went wrong"
            answer = await daemon.answer("GET", "/v1/wfm/onboarding/certificate")
            assert answer.status >= 400
            after = await wfm.stats()
            assert (after["requests"], after["connections"]) == (before["requests"], before["connections"])
            assert (await daemon.command("downtime", "stop"))[0] == 0
            assert (await recorded(wfm, 2))[-1] == ("web", "installed")
            await daemon.until_status(lambda seen: seen["capabilities"]["accepted"], "reported")
            assert (await wfm.devices())[0]["manifest"]["properties"]["vendor"] == "Another"
            assert (await wfm.stats())["requests"]["token"] > before["requests"]["token"]
            warned = [line for line in daemon.journal if line.startswith("<4>") and "socket-group" not in line]
            assert warned == []
