"""The token endpoint as a running device meets it: on another host, asked by many, moved away from, behind a proxy."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.checked import CheckedDaemon
from tests.e2e.faketime import OtherTime, needs_faketime
from tests.e2e.test_door import ask
from tests.e2e.test_token import TOKEN
from tests.e2e.test_token_answers import device, explained
from tests.support.proxyserver import ProxyServer, answers
from tests.support.rawserver import Certificates, Turn
from tests.support.tokenserver import SECRET, Said, TokenServer, bearer, form, write_ca

pytestmark = pytest.mark.e2e

DOOR: Final = "door: {allow: ['GET /things/{name}', 'POST /things/{name}']}"
PATIENT: Final = "protocol: token, timeout: 60s"
"""Where an answer is held back until something else has happened."""
REPORT: Final = {"components": [{"name": "all", "state": "installed"}]}


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    """The WFM's CA."""
    return Certificates()


@pytest.fixture(scope="module")
def others() -> Certificates:
    """Another company's CA."""
    return Certificates()


def listed(endpoint: TokenServer, ca_file: Path | None = None) -> str:
    """Return the configuration that lets a device ask there; with `ca_file` in place of the WFM's CA."""
    return f"token: {{allowed_hosts: ['{endpoint.authority}']}}\n" + (
        f"trust: {{token_endpoint_ca_file: {ca_file}}}\n" if ca_file else ""
    )


class Device(CheckedDaemon):
    """A device of `certificates`' WFM, with more under `trust`."""

    def __init__(self, tmp_path: Path, wfm: TokenServer, ca_file: Path, trust: str = "", yaml: str = "") -> None:
        """Configure it."""
        said = f"trust: {{ca_file: {ca_file}{trust}}}\n{yaml}"
        super().__init__(tmp_path / "d", url=wfm.url, wfm=TOKEN, yaml=said)


async def test_another_host_that_is_listed(tmp_path: Path, certificates: Certificates, others: Certificates) -> None:
    """It is asked under the CA of its own setting; under the WFM's it is not sent a byte, and both are explained."""
    ca_file, its_ca = write_ca(certificates, tmp_path / "ca.pem"), write_ca(others, tmp_path / "its.pem")
    async with TokenServer(certificates) as wfm, TokenServer(others) as login:
        wfm.onboarding["tokenEndpointUrl"] = f"{login.url}/oauth/token"
        hosts = f"token: {{allowed_hosts: ['{login.authority}']}}"
        async with Device(tmp_path, wfm, ca_file, yaml=hosts) as daemon:
            status = await explained(daemon, "token-endpoint-untrusted", f"{login.authority}: tls-unknown-issuer")
            assert (status["state"], status["connection"]) == ("onboarded", "online")
            assert status["trust"]["presented"] is None, "nobody is in the WFM's place"
            assert (login.connections, wfm.count("/device/")) == (0, 0)
            daemon.config.write_text(
                daemon.config.read_text().replace("trust: {", f"trust: {{token_endpoint_ca_file: {its_ca}, ")
            )
            assert (await daemon.reload())["result"] == "reloaded"
            await daemon.retry()
            await daemon.until("enrolled")
        (asked,) = login.requests
        assert form(asked)["client_secret"] == SECRET
        assert wfm.count() == 0
        assert {bearer(each) for each in login.requests} == {""}


async def test_another_host_that_is_away(tmp_path: Path, certificates: Certificates) -> None:
    """The words name that host, and not the WFM, which answers; it comes back by itself."""
    ca_file = write_ca(certificates, tmp_path / "ca.pem")
    async with TokenServer(certificates) as wfm:
        async with TokenServer(certificates) as login:
            wfm.onboarding["tokenEndpointUrl"] = f"{login.url}/oauth/token"
            hosts, away = f"token: {{allowed_hosts: ['{login.authority}']}}", login.authority
        async with Device(tmp_path, wfm, ca_file, yaml=hosts) as daemon:
            status = await explained(daemon, "token-endpoint-unreachable", f"{away}: connect-refused")
            assert status["state"] == "onboarded"
            assert wfm.count("/device/") == 0


