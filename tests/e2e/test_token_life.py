"""The rest of a device's life in the `token` generation: another identity, a reset, a lost answer, revoked, a check."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.checked import CheckedDaemon
from tests.e2e.checking import check
from tests.e2e.test_door import ask
from tests.e2e.test_outbox import failed, outbox
from tests.e2e.test_rotation import begin, old_ones, rotated
from tests.e2e.test_token import TOKEN
from tests.e2e.test_token_answers import device, told
from tests.e2e.test_trust_renewal import anchors, other
from tests.support.devwfm import DevWfm
from tests.support.rawserver import Certificates, Turn
from tests.support.tokenserver import Said, TokenServer, bearer, form

pytestmark = pytest.mark.e2e

REPORT: Final = {"components": [{"name": "all", "state": "installed"}]}


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    """One CA for the module: nothing here depends on which."""
    return Certificates()


def serving(tmp_path: Path, *options: str) -> DevWfm:
    """Return a development WFM of this generation."""
    return DevWfm(tmp_path / "wfm", "--protocol", "token", *options)


def daemon_of(tmp_path: Path, wfm: DevWfm, yaml: str = "") -> CheckedDaemon:
    """Return a device of it."""
    return CheckedDaemon(tmp_path / "d", url=wfm.url, wfm=TOKEN, ca_file=wfm.ca_file, yaml=yaml)


async def test_another_identity(tmp_path: Path) -> None:
    """The candidate gets a secret and a token of its own; it takes over at once and whole, the old one is archived."""
    async with serving(tmp_path) as wfm, daemon_of(tmp_path, wfm) as daemon:
        before = await daemon.until("enrolled")
        await begin(daemon)
        status = await rotated(daemon, None)
        status = await daemon.until_status(lambda s: s["client_id"] != before["client_id"], "another id")
        assert status["state"] == "enrolled"
        assert status["identity"]["key_id"] != before["identity"]["key_id"]
        await daemon.report("app", REPORT)
        await daemon.until_status(lambda s: s["outbox"]["waiting"] == 0, "reported")
        asked = await wfm.requests("token")
        assert asked[0]["client_id"] == before["client_id"]
        assert {one["client_id"] for one in asked[1:]} == {status["client_id"]}
        assert [one["client_id"] for one in await wfm.requests("status")] == [status["client_id"]]
        ((why, _),) = old_ones(daemon)
        assert why == "rotated"
        assert len(await wfm.requests("onboarding")) == 2
        await daemon.stop()
        await daemon.restart()
        assert (await daemon.until("enrolled"))["client_id"] == status["client_id"]


async def test_a_candidate_that_is_given_up(tmp_path: Path) -> None:
    """Its secret goes with it; the identity in force keeps its own, and its token."""
    async with serving(tmp_path, "--approval", "manual") as wfm, daemon_of(tmp_path, wfm) as daemon:
        await daemon.until("pending-approval")
        await wfm.approve(1)
        await daemon.retry()
        before = await daemon.until("enrolled")
        await begin(daemon)
        await rotated(daemon, "pending-approval")
        assert (await daemon.command("identity", "rotate", "--abort"))[0] == 0
        await rotated(daemon, None)
        await daemon.report("app", REPORT)
        await daemon.until_status(lambda s: s["outbox"]["waiting"] == 0, "reported")
        assert {one["client_id"] for one in await wfm.requests("token")} == {before["client_id"]}
        assert len(await wfm.requests("token")) == 1


async def test_reset(tmp_path: Path) -> None:
    """Onboarded anew with another secret; and to unregister there is no way, which is said before anything is sent."""
    async with serving(tmp_path) as wfm, daemon_of(tmp_path, wfm) as daemon:
        before = await daemon.until("enrolled")
        asked = len(await wfm.requests())
        code, _, said = await daemon.command("reset", "--yes", "--unregister")
        assert (code, "generation `token` cannot be asked to remove a device" in said) == (1, True)
        assert "Remove this device in the WFM" in said
        assert (len(await wfm.requests()), (await daemon.status())["client_id"]) == (asked, before["client_id"])
        assert (await daemon.command("reset", "--yes"))[0] == 0
        status = await daemon.until_status(
            lambda s: s["state"] == "enrolled" and s["client_id"] != before["client_id"], "anew"
        )
        assert [one["client_id"] for one in await wfm.requests("token")] == [before["client_id"], status["client_id"]]
        assert {one["method"] for one in await wfm.requests()} <= {"GET", "POST", "PUT"}


async def test_a_secret_lost_on_the_wire(tmp_path: Path) -> None:
    """The WFM commits and the connection breaks: at the 409 another certificate gets another secret, once."""
    async with serving(tmp_path) as wfm:
        await wfm.fault("cut", route="onboarding", times=1, when="after")
        async with daemon_of(tmp_path, wfm) as daemon:
            status = await daemon.until("enrolled")
            assert await daemon.journal_line("certificate-reissued")
            clients = [client["client_id"] for client in await wfm.clients()]
            assert (len(set(clients)), clients[1]) == (2, status["client_id"])


async def test_a_secret_that_is_never_given_again(tmp_path: Path, certificates: Certificates) -> None:
    """An id without the secret, then 409 for any certificate: it stops asking for more, and says what a person can."""
    async with TokenServer(certificates) as wfm:
        wfm.onboard = Said(201, {**wfm.onboarding, "clientSecret": None})
        async with device(tmp_path, wfm, certificates) as daemon:
            status = await daemon.until_status(told("client-secret-missing"), "no secret")
            assert "remove this device in the WFM" in status["last_error"]["hint"]
            wfm.onboard = Said(409, {"error": "already registered"})
            status = await daemon.until("blocked", "registered-by-other")
            assert len([line for line in daemon.journal if "certificate-reissued" in line]) == 1
            assert "margod reset" in status["hint"]
            assert status["client_id"] is None
        assert wfm.count() == 0


async def test_tokens_revoked_while_calls_run(tmp_path: Path) -> None:
    """Reports go on over a revocation of every bearer token: none is lost, each costs one renewal for all."""
    async with serving(tmp_path) as wfm, daemon_of(tmp_path, wfm) as daemon:
        await daemon.until("enrolled")
        for number in range(3):
            await wfm.control("POST", "/v1/tokens/revoke")
            for each in range(4):
                await daemon.report(f"app-{number}-{each}", REPORT)
            async with asyncio.timeout(60):
                while len([one for one in await wfm.requests("status") if one["status"] == 201]) < 4 * (number + 1):
                    await asyncio.sleep(0.05)  # a request of another process tells nobody here
        assert len(await wfm.requests("token")) <= 4
        assert (await daemon.status())["last_error"] is None


async def test_a_wfm_without_the_repositorys_route(tmp_path: Path, certificates: Certificates) -> None:
    """404 at GET /onboarding/git is no word against the device: it stays enrolled, and nothing has failed."""
    async with TokenServer(certificates) as wfm:
        wfm.confirm = Said(404, {"error": "not found"})
        yaml = "onboarding: {confirm: 1s, forgotten_after: 1s}"
        async with device(tmp_path, wfm, certificates, yaml) as daemon:
            await daemon.until("enrolled")
            await wfm.until(lambda: wfm.count("/onboarding/git") >= 4)
            status = await daemon.status()
            assert (status["state"], status["reason"], status["last_error"]) == ("enrolled", "enrolled", None)
            wfm.confirm = wfm.report = Said(404, {"error": "client not found"})
            await daemon.until_status(told("client-unknown"), "doubted")
            await asyncio.sleep(1.1)  # what is waited for is time itself: onboarding.forgotten_after
            await daemon.retry()
            await daemon.until("refused", "forgotten")  # in so many words on both routes, for long enough
            assert wfm.count("/onboarding/") == wfm.count("/onboarding/git") + 1


async def test_a_wfm_that_cannot_be_asked(tmp_path: Path, certificates: Certificates) -> None:
    """Without GET /onboarding/git its answer to the capabilities tells which of deployment and device is gone."""
    gone = Said(404, {"error": "no such deployment"})

    async def answer(turn: Turn) -> None:
        await (gone if "/gone/" in turn.request.line else Said(201)).give(turn)

    async with TokenServer(certificates) as wfm:
        wfm.confirm, wfm.other = Said(404, {"error": "no such route"}), answer
        async with device(tmp_path, wfm, certificates) as daemon:
            await daemon.until("enrolled")
            await daemon.report("gone", REPORT)
            await daemon.report("here", REPORT)
            await daemon.until_status(outbox(waiting=0, parked=1), "one parked, one sent")
            (item,) = await daemon.outbox()
            assert (item["deployment_id"], item["parked"]) == ("gone", "report-refused")
            assert [wfm.count(path) for path in ("/onboarding/git", "/device/client-7/capabilities")] == [1, 2]
            wfm.report = Said(422, {"error": "vendor"})  # who finds fault with what a client says knows the client
            await daemon.report("gone", REPORT)
            await daemon.until_status(outbox(waiting=0, parked=2), "another one parked")
            wfm.report = Said(404, {"error": "client not found"})
            await daemon.report("gone", REPORT)
            await daemon.until_status(failed("client-unknown"), "not about the report")
            await daemon.until_status(outbox(waiting=1, parked=2), "it waits")


async def test_another_root_ca(tmp_path: Path) -> None:
    """Offered, vouched for, presented: the endpoint on the WFM's host is asked under the new root without a wait."""
    async with serving(tmp_path, "--token-lifetime", "1") as wfm:
        trust = "trust: {first_use: accept, refresh: 1s, adopt_after: 2s}\nonboarding: {confirm: 1s}"
        async with CheckedDaemon(tmp_path / "d", url=wfm.url, wfm=TOKEN, yaml=trust) as daemon:
            await daemon.until("enrolled")
            await wfm.rotate("offer")
            await daemon.journal_line("root-ca-ripe")
            # From here on it is the token endpoint that meets the new root first, and not a question for root CAs.
            daemon.config.write_text(daemon.config.read_text().replace("refresh: 1s", "refresh: 30d"))
            assert (await daemon.reload())["result"] == "reloaded"
            await wfm.rotate("present")
            since, new = len(await wfm.requests("token")), other(wfm)
            await daemon.until_status(lambda s: new in anchors(s), "adopted")
            await daemon.report("app", REPORT)
            await daemon.until_status(lambda s: s["outbox"]["waiting"] == 0, "reported")
            async with asyncio.timeout(60):
                while len(await wfm.requests("token")) <= since:  # the report may have gone by a token that was new
                    await asyncio.sleep(0.05)  # a request of another process tells nobody here
            status = await daemon.until_status(lambda s: s["connection"] == "online", "online")
            assert status["state"] == "enrolled"
            assert not [line for line in daemon.journal if "attempt-failed" in line and "unknown-issuer" in line]


