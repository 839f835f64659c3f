"""The desired state in Git through running processes: fetched, mirrored, shown; tokens that change under way."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.checked import CheckedDaemon
from tests.e2e.checking import check
from tests.e2e.test_token import TOKEN
from tests.support.devwfm import DevWfm
from tests.support.gitserver import GitServer

pytestmark = pytest.mark.e2e

POLLS: Final = "schedule: {polling: {rate: 1s}}"
TEXT: Final = "kind: ApplicationDeployment\nmetadata: {name: pump}\n"
OTHER: Final = "kind: ApplicationDeployment\nmetadata: {name: fan}\n"


class Device(CheckedDaemon):
    """A daemon of which at its end no Git token may have been shown."""

    secrets: tuple[str, ...] = ()

    def check(self) -> None:
        """Look for every Git token that was in the vault at the end, and those that a test has handed over."""
        super().check()
        found = [json.loads(file.read_bytes())["accessToken"] for file in self.state.glob("gen-*/git*.json")]
        shown = "\n".join([*self.journal, *self._shown])
        assert not [secret for secret in (*found, *self.secrets) if secret in shown]

    def token(self) -> str:
        """Return the stored token."""
        newest = max(self.state.glob("gen-*/git.json"), key=lambda file: file.parent.name)
        return str(json.loads(newest.read_bytes())["accessToken"])

    async def until_token(self, token: str) -> None:
        """Wait until this token is the stored one."""
        async with asyncio.timeout(110):
            while self.token() != token:
                await asyncio.sleep(0.05)  # a file tells nobody

    async def desired(self, reached: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Wait until the desired state in the status is as wanted; return it."""
        found = await self.until_status(lambda status: reached(status["desired_state"]), what)
        return dict(found["desired_state"])

    async def version(self, version: int) -> dict[str, Any]:
        """Wait until so many commits were taken."""
        return await self.desired(lambda desired: bool(desired["manifest_version"] == version), f"version {version}")

    async def error(self, code: str) -> dict[str, Any]:
        """Wait until this is why nothing is taken."""
        return await self.desired(lambda desired: bool((desired["error"] or {}).get("code") == code), code)

    async def fine(self) -> dict[str, Any]:
        """Wait until nothing is wrong with what is mirrored."""
        return await self.desired(lambda desired: desired["error"] is None and bool(desired["complete"]), "fine")


@asynccontextmanager
async def enrolled(directory: Path, *options: str, yaml: str = POLLS) -> AsyncIterator[tuple[DevWfm, Device]]:
    """Run a WFM with one deployment, and a device that asks every second."""
    async with DevWfm(directory / "wfm", "--protocol", "token", *options) as wfm:
        await wfm.deploy("pump", TEXT)
        async with Device(directory / "d", url=wfm.url, wfm=TOKEN, ca_file=wfm.ca_file, yaml=yaml) as device:
            await device.until("enrolled")
            yield wfm, device


@asynccontextmanager
async def elsewhere(
    directory: Path, *, yaml: str = "", **members: Any
) -> AsyncIterator[tuple[DevWfm, GitServer, Device]]:
    """Run a WFM whose repository is a Git server of another host, with another CA; one deployment is in it."""
    with GitServer(directory) as git:
        git.commit({"pump.yaml": TEXT.encode()})
        settings = f'{POLLS}\ntoken: {{allowed_hosts: "localhost:{git.port}"}}\n{yaml}'
        async with DevWfm(directory / "wfm", "--protocol", "token", "--git-later") as wfm:
            await names(wfm, git, "token-1", **members)
            trust = f"trust: {{ca_file: {wfm.ca_file}, token_endpoint_ca_file: {git.ca_file}}}"
            async with Device(directory / "d", url=wfm.url, wfm=TOKEN, yaml=f"{settings}\n{trust}") as device:
                yield wfm, git, device


async def names(wfm: DevWfm, git: GitServer, token: str, **members: Any) -> None:
    """Have the WFM name this repository and this token from now on."""
    await wfm.clear_faults()
    await then_names(wfm, git, token, **members)


async def then_names(wfm: DevWfm, git: GitServer, token: str, *, times: int = 0, **members: Any) -> None:
    """Have it name this one once it has named what it is to name before as often as it was told to (0: for ever)."""
    body = json.dumps({"gitRepository": {"url": git.url, "accessToken": token, **members}})
    await wfm.fault("answer", route="git-access", times=times, status=200, body=body)


def answers(status: int, body: bytes = b"", **headers: str) -> Callable[[Any], bool]:
    """Return what has the Git server answer so, whatever is asked."""

    def answer(handler: Any) -> bool:
        handler.answer(status, body, headers)
        return True

    return answer