async def test_a_ca_file_that_cannot_be_read(tmp_path: Path, certificates: Certificates) -> None:
    """File and key are named, nothing is sent, and the device is not stopped."""
    ca_file = write_ca(certificates, tmp_path / "ca.pem")
    async with TokenServer(certificates) as wfm, TokenServer(certificates) as login:
        wfm.onboarding["tokenEndpointUrl"] = f"{login.url}/oauth/token"
        hosts, gone = f"token: {{allowed_hosts: ['{login.authority}']}}", tmp_path / "gone.pem"
        async with Device(tmp_path, wfm, ca_file, f", token_endpoint_ca_file: {gone}", hosts) as daemon:
            status = await daemon.until_status(
                lambda s: s["last_error"] is not None and str(gone) in s["last_error"]["detail"], "named"
            )
            assert "trust.token_endpoint_ca_file" in status["last_error"]["detail"]
            assert login.connections == 0


async def test_many_callers_are_one_renewal(tmp_path: Path, certificates: Certificates) -> None:
    """Reports, local programs and the question whether it is known, all at once without a token: one is asked for."""
    async with (
        TokenServer(certificates) as wfm,
        device(tmp_path, wfm, certificates, DOOR, settings=PATIENT) as daemon,
    ):
        await daemon.until("enrolled")
        wfm.good, slow = {"bearer-2"}, asyncio.Event()

        async def held(turn: Turn) -> None:
            await slow.wait()
            wfm.given = 2
            await Said(200, {"access_token": "bearer-2", "token_type": "bearer", "expires_in": 60}).give(turn)

        wfm.grant = held
        programs = [asyncio.ensure_future(ask(daemon, f"/things/{number}")) for number in range(6)]
        for number in range(5):
            await daemon.report(f"app-{number}", REPORT)
        await wfm.until(lambda: wfm.count() == 2)
        slow.set()
        assert {each[0] for each in await asyncio.gather(*programs)} == {201}
        await wfm.until(lambda: len([r for r in wfm.asked("/device/") if "app-4" in r.line]) > 0)
        assert wfm.count() == 2
        status = [r for r in wfm.asked("/device/") if r.line.split(" ")[1].endswith("/status")]
        assert {bearer(each) for each in status} <= {"bearer-1", "bearer-2"}
        assert all(any(name.lower() == "x-payload-signature" for name, _ in each.headers) for each in status)


async def test_a_client_that_is_not_wanted_is_no_storm(tmp_path: Path, certificates: Certificates) -> None:
    """`invalid_client` while many ask: the endpoint hears one question, and who asks is told why."""
    async with TokenServer(certificates) as wfm:
        async with device(tmp_path, wfm, certificates, DOOR) as daemon:
            await daemon.until("enrolled")
            before, wfm.good, wfm.grant = wfm.count(), set(), Said(401, {"error": "invalid_client"})
            for number in range(20):
                status, _, body = await ask(daemon, f"/things/{number}")
                assert (status, json.loads(body)["error"]["code"]) == (502, "client-secret-refused")
            await daemon.report("app", REPORT)
            await daemon.until_status(lambda s: s["outbox"]["last_error"] is not None, "reports wait")
            assert wfm.count() == before + 1
            await daemon.retry()
            status = await daemon.until("refused", "client-secret-refused")
            assert (status["client_id"], status["detail"]) == ("client-7", "HTTP 401: invalid_client")
            assert wfm.count() <= before + 3
            wfm.good = wfm.grant = None
        async with daemon:
            await daemon.until("refused", "client-secret-refused")
            await daemon.retry()
            await daemon.until("enrolled")
        assert wfm.count("/onboarding/") == wfm.count("/onboarding/git") + 1, "it was onboarded once"