async def test_a_check_sends_no_secret(tmp_path: Path) -> None:
    """It says where secrets may go, by what is stored, offline too; the WFM sees a download of its root CA alone."""
    async with serving(tmp_path) as wfm:
        daemon = daemon_of(tmp_path, wfm)
        async with daemon:
            found = await check(daemon)
            assert found.verdict("secret-hosts")[0] in ("ok", "skipped")
            await daemon.until("enrolled")
        before = len(await wfm.requests())
        found = await check(daemon)
        assert found.verdict("secret-hosts") == ("ok", None)
        assert "nothing secret is sent" in found.lines["secret-hosts"]["message"]
        assert found.lines["secret-hosts"]["facts"]["token_endpoint"] == f"{wfm.url}/oauth/token"
        seen = (await wfm.requests())[before:]
        assert [one["route"] for one in seen] == ["certificate"]
        assert not [name for one in seen for name, _ in one["fields"] if name.lower() == "authorization"]
        found = await check(daemon, "--offline")
        assert found.verdict("secret-hosts") == ("ok", None)
        file = tmp_path / "git-token"
        daemon.config.write_text(daemon.config.read_text() + f"desired_state: {{git: {{token_file: {file}}}}}\n")
        for text, says in ((None, "No such file"), ("", "not one token"), ("a b", "not one token"), ("é", "not one")):
            if text is not None:
                file.write_text(text)
            found = await check(daemon, "--offline")
            assert found.verdict("secret-hosts") == ("warning", "git-token-file-unusable")
            assert str(file) in found.lines["secret-hosts"]["detail"]
            assert says in found.lines["secret-hosts"]["detail"]
        file.write_text("git-2\n")
        assert (await check(daemon, "--offline")).verdict("secret-hosts") == ("ok", None)