async def test_what_is_in_git_is_mirrored(tmp_path: Path) -> None:
    """Onboarding, first fetch, list and YAML on the agent socket; a change; a removal; shown over a restart."""
    async with enrolled(tmp_path) as (wfm, device):
        first = await device.version(1)
        assert first["complete"] is True
        listed = (await device.answer("GET", "/v1/deployments")).json()
        assert (listed["manifestVersion"], listed["commit"]) == (1, first["commit"])
        assert [one["deploymentId"] for one in listed["deployments"]] == ["pump"]
        assert (await device.answer("GET", "/v1/deployments/pump")).body == TEXT
        await wfm.deploy("fan", OTHER)
        second = await device.version(2)
        assert second["commit"] != first["commit"]
        await wfm.undeploy("pump")
        await device.version(3)
        assert (await device.answer("GET", "/v1/deployments/pump")).status == 404
        code, shown, _ = await device.command("deployments")
        assert (code, f"Commit {(await device.status())['desired_state']['commit']}" in shown) == (0, True)
        await wfm.stop()
        await device.stop()
        await device.restart()
        assert (await device.version(3))["complete"] is True
        assert (await device.answer("GET", "/v1/deployments/fan")).body == OTHER
        await device.retry()
        await device.error("git-unreachable")


async def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    """Polls that find the same commit change no file."""
    async with enrolled(tmp_path) as (wfm, device):
        await device.version(1)
        before = {path: path.stat().st_mtime_ns for path in device.state.rglob("*")}
        asked = len(await wfm.requests("repository"))
        async with asyncio.timeout(90):
            while len(await wfm.requests("repository")) < asked + 6:
                await asyncio.sleep(0.1)
        assert {path: path.stat().st_mtime_ns for path in device.state.rglob("*")} == before


async def test_a_repository_that_comes_later(tmp_path: Path) -> None:
    """Without one at the onboarding the WFM is asked at the polling rate; that is said, and no failure."""
    async with DevWfm(tmp_path / "wfm", "--protocol", "token", "--git-later") as wfm:
        await wfm.deploy("pump", TEXT)
        await wfm.fault("answer", route="git-access", times=0, status=204)
        async with Device(tmp_path / "d", url=wfm.url, wfm=TOKEN, ca_file=wfm.ca_file, yaml=POLLS) as device:
            await device.until("enrolled")
            await device.error("git-not-given")
            await wfm.clear_faults()
            await device.version(1)
            assert (await device.status())["state"] == "enrolled"


async def test_tokens_that_rotate(tmp_path: Path) -> None:
    """The WFM ends the token: another one is asked for, proven and stored in the same poll; again and again."""
    async with enrolled(tmp_path) as (wfm, device):
        await device.version(1)
        for turn in range(2, 5):
            before = device.token()
            await wfm.control("POST", "/v1/tokens/rotate")
            await wfm.deploy("pump", f"{TEXT}# {turn}\n")
            await device.version(turn)
            assert device.token() != before
        assert (await device.status())["state"] == "enrolled"


async def test_a_token_that_ends_soon(tmp_path: Path) -> None:
    """Another one is asked for when the end has come near: the Git server never has to refuse the old one."""
    # What has ended before it is first seen says nothing of its token: a slow machine has to be up by then.
    async with elsewhere(tmp_path, times=1, expiresAt=time.time() + 15.0) as (wfm, git, device):
        git.tokens = {"token-1", "token-2"}
        await then_names(wfm, git, "token-2")
        await device.version(1)
        assert device.token() == "token-1"
        await device.until_token("token-2")
        assert not [line for line in device.journal if "git-not-fetched" in line]


async def test_a_token_in_a_file(tmp_path: Path) -> None:
    """The file's token takes the stored one's place once it has fetched; a refused one is said and changes nothing."""
    file = tmp_path / "token"
    async with elsewhere(tmp_path, yaml=f"desired_state: {{git: {{token_file: {file}, user: robot}}}}") as (
        _,
        git,
        device,
    ):
        device.secrets = ("token-2", "token-bad")
        await device.version(1)
        assert set(git.users) == {"robot"}
        git.tokens = {"token-1", "token-2"}
        file.write_text("token-2\n")
        await device.journal_line("git-token-taken", having="desired_state.git.token_file")
        assert device.token() == "token-2"
        file.write_text("token-bad")
        await device.journal_line("git-token-not-taken", having="token_file")
        await device.fine()
        assert device.token() == "token-2"
        file.write_text("two\nlines")
        await device.journal_line("git-token-file", having="git-token-file-unusable")
        await device.fine()
        await device.until_status(lambda s: "not one token" in str(s["warnings"]), "a warning")
        file.write_text("token-2")
        await device.until_status(lambda s: s["warnings"] == [], "no warning")


