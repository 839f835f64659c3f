"""The desired state in Git when something happens in the middle: rotation, kill, stop, move, downtime; and a proxy."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_token import TOKEN
from tests.e2e.test_token_git import OTHER, POLLS, Device, answers, elsewhere, handed, names
from tests.support.devwfm import DevWfm
from tests.support.gitserver import GitServer
from tests.support.proxyserver import ProxyServer

pytestmark = pytest.mark.e2e


class Held:
    """A Git server that holds an answer back until it is let go."""

    def __init__(self, git: GitServer, token: str = "") -> None:
        """Hold from now on; `token`: only who comes with this one."""
        self._git, self._go, self.asked = git, threading.Event(), threading.Event()
        self._only = base64.b64encode(f"oauth2:{token}".encode()).decode() if token else ""
        git.before = self._hold

    def _hold(self, handler: Any) -> bool:
        if self._only not in handler.headers.get("Authorization", ""):
            return False
        self.asked.set()
        self._go.wait(90.0)
        return False

    async def until_asked(self) -> None:
        """Wait until somebody waits for an answer."""
        assert await asyncio.to_thread(self.asked.wait, 60.0)

    def let_go(self) -> None:
        """Answer."""
        self._git.before = None
        self._go.set()


def children(device: Device) -> list[int]:
    """Return the processes that the daemon has started."""
    assert device.process is not None
    pid = device.process.pid
    found = [task.read_text().split() for task in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for each in found for child in each]


async def until_gone(pids: list[int]) -> None:
    """Wait until these processes are gone."""
    async with asyncio.timeout(60):
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            await asyncio.sleep(0.02)


async def test_a_token_that_rotates_while_a_fetch_runs(tmp_path: Path) -> None:
    """The token ends between two requests of one fetch: the same poll goes on with the next one."""
    async with elsewhere(tmp_path) as (wfm, git, device):
        await device.version(1)
        await names(wfm, git, "token-2")

        def rotates(handler: Any) -> bool:
            if handler.command == "POST":
                git.tokens, git.before = {"token-2"}, None
            return False

        git.before = rotates
        git.commit({"fan.yaml": OTHER.encode()}, parent=git.git("rev-parse", "main"))
        await device.version(2)
        assert device.token() == "token-2"
        assert not [line for line in device.journal if "desired-state-refused" in line]


async def test_a_kill_while_tokens_rotate(tmp_path: Path) -> None:
    """SIGKILL at any moment of a rotation: the old token or the new one; what was acknowledged is never lost."""
    chance = random.Random(6)
    async with elsewhere(tmp_path) as (_, git, device):
        await device.version(1)
        for turn in range(2, 6):
            before, new = device.token(), f"token-{turn}"
            git.tokens = {before, new}
            asking = asyncio.ensure_future(handed(device, {"accessToken": new}))
            await asyncio.wait({asking}, timeout=chance.uniform(0.0, 1.2))
            await device.stop(signal.SIGKILL)
            with suppress(OSError, ValueError, LookupError):
                await asking
            acknowledged = asking.exception() is None and asking.result()[0] == 200
            assert device.token() in {before, new}
            await device.restart()
            await device.retry()
            await device.fine()
            async with asyncio.timeout(60):
                while waiting(device):  # also one that nobody was told of is tried, and not while the next one is
                    await asyncio.sleep(0.05)  # a file tells nobody
            if acknowledged:
                await device.until_token(new)
            assert (await device.status())["desired_state"]["manifest_version"] == 1


async def test_what_waits_survives_a_kill(tmp_path: Path) -> None:
    """A token that nobody can prove now is acknowledged as waiting; after SIGKILL it is tried and taken."""
    async with elsewhere(tmp_path) as (_, git, device):
        device.secrets = ("token-2",)
        await device.version(1)
        git.tokens, git.before = {"token-2"}, answers(503)
        assert await handed(device, {"access_token": "token-2", "expires_at": "2096-01-01T00:00:00Z"}) == (200, False)
        assert device.token() == "token-1"
        await device.stop(signal.SIGKILL)
        git.before = None
        await device.restart()
        await device.retry()
        await device.until_token("token-2")
        await device.fine()
        newest = max(device.state.glob("gen-*"))
        assert json.loads((newest / "git.json").read_bytes())["expiresAt"] == 3976214400.0
        assert not (newest / "git-next.json").exists()


@pytest.mark.parametrize("good", ["AB", "B", "A"])
async def test_two_tokens_that_are_handed_over(good: str, tmp_path: Path) -> None:
    """The second one comes while the first is tried: each is tried and answered for itself, and the last good stays."""
    async with elsewhere(tmp_path) as (_, git, device):
        device.secrets = ("token-A", "token-B")
        await device.version(1)
        git.tokens = {"token-1", *(f"token-{name}" for name in good)}
        held = Held(git, "token-A")
        asking = [asyncio.ensure_future(handed(device, {"accessToken": "token-A"}))]
        await held.until_asked()
        asking.append(asyncio.ensure_future(handed(device, {"accessToken": "token-B"})))
        async with asyncio.timeout(60):
            while "token-B" not in waiting(device):
                await asyncio.sleep(0.02)
        held.let_go()
        answered = await asyncio.gather(*asking)
        assert answered == [(200, True) if name in good else (409, "git-token-not-taken") for name in "AB"]
        assert (device.token(), waiting(device)) == (f"token-{good[-1]}", "")


def waiting(device: Device) -> str:
    """Return the record of what was handed over and is not proven."""
    file = max(device.state.glob("gen-*"), key=lambda one: one.name) / "git-next.json"
    with suppress(OSError):
        return file.read_text()
    return ""


@pytest.mark.parametrize("how", ["move", "reset"])
async def test_the_files_token_stays_with_its_host(how: str, tmp_path: Path) -> None:
    """Another WFM, or the same one after a reset, names another Git host: it is not sent what the file holds."""
    file = tmp_path / "token"
    file.write_text("token-file\n")
    (tmp_path / "other").mkdir()
    filed = f"desired_state: {{git: {{token_file: {file}}}}}"
    async with elsewhere(tmp_path, yaml=filed) as (wfm, git, device):
        device.secrets = ("token-file", "token-other")
        git.tokens = {"token-1", "token-file"}
        await device.journal_line("git-token-taken", having="desired_state.git.token_file")
        sent: list[str] = []
        with GitServer(tmp_path / "other") as other:
            other.tokens = {"token-other"}
            other.commit({"fan.yaml": OTHER.encode()})

            def looks(handler: Any) -> bool:
                sent.append(handler.headers.get("Authorization", ""))
                return False

            other.before = looks
            (tmp_path / "both.pem").write_text(git.ca_file.read_text() + other.ca_file.read_text())
            async with DevWfm(tmp_path / "new", "--protocol", "token", "--git-later") as new:
                at = new if how == "move" else wfm
                await names(at, other, "token-other")  # before the reset, after which it asks at once
                if how == "reset":
                    assert (await device.command("reset", "--yes"))[0] == 0
                hosts = f'token: {{allowed_hosts: ["localhost:{git.port}", "localhost:{other.port}"]}}'
                trust = f"trust: {{ca_file: {at.ca_file}, token_endpoint_ca_file: {tmp_path / 'both.pem'}}}"
                device.configure(yaml=f'wfm: {{url: "{at.url}", {TOKEN}}}\n{POLLS}\n{hosts}\n{trust}\n{filed}')
                await device.reload()
                await device.journal_line("git-token-not-taken", having=f"localhost:{git.port}")
                await device.until_token("token-other")
                await device.fine()
        assert {base64.b64decode(one.removeprefix("Basic ")) for one in sent if one} == {b"oauth2:token-other"}


async def test_a_stop_ends_the_fetch(tmp_path: Path) -> None:
    """A stop in the middle of a fetch takes its process along; nothing of the token is in arguments or environment."""
    async with elsewhere(tmp_path) as (_, git, device):
        await device.version(1)
        held = Held(git)
        await held.until_asked()
        pids = children(device)
        assert pids
        for pid in pids:
            for name in ("cmdline", "environ"):
                assert b"token-1" not in Path(f"/proc/{pid}/{name}").read_bytes()
        assert await device.stop() == 0
        await until_gone(pids)
        held.let_go()
        await device.restart()
        await device.retry()
        await device.fine()


async def test_a_move_ends_the_fetch(tmp_path: Path) -> None:
    """Another WFM: the fetch for the old one is ended, and its token is sent nowhere else."""
    async with elsewhere(tmp_path) as (_, git, device), DevWfm(tmp_path / "new", "--protocol", "token") as new:
        await new.deploy("fan", OTHER)
        before = await device.version(1)
        held = Held(git)
        await held.until_asked()
        pids = children(device)
        yaml = f'wfm: {{url: "{new.url}", {TOKEN}}}\n{POLLS}'
        device.configure(ca_file=new.ca_file, yaml=yaml)
        await device.reload()
        await until_gone(pids)
        there = (None, before["commit"])  # each has one deployment
        await device.desired(lambda desired: desired["commit"] not in there and desired["complete"], "at the new one")
        assert (await device.answer("GET", "/v1/deployments/fan")).body == OTHER
        held.let_go()
        assert {request["status"] for request in await new.requests("repository")} == {200}


async def test_a_change_of_generation_takes_the_mirror_along(tmp_path: Path) -> None:
    """A reload from `signed` to `token` and back: the directory is handed over, and each has its own."""
    async with (
        DevWfm(tmp_path / "signed") as old,
        DevWfm(tmp_path / "token", "--protocol", "token") as new,
        Device(tmp_path / "d", url=old.url, ca_file=old.ca_file, yaml=POLLS) as device,
    ):
        await old.deploy("pump", "kind: A\n")
        await new.deploy("fan", OTHER)
        await device.version(2)
        device.configure(ca_file=new.ca_file, yaml=f'wfm: {{url: "{new.url}", {TOKEN}}}\n{POLLS}')
        await device.reload()
        found = await device.version(1)
        assert found["commit"] is not None
        assert (await device.answer("GET", "/v1/deployments/fan")).body == OTHER
        device.configure(ca_file=old.ca_file, yaml=f'wfm: {{url: "{old.url}"}}\n{POLLS}')
        await device.reload()
        assert (await device.version(2))["commit"] is None
        assert (await device.answer("GET", "/v1/deployments/pump")).status == 200


async def test_nothing_is_fetched_in_a_downtime(tmp_path: Path) -> None:
    """Neither by the rate nor by a person nor for a token; afterwards it goes on."""
    async with elsewhere(tmp_path) as (_, git, device):
        await device.version(1)
        await device.post("/v1/downtime/start?seconds=3600")
        await device.desired(lambda desired: desired["next_poll_at"] is None, "silent")
        await until_gone(children(device))  # a fetch that was under way ends
        asked = len(git.requests)
        git.tokens = {"token-2"}
        assert await handed(device, {"accessToken": "token-2"}) == (200, False)
        await device.retry()
        git.commit({"fan.yaml": OTHER.encode()}, parent=git.git("rev-parse", "main"))
        assert children(device) == []
        assert len(git.requests) == asked
        await device.post("/v1/downtime/stop")
        await device.version(2)
        assert device.token() == "token-2"


async def test_the_proxy_is_for_git_too(tmp_path: Path) -> None:
    """wfm.proxy with its credentials is on the way to the repository as it is to the WFM."""
    credentials = tmp_path / "credentials"
    credentials.write_text("gateway:pass-1")
    with GitServer(tmp_path) as git:
        git.commit({"pump.yaml": OTHER.encode()})
        async with (
            ProxyServer(authorization="Basic Z2F0ZXdheTpwYXNzLTE=") as proxy,
            DevWfm(tmp_path / "wfm", "--protocol", "token", "--git-later") as wfm,
        ):
            await names(wfm, git, "token-1")
            settings = f'{TOKEN}, proxy: "{proxy.url}", proxy_credentials_file: {credentials}'
            yaml = f'{POLLS}\ntoken: {{allowed_hosts: "localhost:{git.port}"}}\n'
            yaml += f"trust: {{ca_file: {wfm.ca_file}, token_endpoint_ca_file: {git.ca_file}}}"
            async with Device(tmp_path / "d", url=wfm.url, wfm=settings, yaml=yaml) as device:
                await device.version(1)
                assert f"localhost:{git.port}" in " ".join(map(str, proxy.asked))


async def test_a_damaged_mirror_is_fetched_again(tmp_path: Path) -> None:
    """A file of the mirror that rots is fetched again, although the branch has not moved."""
    async with elsewhere(tmp_path) as (_, git, device):
        first = await device.version(1)
        (file,) = device.state.glob("mirror/d-*")
        os.truncate(file, 3)
        assert (await device.answer("GET", "/v1/deployments/pump")).status in (200, 503)
        await device.journal_line("mirror-damaged")
        await device.fine()
        assert (await device.answer("GET", "/v1/deployments/pump")).status == 200
        assert (await device.status())["desired_state"]["commit"] == first["commit"]
        assert git.requests