@pytest.mark.parametrize(
    ("member", "url", "code"),
    [
        ("tokenEndpointUrl", "https://login.example/t", "token-endpoint-not-allowed"),
        ("tokenEndpointUrl", "http://127.0.0.1/t", "token-endpoint-unusable"),
        ("gitRepository", "https://git.example/r.git", "git-place-refused"),
    ],
)
async def test_a_check_names_hosts_that_are_not_allowed(
    tmp_path: Path, certificates: Certificates, member: str, url: str, code: str
) -> None:
    """Endpoint and repository, each with what to do; listed they are all right."""
    async with TokenServer(certificates) as wfm:
        named = {"url": url, "accessToken": "git-1"} if member == "gitRepository" else url
        wfm.onboarding[member] = named
        async with device(tmp_path, wfm, certificates) as daemon:
            await daemon.until_status(lambda s: s["client_id"] is not None, "onboarded")
        found = await check(daemon, "--offline")
        assert found.verdict("secret-hosts") == ("failed", code)
        if "unusable" not in code:
            assert "token.allowed_hosts" in found.lines["secret-hosts"]["hint"]
            host = url.split("/")[2]
            daemon.config.write_text(daemon.config.read_text() + f"token: {{allowed_hosts: [{host}]}}\n")
            assert (await check(daemon, "--offline")).verdict("secret-hosts") == ("ok", None)


