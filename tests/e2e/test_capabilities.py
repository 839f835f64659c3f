"""What the device reports: as it is, again when it changes, and of the devices behind it, by a running daemon."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm
from tests.support.machine import Machine, as_root

pytestmark = pytest.mark.e2e

OPENAPI = yaml.safe_load((Path(__file__).parents[1] / "data" / "openapi.signed.yaml").read_text())
SCHEMA = {"$ref": "#/components/schemas/DeviceCapabilitiesManifest", **OPENAPI}
GATEWAY = "device: {id: gw-17, vendor: V, model_number: M, serial_number: S}\n"


async def manifests(wfm: DevWfm) -> dict[str, dict[str, Any]]:
    """Return the properties of what the WFM has, by device id, each judged by the published schema."""
    found = {device["device_id"]: device["manifest"] for device in await wfm.devices()}
    for manifest in found.values():
        jsonschema.validate(manifest, SCHEMA, jsonschema.Draft202012Validator)
    return {name: manifest["properties"] for name, manifest in found.items()}


async def asked(wfm: DevWfm, since: int = 0) -> list[tuple[str, str, int | None]]:
    """Return method, device id and status of every capabilities request from the one of this number on."""
    found = (await wfm.requests("capabilities"))[since:]
    return [(each["method"], each["target"].partition("/capabilities/")[2], each["status"]) for each in found]


def child(directory: Path, device_id: str, **more: object) -> Path:
    """Write the manifest of a device behind the gateway."""
    directory.mkdir(exist_ok=True)
    properties = {"id": device_id, "vendor": "P", "modelNumber": "PLC", "serialNumber": "1", **more}
    file = directory / f"{device_id.replace('/', '_')}.json"
    body = {"apiVersion": "device.margo.org/v1alpha1", "kind": "DeviceCapabilitiesManifest", "properties": properties}
    file.write_text(json.dumps(body))
    return file


async def report_accepted(daemon: Daemon, since: int = 0) -> int:
    """Wait for the line of the next accepted report after line `since`; return the number of the line behind it."""
    line = await daemon.journal_line("accepted", since, having="step=report")
    return daemon.journal.index(line, since) + 1


def whole(status: dict[str, Any]) -> bool:
    """Return whether the WFM has all of it."""
    return bool(status["state"] == "enrolled" and status["capabilities"]["accepted"])


async def test_what_is_shown_is_what_is_reported(tmp_path: Path) -> None:
    """The command's manifest is the WFM's, each value has its source, and --diff tells old from new."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        settings = "capabilities: {interfaces: [+canbus], runtimes: oci, deployment_types: [compose, helm], "
        settings += "peripherals: ['gpu:NVIDIA:A2'], otel_collector: present, withhold: [storage]}"
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=settings)
        async with daemon:
            status = await daemon.until_status(whole, "reported")
            code, out, _ = await daemon.command("capabilities", "--json")
            shown = json.loads(out)
            properties = (await manifests(wfm))[status["client_id"]]
            assert (code, shown["manifest"]["properties"]) == (0, properties)
            assert properties["supportedDeploymentTypes"] == ["helm", "compose"]
            assert properties["peripherals"] == [{"type": "gpu", "manufacturer": "NVIDIA", "model": "A2"}]
            assert {"type": "canbus"} in properties["interfaces"]
            assert properties["otelCollector"] is True
            assert "storage" not in properties
            sources = {(each["name"], str(each["value"])): each["source"] for each in shown["values"]}
            assert sources["interfaces", "canbus"] == "setting"
            assert sources["storage", "None"] == "withheld"
            assert (await daemon.command("capabilities", "--diff"))[:2] == (0, "The WFM has all of it as it is.\n")

            await wfm.fault("answer", route="capabilities", times=0, status=503)
            daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml=settings.replace("storage", "memory"))
            await daemon.reload()
            status = await daemon.until_status(lambda seen: bool(seen["last_error"]), "refused")
            assert (status["state"], status["capabilities"]["accepted"]) == ("enrolled", False)
            code, out, _ = await daemon.command("capabilities", "--diff")
            changes, last = out[: out.index("It is")].splitlines(), out[out.index("It is") :]
            assert (code, sorted(line.partition(":")[0] for line in changes)) == (3, ["memory", "storage"])
            assert last.startswith("It is reported as soon as the WFM takes it")
            await daemon.stop(signal.SIGKILL)
        await wfm.clear_faults()
        async with daemon:  # a report is repeated until it is accepted, whatever comes between
            await daemon.until_status(whole, "reported")
            assert "memory" not in (await manifests(wfm))[status["client_id"]]
            methods = [method for method, _, _ in await asked(wfm)]
            assert (methods[0], set(methods[1:])) == ("POST", {"PUT"})


