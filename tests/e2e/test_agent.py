"""A program on the device by `margod.client`, blocking and asyncio, with a running daemon and a WFM that verifies."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from margod.client import RequestRefused
from margod.client.agent import Agent
from margod.client.aio import AsyncAgent
from margod.model.errors import DaemonUnreachable
from tests.support.daemon import TIMEOUT, Daemon
from tests.support.devwfm import DevWfm

pytestmark = pytest.mark.e2e

YAML = b"kind: ApplicationDeployment\nmetadata: {name: a}\n"
DEPLOYMENTS = "/api/v1/clients/{clientId}/deployments"


def polling(directory: Path, wfm: DevWfm) -> Daemon:
    """A device that asks every second what is to run on it."""
    return Daemon(directory, url=wfm.url, ca_file=wfm.ca_file, yaml="schedule: {polling: {rate: 1s}}")


async def told(wfm: DevWfm, *states: str) -> None:
    """Wait until the WFM was told of these states, in this order."""
    found: tuple[str, ...] = ()
    try:
        async with asyncio.timeout(TIMEOUT):
            while (found := tuple(one["state"] for one in await wfm.statuses())) != states:
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"the WFM was told {found}, not {states}") from None


async def test_a_day_of_an_agent(tmp_path: Path) -> None:
    """Identity, desired state, its YAML, adopted, a report, and the WFM's own words through the door: both clients."""
    async with DevWfm(tmp_path / "wfm") as wfm, polling(tmp_path, wfm) as daemon:
        client_id = (await daemon.until("enrolled"))["client_id"]
        path = daemon.runtime / "agent/agent.sock"
        agent, blocking = AsyncAgent(path), Agent(path)
        public = await agent.identity()
        assert public is not None
        assert (public["client_id"], public["wfm_url"]) == (client_id, wfm.url)
        assert public["root_ca"] == wfm.ca_file.read_text()
        assert public == await asyncio.to_thread(blocking.identity)
        assert "PRIVATE" not in json.dumps(public)

        first = await agent.wait_for_deployments()
        assert first["deployments"] == []
        waiting = asyncio.ensure_future(agent.wait_for_deployments(after=first))
        also = asyncio.ensure_future(
            asyncio.to_thread(blocking.wait_for_deployments, first["manifestVersion"], TIMEOUT)
        )
        await wfm.deploy("a", YAML)
        async with asyncio.timeout(TIMEOUT):
            wanted = await waiting
            assert wanted == await also
        assert [each["deploymentId"] for each in wanted["deployments"]] == ["a"]
        assert await agent.deployment("a") == YAML == await asyncio.to_thread(blocking.deployment, "a")
        version = wanted["manifestVersion"]
        assert (await agent.adopted(version))["adopted"] == version
        with pytest.raises(RequestRefused) as caught:
            await agent.deployment("b")
        assert caught.value.status == 404

        number = await agent.report_state("a", "installing", components={"x": "installing"})
        later = await asyncio.to_thread(blocking.report_state, "a", "failed", errors={"": "no room"})
        assert later > number
        await told(wfm, "installing", "failed")
        with pytest.raises(RequestRefused) as caught:
            await agent.report_state("a", "dreaming")
        assert (caught.value.status, caught.value.code) == (400, "report-invalid")

        status, headers, body = await agent.wfm(DEPLOYMENTS)
        assert (status, json.loads(body)["manifestVersion"]) == (200, version)
        again = await asyncio.to_thread(blocking.wfm, DEPLOYMENTS, headers={"If-None-Match": headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        digest = wanted["deployments"][0]["digest"]
        assert (await asyncio.to_thread(blocking.wfm, f"{DEPLOYMENTS}/a/{digest}")).body == YAML
        for ask in (agent.wfm("/api/v1/onboarding", "POST"), asyncio.to_thread(blocking.wfm, "/x", body=b"{}")):
            with pytest.raises(RequestRefused) as caught:
                await ask
            assert (caught.value.status, caught.value.code) == (403, "door-closed")


async def test_a_daemon_that_goes(tmp_path: Path) -> None:
    """Its end is told from the end of a wait; where nobody answers, one error says where."""
    async with Daemon(tmp_path, yaml="discovery: {enabled: false}") as daemon:
        agent = AsyncAgent(daemon.runtime / "agent/agent.sock")
        events = agent.events()
        assert (await anext(events))["state"]
        blocking = Agent(daemon.runtime / "agent/agent.sock")
        assert await asyncio.to_thread(blocking.wait_for_deployments, None, 0.3) is None
        with pytest.raises(RequestRefused) as caught:
            await agent.deployments()
        assert caught.value.status == 404
    with pytest.raises(DaemonUnreachable, match="went away"):
        async with asyncio.timeout(TIMEOUT):
            while True:
                await anext(events)
    for ask in (agent.status(), asyncio.to_thread(blocking.wfm, "/x")):
        with pytest.raises(DaemonUnreachable, match=r"agent\.sock"):
            await ask


async def test_the_example(tmp_path: Path) -> None:
    """docs/example_agent.py: a folder as the WFM wants it, over a restart of the agent and one of the daemon."""
    example = Path(__file__).parents[2] / "docs/example_agent.py"
    assert len(example.read_text().splitlines()) <= 60
    folder = tmp_path / "folder"
    async with DevWfm(tmp_path / "wfm") as wfm, polling(tmp_path, wfm) as daemon:
        await daemon.until("enrolled")
        agent = await start(example, folder, daemon)
        try:
            await wfm.deploy("a", YAML)
            await told(wfm, "installing", "installed")
            assert (folder / "a.yaml").read_bytes() == YAML
            await daemon.stop()
            await daemon.start()
            await wfm.deploy("a", YAML + b"# changed\n")
            await daemon.until_status(lambda s: bool(s["desired_state"]["next_poll_at"]), "about to poll")
            await daemon.retry()  # a fleet's first polls after a restart are spread over a minute
            await told(wfm, *["installing", "installed"] * 2)
            assert (folder / "a.yaml").read_bytes() == YAML + b"# changed\n"
            agent.terminate()
            await agent.wait()
            await wfm.undeploy("a")
            await daemon.until_status(lambda s: s["desired_state"]["deployments"] == 0, "nothing wanted")
            agent = await start(example, folder, daemon)
            await told(wfm, *["installing", "installed"] * 2, "removing", "removed")
            assert list(folder.iterdir()) == []
            await says(agent, f"removed {folder / 'a.yaml'}")  # the WFM may have been told before the agent says so
        finally:
            if agent.returncode is None:
                agent.terminate()
            _, errors = await agent.communicate()
        assert errors == b""


async def says(agent: asyncio.subprocess.Process, wanted: str) -> None:
    """Wait until the agent has printed this line."""
    assert agent.stdout is not None
    async with asyncio.timeout(TIMEOUT):
        while (line := await agent.stdout.readline()).decode().rstrip("\n") != wanted:
            assert line, f"never {wanted!r}"


async def start(example: Path, folder: Path, daemon: Daemon) -> asyncio.subprocess.Process:
    """Run the example against a daemon."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(example),
        str(folder),
        env={**os.environ, "MARGOD_RUNTIME_DIR": str(daemon.runtime)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.parametrize("arguments", [(), ("a", "b"), ("--fast",)])
def test_the_example_says_how_it_is_called(arguments: tuple[str, ...]) -> None:
    """Called otherwise it says how it is to be called."""
    command = [sys.executable, "-m", "margod.demo.example_agent", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("usage: ")
    assert "FOLDER" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("margod.client.agent", {"asyncio", "ssl", "http.client", "urllib.request", "aiohttp", "margod.model.door"}),
        ("margod.client.aio", {"http.client", "urllib.request", "aiohttp", "cryptography", "structlog", "yaml"}),
    ],
)
def test_the_client_is_light(module: str, without: set[str]) -> None:
    """A program that uses it pays for the standard library's smallest parts, and for nothing that margod needs."""
    code = f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    loaded: list[Any] = json.loads(out)
    assert not without & set(loaded)
    ours = {name for name in loaded if name.startswith("margod.")}
    assert all(name.startswith(("margod.client", "margod.model")) for name in ours), ours