async def test_a_401_renews_once_and_then_is_refused(tmp_path: Path, certificates: Certificates) -> None:
    """A WFM that takes no token at all: one more is asked for, then the device waits and says what the WFM said."""
    async with TokenServer(certificates) as wfm:
        wfm.good = set()
        async with device(tmp_path, wfm, certificates) as daemon:
            status = await explained(daemon, "bearer-token-refused", "HTTP 401: invalid_token")
            assert (status["state"], wfm.count(), wfm.count("/device/")) == ("refused", 2, 2)
            assert status["reason"] == "bearer-token-refused"
            assert [bearer(each) for each in wfm.asked("/device/")] == ["bearer-1", "bearer-2"]
            wfm.good = None
            await daemon.retry()
            await daemon.until("enrolled")


async def test_a_token_that_is_said_back(tmp_path: Path, certificates: Certificates) -> None:
    """A WFM that repeats the token in its refusal does not get it into status or journal."""
    async with TokenServer(certificates) as wfm:
        wfm.report = Said(403, {"error": "token bearer-1 may not do this"})
        async with device(tmp_path, wfm, certificates) as daemon:
            await explained(daemon, "client-refused", "HTTP 403: token (secret) may not do this")
            assert "bearer-1" not in "\n".join(daemon.journal)


async def test_an_older_token_that_is_said_back(tmp_path: Path, certificates: Certificates) -> None:
    """Another lane has a newer one by the time that the answer comes: the one that was sent is hidden all the same."""
    async with (
        TokenServer(certificates) as wfm,
        device(tmp_path, wfm, certificates, DOOR, settings=PATIENT) as daemon,
    ):
        await daemon.until("enrolled")
        reported, go_on = asyncio.Event(), asyncio.Event()

        async def late(turn: Turn) -> None:
            if not turn.request.line.split(" ")[1].endswith("/status"):
                await Said(200, {}).give(turn)
                return
            reported.set()
            await go_on.wait()
            await Said(403, {"error": f"you said {bearer(turn.request)}"}).give(turn)

        wfm.other = late
        await daemon.report("app", REPORT)
        await reported.wait()
        wfm.good = {"bearer-2"}
        assert (await ask(daemon, "/things/1"))[0] == 200
        assert wfm.given == 2
        go_on.set()
        status = await daemon.until_status(lambda s: s["outbox"]["last_error"] is not None, "refused")
        assert "you said (secret)" in status["outbox"]["last_error"]["detail"]
        assert "bearer-1" not in "\n".join(daemon.journal)


async def test_a_wfm_that_has_moved(tmp_path: Path, certificates: Certificates) -> None:
    """What the old WFM gave never goes to the new one, also where the answer of its endpoint comes after the move."""
    async with TokenServer(certificates) as old, TokenServer(certificates) as new:
        new.onboarding |= {"clientId": "client-8", "clientSecret": "another-secret"}
        late = asyncio.Event()

        async def held(turn: Turn) -> None:
            await late.wait()
            await Said(200, {"access_token": "bearer-late", "token_type": "bearer", "expires_in": 3600}).give(turn)

        async with device(tmp_path, old, certificates) as daemon:
            await daemon.until("enrolled")
            old.good, old.grant = set(), held
            await daemon.report("app", REPORT)
            await old.until(lambda: old.count() == 2)  # it is asked for another token, and says nothing yet
            daemon.config.write_text(daemon.config.read_text().replace(old.url, new.url))
            assert (await daemon.reload())["result"] == "reloaded"
            status = await daemon.until_status(
                lambda s: s["state"] == "enrolled" and s["client_id"] == "client-8", "enrolled there"
            )
            late.set()
            asked = len(old.requests)
            assert status["wfm"]["url"] == new.url
            for number in range(3):
                await daemon.report(f"there-{number}", REPORT)
            await new.until(lambda: len(new.asked("/device/")) >= 4)
            assert len(old.requests) == asked, "nothing more was asked of the old one"
        sent = b"".join(each.head + each.body for each in new.requests)
        assert SECRET.encode() not in sent
        assert b"bearer-late" not in sent
        assert {bearer(each) for each in new.asked("/device/")} == {"bearer-1"}
        assert [form(each)["client_secret"] for each in new.asked("/oauth/token")] == ["another-secret"]