async def test_a_refused_field_is_named_and_the_device_stays_enrolled(tmp_path: Path) -> None:
    """422 to an update: the state is enrolled, the field is in status until the WFM takes it."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        async with daemon:
            await daemon.until_status(whole, "reported")
            body = '{"error": "properties.vendor: not a vendor of ours"}'
            await wfm.fault("answer", route="capabilities", times=1, status=422, body=body)
            daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml="device: {vendor: Another}")
            await daemon.reload()
            status = await daemon.until_status(lambda seen: bool(seen["warnings"]), "warned")
            said = {warning["code"]: warning["message"] for warning in status["warnings"]}
            assert "properties.vendor: not a vendor of ours" in said["capabilities-refused"]
            assert status["state"] == "enrolled"
            daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml="device: {vendor: Ours}")
            await daemon.reload()
            status = await daemon.until_status(whole, "reported")
            assert status["warnings"] == []


async def test_children_come_after_their_parents_and_go_by_delete(tmp_path: Path) -> None:
    """Parents first, slashes raw; a restart repeats nothing; what is taken away is unregistered, deepest first."""
    children = tmp_path / "children"
    child(children, "gw-17/line-1/plc-1")
    child(children, "gw-17/line-1")
    child(children, "gw-17/a")
    said = GATEWAY + f"capabilities: {{children: {children}, settle: 1s, look: 1s}}"
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=said)
        async with daemon:
            status = await daemon.until_status(whole, "reported")
            assert status["capabilities"]["children"] == 3
            names = ["gw-17", "gw-17/a", "gw-17/line-1", "gw-17/line-1/plc-1"]
            assert await asked(wfm) == [("POST", name, 201) for name in names]
        async with daemon:
            await daemon.until_status(whole, "reported")
            since = len(daemon.journal)
            child(children, "gw-17/a", vendor="Q").with_name("x.tmp").write_text("not looked at")
            await daemon.journal_line("child-reported", since, having="gw-17/a")
            assert await asked(wfm, 4) == [("PUT", "gw-17/a", 201)]
            for file in children.glob("gw-17_line-1*"):
                file.unlink()
            await daemon.journal_line("child-removed", having="device_id=gw-17/line-1/plc-1")
            await daemon.until_status(whole, "reported")
            assert await asked(wfm, 5) == [("DELETE", name, 204) for name in reversed(names[2:])]
            assert set(await manifests(wfm)) == {"gw-17", "gw-17/a"}
            daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml=GATEWAY)
            code, out, _ = await daemon.command("reload")
            assert (code, "1 device behind this one is unregistered" in out) == (0, True)
            assert (await daemon.journal_line("child-removed", having="device_id=gw-17/a")).startswith("<4>")


async def test_a_directory_that_is_gone_removes_nobody(tmp_path: Path) -> None:
    """A directory or manifest that cannot be used is said with file and field; the WFM keeps what it has."""
    children, away = tmp_path / "children", tmp_path / "away"
    child(children, "gw-17/a")
    said = GATEWAY + f"capabilities: {{children: {children}, settle: 1s, look: 1s}}"
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=said)
        async with daemon:
            await daemon.until_status(whole, "reported")
            children.rename(away)
            status = await daemon.until_status(lambda seen: bool(seen["warnings"]), "warned")
            assert status["warnings"][0]["code"] == "capabilities-invalid"
            assert str(children) in status["warnings"][0]["message"]
            away.rename(children)
            await daemon.until_status(lambda seen: not seen["warnings"], "mended")
            await daemon.journal_line("recovered", having="code=capabilities-invalid")
            child(children, "gw-17/b", cpu=[{"cores": 0}])
            child(children, "gw-17/c")
            await daemon.journal_line("child-reported", having="gw-17/c")
            code, out, _ = await daemon.command("capabilities")
            said = " ".join(out.split())  # lines end where the path of this test makes them
            assert (code, "gw-17_b.json: properties.cpu[0].cores: not a whole number" in said) == (5, True)
            assert set(await manifests(wfm)) == {"gw-17", "gw-17/a", "gw-17/c"}
            assert (await daemon.status())["state"] == "enrolled"


async def test_who_asks_is_told_the_same_by_command_and_status(tmp_path: Path) -> None:
    """A look by `margod capabilities` counts for the daemon: status and journal know what it has seen."""
    children, away = tmp_path / "children", tmp_path / "away"
    child(children, "gw-17/a")
    said = GATEWAY + f"capabilities: {{children: {children}}}"
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=said)
        async with daemon:
            await daemon.until_status(whole, "reported")
            child(children, "gw-17/a", vendor="Q")
            code, out, _ = await daemon.command("capabilities", "--diff")
            first, _, last = out.partition("\n")
            assert (code, first) == (3, "gw-17/a: changed since it was reported")
            assert last.startswith("It is reported at 20")
            assert last.endswith("`margod reload` reports it now.\n")
            assert (await daemon.status())["capabilities"] == {"accepted": False, "settling": True, "children": 1}
            since = len(daemon.journal)
            await daemon.reload()
            await daemon.journal_line("child-reported", since, having="gw-17/a")
            await daemon.until_status(whole, "reported")
            children.rename(away)
            code, out, _ = await daemon.command("capabilities", "--diff")
            assert (code, "The WFM has all" in out, str(children) in out) == (5, False, True)
            await daemon.until_status(lambda seen: bool(seen["warnings"]), "warned")  # asked twice within 10 s: soon


async def test_a_refused_child_is_named_and_holds_nobody_up(tmp_path: Path) -> None:
    """422 to one child: it is named in status, the others are reported, and that survives SIGKILL."""
    children = tmp_path / "children"
    said = GATEWAY + f"capabilities: {{children: {children}}}"
    children.mkdir()
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=said)
        async with daemon:
            await daemon.until_status(whole, "reported")
            for name in ("gw-17/a", "gw-17/a/x", "gw-17/b"):
                child(children, name)
            await wfm.fault("answer", route="capabilities", times=1, status=422, body='{"error": "serialNumber: bad"}')
            await daemon.reload()
            status = await daemon.until_status(lambda seen: bool(seen["warnings"]), "warned")
            assert [(warning["code"], warning["message"]) for warning in status["warnings"]] == [
                (
                    "child-refused",
                    "The WFM does not accept what this gateway reports of a device behind it. "
                    "gw-17/a: HTTP 422: serialNumber: bad",
                )
            ]
            assert (status["state"], status["capabilities"]["accepted"]) == ("enrolled", False)
            line = await daemon.journal_line("child-refused", having="device_id=gw-17/a")
            assert line.startswith("<4>")
            assert "serialNumber: bad" in line
            await daemon.journal_line("child-reported", having="gw-17/b")
            await daemon.until_status(lambda seen: bool(seen["next_attempt_at"]), "kept")
            assert set(await manifests(wfm)) == {"gw-17", "gw-17/b"}
            await daemon.stop(signal.SIGKILL)
        before = len(await asked(wfm))
        async with daemon:
            await daemon.until_status(whole, "reported")
            assert [name for _, name, _ in await asked(wfm, before)] == ["gw-17/a", "gw-17/a/x"]


async def test_a_complete_manifest_takes_the_place_of_everything(tmp_path: Path) -> None:
    """capabilities.file, JSON or YAML: sent as it is under its own id; while it is broken nothing else is reported."""
    file = tmp_path / "own.yaml"
    file.write_text("kind: DeviceCapabilitiesManifest\nproperties: {id: gw-9}\n")
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=f"capabilities: {{file: {file}}}")
        async with daemon:
            status = await daemon.until("onboarded", "capabilities-invalid")
            assert "own.yaml: apiVersion: missing" in status["detail"]
            assert await asked(wfm) == []
            file.write_text(
                "apiVersion: device.margo.org/v1alpha1\nkind: DeviceCapabilitiesManifest\n"
                "properties: {id: gw-9, vendor: V, modelNumber: M, serialNumber: '017'}\n"
                "x-site-extensions: {floor: 3}\n"
            )
            await daemon.reload()
            status = await daemon.until_status(whole, "reported")
            assert status["device_id"] == "gw-9"
            assert await manifests(wfm) == {
                "gw-9": {"id": "gw-9", "vendor": "V", "modelNumber": "M", "serialNumber": "017"}
            }
            file.write_text("{")
            await daemon.reload()
            status = await daemon.until_status(lambda seen: bool(seen["warnings"]), "warned")
            assert (status["state"], status["device_id"]) == ("enrolled", "gw-9")
            assert len(await asked(wfm)) == 1


@as_root
async def test_a_change_of_the_device_is_reported_once_it_has_held(tmp_path: Path) -> None:
    """What is plugged in is found, waits to hold, and is reported by PUT; what comes and goes again is not."""
    machine = Machine(tmp_path / "sys", serial="S-17", mac="00:1b:21:00:00:01")
    machine.write("class/net/eth0/type", "1")
    async with DevWfm(tmp_path / "wfm") as wfm:
        long, short = (f"capabilities: {{settle: {settle}, look: 1s}}" for settle in ("1h", "1s"))
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=long)
        daemon.prefix = machine.prefix
        async with daemon:
            status = await daemon.until_status(whole, "reported")
            line = await report_accepted(daemon)
            own = status["client_id"]
            assert (await manifests(wfm))[own]["interfaces"] == [{"type": "ethernet"}]
            machine.write("class/tty/ttyS0/type", "4")
            await daemon.until_status(lambda seen: seen["capabilities"]["settling"], "settling")
            machine.write("class/tty/ttyS0/type", "0")
            await daemon.until_status(lambda seen: not seen["capabilities"]["settling"], "settled")
            assert len(await asked(wfm)) == 1
            daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml=short)
            await daemon.reload()
            machine.write("class/tty/ttyS0/type", "4")
            line = await report_accepted(daemon, line)
            assert (await manifests(wfm))[own]["interfaces"] == [{"type": "ethernet"}, {"type": "rs232"}]
            daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml=long)
            await daemon.reload()
            machine.write("class/tty/ttyS0/type", "0")
            await daemon.until_status(lambda seen: seen["capabilities"]["settling"], "settling")
            await daemon.retry()  # a person asks: at once
            await report_accepted(daemon, line)
            assert [method for method, _, _ in await asked(wfm)] == ["POST", "PUT", "PUT"]


@as_root
async def test_a_device_that_comes_is_looked_at(tmp_path: Path) -> None:
    """The kernel's word that something was added is enough: nobody waits for the next look, an hour away."""
    machine = Machine(tmp_path / "sys", serial="S-17")
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml="capabilities: {settle: 1s}")
        daemon.prefix = machine.prefix
        async with daemon:
            status = await daemon.until_status(whole, "reported")
            line = await report_accepted(daemon)
            machine.write("class/tty/ttyS0/type", "4")
            subprocess.run(["ip", "link", "add", "caps0", "type", "veth", "peer", "name", "caps1"], check=True)
            try:
                await daemon.journal_line("device-changed")
            finally:
                subprocess.run(["ip", "link", "del", "caps0"], check=True)
            await report_accepted(daemon, line)
            assert {"type": "rs232"} in (await manifests(wfm))[status["client_id"]]["interfaces"]