async def test_the_door(tmp_path: Path, certificates: Certificates) -> None:
    """A program's request gets token and signature of its body; without a rule nothing is open, and why is said."""
    async with TokenServer(certificates) as wfm:
        yaml = "door: {allow: ['GET /things/{name}', 'POST /things/{name}', 'GET /oauth/{name}']}"
        async with device(tmp_path, wfm, certificates, yaml) as daemon:
            await daemon.until("enrolled")
            assert (await ask(daemon, "/things/1", "POST", body=b'{"a": 1}'))[0] == 201
            assert (await ask(daemon, "/things/1", headers="Authorization: Bearer mine\r\n"))[0] == 201
            post, get = wfm.asked("/things/")
            names = [[name.lower() for name, _ in each.headers] for each in (post, get)]
            assert {bearer(post), bearer(get)} == {"bearer-1"}
            assert ("x-payload-signature" in names[0], "x-payload-signature" in names[1]) == (True, False)
            assert names[1].count("authorization") == 1
            for path in ("/onboarding/git", "/device/client-7/capabilities"):
                status, _, body = await ask(daemon, path)
                assert (status, json.loads(body)["error"]["code"]) == (403, "door-closed")
            _, _, body = await ask(daemon, "/others")
            assert "Without one nothing is open in the generation `token`" in json.loads(body)["error"]["message"]


async def test_nothing_is_renewed_in_a_downtime(tmp_path: Path, certificates: Certificates) -> None:
    """A call that needs a token then asks nobody; after it all goes on, with one token."""
    async with TokenServer(certificates) as wfm:
        wfm.lifetime = 1
        async with device(tmp_path, wfm, certificates, "door: {allow: ['GET /things/{name}']}") as daemon:
            await daemon.until("enrolled")
            assert (await daemon.command("downtime", "start", "1h"))[0] == 0
            asked = len(wfm.requests)
            for number in range(3):
                status, _, body = await ask(daemon, f"/things/{number}")
                assert (status, json.loads(body)["error"]["code"]) == (503, "downtime")
            assert len(wfm.requests) == asked
            assert (await daemon.command("downtime", "stop"))[0] == 0
            assert (await ask(daemon, "/things/4"))[0] == 201
            assert form(wfm.asked("/oauth/token")[-1])["client_id"] == "client-7"