async def test_a_token_that_is_handed_over(tmp_path: Path) -> None:
    """`margod git-token set` takes it from standard input, answers what came of it, and shows it nowhere."""
    async with elsewhere(tmp_path) as (_, git, device):
        device.secrets = ("token-3", "token-4", "token-bad")
        await device.version(1)
        git.tokens = {"token-3"}
        await device.error("git-token-refused")
        answered = await handed(device, {"accessToken": "token-3"})
        assert answered == (200, True)
        await device.fine()
        assert device.token() == "token-3"
        git.tokens = {"token-3", "token-4"}
        (tmp_path / "token").write_text("token-4\n")
        code, said, _ = await device.command("git-token", "set", str(tmp_path / "token"))
        assert code == 0, said
        await device.journal_line("git-token-taken", since=0, having="handed")
        await device.until_token("token-4")  # a second one within a minute waits for its turn


async def handed(device: Device, document: object) -> tuple[int, object]:
    """Hand a token over; return status and whether it was taken, or the error's code."""
    reply = await device.answer("PUT", "/v1/git-token", json.dumps(document), socket="admin/admin.sock")
    found = reply.json()
    return reply.status, found["taken"] if reply.status == 200 else found["error"]["code"]


async def test_a_token_that_is_handed_over_and_no_good(tmp_path: Path) -> None:
    """It is refused by the Git server, by its form, or for its place; the one in use stays."""
    async with elsewhere(tmp_path) as (_, git, device):
        device.secrets = ("token-bad",)
        await device.version(1)
        assert await handed(device, {"accessToken": "token-bad"}) == (409, "git-token-not-taken")
        assert not list(device.state.glob("gen-*/git-next.json")) or device.token() == "token-1"
        assert await handed(device, {"accessToken": "a b"}) == (400, "bad-request")
        assert await handed(device, {"accessToken": "a", "url": "https://evil.test/x"}) == (409, "git-place-refused")
        (tmp_path / "token").write_text("token-bad\n")
        give = ("git-token", "set", str(tmp_path / "token"))
        code, _, said = await device.command(*give, "--url", "https://evil.test/x.git")
        assert code == 1
        assert said.startswith("margod: The URL that was given cannot be used: evil.test is neither the WFM's")
        code, _, said = await device.command(*give, "--expires-at", "2020-01-01T00:00:00Z")
        assert (code, "--expires-at is 2020-01-01T00:00:00Z" in " ".join(said.split())) == (1, True)
        assert device.token() == "token-1"
        git.commit({"fan.yaml": OTHER.encode()}, parent=git.git("rev-parse", "main"))
        await device.version(2)


async def test_a_rewritten_history(tmp_path: Path) -> None:
    """It is a security event and held; `margod deployments accept` takes it; the version goes on upwards."""
    async with enrolled(tmp_path) as (wfm, device):
        await device.version(1)
        await wfm.deploy("fan", OTHER)
        first = await device.version(2)
        await wfm.control("POST", "/v1/tokens/rewind")
        held = await device.error("git-rewound")
        assert (held["commit"], held["complete"]) == (first["commit"], True)
        assert "security=yes" in await device.journal_line("desired-state-refused", having="git-rewound")
        found = await check(device, "--offline")
        assert (found.verdict("local-socket"), found.code) == (("warning", "git-rewound"), 10)
        assert (await device.command("deployments", "accept"))[0] == 0
        taken = await device.version(3)
        assert (taken["error"], taken["commit"] != first["commit"]) == (None, True)
        await device.journal_line("desired-state-accepted")


async def test_a_rewritten_history_where_that_is_allowed(tmp_path: Path) -> None:
    """desired_state.git.allow_rewind takes it, and says so all the same."""
    yaml = f"{POLLS}\ndesired_state: {{git: {{allow_rewind: true}}}}"
    async with enrolled(tmp_path, yaml=yaml) as (wfm, device):
        await device.version(1)
        await wfm.deploy("fan", OTHER)
        await device.version(2)
        await wfm.control("POST", "/v1/tokens/rewind")
        await device.version(3)
        assert "security=yes" in await device.journal_line("desired-state-accepted")