async def test_behind_a_proxy(tmp_path: Path, certificates: Certificates) -> None:
    """The endpoint on another host is reached by the same proxy; where that refuses, it is the proxy that is blamed."""
    ca_file = write_ca(certificates, tmp_path / "ca.pem")
    async with (
        TokenServer(certificates, "wfm.test") as wfm,
        TokenServer(certificates, "login.test") as login,
        ProxyServer() as proxy,
    ):
        ports = wfm.url.rpartition(":")[2], login.url.rpartition(":")[2]
        wfm.onboarding["tokenEndpointUrl"] = f"https://login.test:{ports[1]}/oauth/token"
        yaml = f"token: {{allowed_hosts: ['login.test:{ports[1]}']}}"
        url = f"https://wfm.test:{ports[0]}"
        daemon = CheckedDaemon(
            tmp_path / "d", url=url, wfm=f"{TOKEN}, proxy: '{proxy.url}'", ca_file=ca_file, yaml=yaml
        )

        async with daemon:
            await daemon.until("enrolled")
            assert any(b"CONNECT login.test:" in each for each in proxy.asked)
            assert login.count() == 1
            wfm.good, login.grant = set(), Said(500)
            refuse = answers(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            await daemon.stop()
            proxy.script = refuse
            await daemon.restart()
            await daemon.until("enrolled")
            await daemon.report("app", REPORT)
            found: dict[str, Any] = await daemon.until_status(
                lambda s: s["outbox"]["last_error"] is not None, "reports wait"
            )
            assert found["outbox"]["last_error"]["code"] == "proxy-refused"


async def test_settings_that_cannot_be_are_named(tmp_path: Path, certificates: Certificates) -> None:
    """File, line and key; the device goes on by what it had."""
    async with TokenServer(certificates) as wfm, device(tmp_path, wfm, certificates) as daemon:
        await daemon.until("enrolled")
        good = daemon.config.read_text()
        for bad, key in (
            ("token: {allowed_hosts: ['https://login.example/oauth']}", "token.allowed_hosts"),
            ("token: {allowed_hosts: [5]}", "token.allowed_hosts"),
            ("token: {hosts: [login.example]}", "token.hosts"),
        ):
            daemon.config.write_text(f"{good}\n{bad}\n")
            code, out, said = await daemon.command("config", "check")
            assert code != 0
            shown = " ".join((out + said).split())  # lines are wrapped
            assert f"{daemon.config}:{len(good.splitlines()) + 2}: {key}" in shown
            assert (await daemon.reload())["result"] != "reloaded"
        assert (await daemon.status())["state"] == "enrolled"
        daemon.config.write_text(good)


@needs_faketime
async def test_a_clock_that_is_set_ends_no_token(tmp_path: Path, certificates: Certificates) -> None:
    """Two hours ahead of a token of one, and back: its life is counted by no clock that can be set."""
    ca_file = write_ca(certificates, tmp_path / "ca.pem")
    async with TokenServer(certificates) as wfm:
        yaml = f'wfm: {{url: "{wfm.url}", {TOKEN}}}\ntrust: {{ca_file: {ca_file}}}\n{DOOR}'
        daemon = OtherTime(tmp_path / "d", ahead=0.0, yaml=yaml)
        async with daemon:
            await daemon.until("enrolled")
            for ahead in (7_200.0, -7_200.0):
                since = len(daemon.journal)
                daemon.set_clock(ahead)
                await daemon.journal_line("clock-set", since)
                assert (await ask(daemon, "/things/1"))[0] == 201
        assert wfm.count() == 1