async def test_what_a_git_server_can_do_wrong(tmp_path: Path) -> None:
    """Each is an explained error of the desired state alone; the mirror stays, and the device is enrolled."""
    async with elsewhere(tmp_path) as (_, git, device):
        await device.version(1)
        good = git.git("rev-parse", "main")

        async def again(code: str) -> None:
            await device.stop()
            await device.restart()  # a retry is made at once then
            await device.retry()
            seen = await device.error(code)
            assert (seen["manifest_version"], seen["complete"]) == (1, True)
            assert seen["error"]["hint"] or code == "git-busy"

        for wrong, code in (
            (answers(401), "git-token-refused"),
            (answers(403), "git-token-refused"),
            (answers(404), "git-not-found"),
            (answers(302, b"", Location="https://evil.test/x"), "git-malformed"),
            (answers(503, b"", **{"Retry-After": "1"}), "git-busy"),
            (answers(200, b"<html>", **{"Content-Type": "text/html"}), "git-malformed"),
        ):
            git.before = wrong
            await again(code)
        git.before = None
        git.commit({"a/pump.yaml": b"1", "b/pump.yml": b"2"}, parent=good)
        await again("git-tree-invalid")
        git.commit({"big.yaml": b"x" * (9 << 20)}, parent=good)
        await again("git-too-large")
        git.commit_tree(git.tree([("100644", b"..", git.blob(b"x"))]), parent=good)
        await again("git-hostile")
        git.git("update-ref", "-d", "refs/heads/main")
        await again("git-branch-missing")
        git.commit({"fan.yaml": OTHER.encode(), ".ci/x.yaml": b"-", "README.md": b"-"}, parent=good)
        await device.stop()
        await device.restart()
        await device.retry()
        await device.version(2)
        assert "README.md" in await device.journal_line("desired-state-left-out")
        assert (await device.fine())["error"] is None


@pytest.mark.parametrize(("wrong", "code"), [("host", "git-place-refused"), ("ca", "git-untrusted")])
async def test_a_place_that_gets_no_token(wrong: str, code: str, tmp_path: Path) -> None:
    """A host that is not listed, or whose CA nobody vouches for, is never sent the token; once it is, at a reload."""
    with GitServer(tmp_path) as git:
        git.commit({"pump.yaml": TEXT.encode()})
        async with DevWfm(tmp_path / "wfm", "--protocol", "token", "--git-later") as wfm:
            await names(wfm, git, "token-1")
            listed, trust = f'token: {{allowed_hosts: "localhost:{git.port}"}}', f"ca_file: {wfm.ca_file}"
            yaml = f"{POLLS}\ntrust: {{{trust}}}\n{listed if wrong == 'ca' else ''}"
            async with Device(tmp_path / "d", url=wfm.url, wfm=TOKEN, yaml=yaml) as device:
                device.secrets = ("token-1",)
                await device.error(code)
                assert git.requests == []
                mended = f"{POLLS}\ntrust: {{{trust}, token_endpoint_ca_file: {git.ca_file}}}\n{listed}"
                device.configure(yaml=f'wfm: {{url: "{wfm.url}", {TOKEN}}}\n{mended}')
                await device.reload()
                await device.version(1)


async def test_tokens_that_are_said_back(tmp_path: Path) -> None:
    """The WFM repeats the stored token, the file's and one that it has just given; the last one is in its URL too."""
    file, known = tmp_path / "token", {"file": "file-token-1234", "path": "path-token-5678"}
    file.write_text(known["file"])
    async with enrolled(tmp_path, yaml=f"desired_state: {{git: {{token_file: {file}}}}}\n{POLLS}") as (wfm, device):
        device.secrets = tuple(known.values())
        await device.version(1)
        url = f"{wfm.url}/{known['path']}/x.git"
        given = json.dumps({"gitRepository": {"url": url, "accessToken": known["path"]}})
        await wfm.fault("answer", route="repository", times=0, status=401, body="no")
        await wfm.fault("answer", route="git-access", times=0, status=200, body=given)
        found = await device.desired(
            lambda desired: "/(secret)/x.git" in ((desired["error"] or {}).get("detail") or ""), "its URL"
        )
        assert found["error"]["code"].startswith("git-"), found
        body = json.dumps({"error": f"denied {device.token()} {known['file']} {known['path']}"})
        await wfm.clear_faults()
        await wfm.fault("answer", route="repository", times=0, status=401, body="no")
        await wfm.fault("answer", route="git-access", times=0, status=403, body=body)
        await device.retry()
        await device.journal_line("attempt-failed", having="denied (secret) (secret) (secret)")


async def test_no_token_where_there_is_no_git(tmp_path: Path) -> None:
    """A device of the other generation has no use for one."""
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        CheckedDaemon(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file) as device,
    ):
        await device.until("enrolled")
        reply = await device.answer("PUT", "/v1/git-token", '{"accessToken": "x"}', socket="admin/admin.sock")
        assert (reply.status, reply.json()["error"]["code"]) == (404, "git-not-used")
        assert (await device.answer("PUT", "/v1/git-token", "{}", socket="agent/agent.sock")).status == 404
