"""What a running device makes of each answer at onboarding and at the token endpoint, and what a person reads of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from margod.model.reasons import REASONS
from tests.e2e.checked import CheckedDaemon
from tests.e2e.test_bad_servers import seconds_ahead
from tests.e2e.test_token import TOKEN
from tests.support.rawserver import Certificates, RawServer, Turn
from tests.support.tokenserver import CLIENT, GIT_TOKEN, SECRET, Said, TokenServer, form, write_ca

pytestmark = pytest.mark.e2e

GOOD: Final = {"access_token": "bearer-0", "token_type": "Bearer", "expires_in": 3600}


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    """One CA for the module: nothing here depends on which."""
    return Certificates()


@asynccontextmanager
async def device(
    tmp_path: Path, wfm: TokenServer, certificates: Certificates, yaml: str = "", *, settings: str = TOKEN
) -> AsyncIterator[Any]:
    """A running device of this WFM with these `settings`, of which nothing secret may have been shown at its end."""
    ca_file = write_ca(certificates, tmp_path / "ca.pem")
    daemon = CheckedDaemon(tmp_path / "d", url=wfm.url, wfm=settings, ca_file=ca_file, yaml=yaml)
    async with daemon:
        yield daemon
    shown = "\n".join(daemon.journal)
    assert SECRET not in shown
    assert GIT_TOKEN not in shown
    assert "bearer-0" not in shown


def told(code: str) -> Any:
    """A condition for `until_status`: it failed for this reason."""
    return lambda status: status["last_error"] is not None and status["last_error"]["code"] == code


async def explained(daemon: CheckedDaemon, code: str, detail: str) -> dict[str, Any]:
    """Wait for a failure; see that status and journal say it with what to do, and return the status."""
    status = await daemon.until_status(told(code), code)
    error, reason = status["last_error"], REASONS[code]
    assert detail in error["detail"], error
    line = await daemon.journal_line("attempt-failed", having=f"code={code}")
    assert line.startswith("<4>")
    assert reason.hint[:30] in line.replace("\\", "")
    return status


async def test_onboardings_without_id_or_secret(tmp_path: Path, certificates: Certificates) -> None:
    """Each is named by its field and leaves nothing in the vault; what the answer holds is never shown."""
    async with TokenServer(certificates) as wfm:
        page = b"<html><title>Welcome to the hotel</title>" + SECRET.encode()
        bodies = [
            (Said(201, {**wfm.onboarding, "clientId": 7}), "answer-invalid", "HTTP 201: clientId: no text"),
            (Said(201, {**wfm.onboarding, "clientSecret": ""}), "client-secret-missing", "clientSecret: missing"),
            (Said(200, page), "answer-invalid", "HTTP 200: an HTML page: Welcome to the hotel"),
        ]
        wfm.onboard = bodies[0][0]
        async with device(tmp_path, wfm, certificates) as daemon:
            for said, code, detail in bodies:
                wfm.onboard = said
                status = await daemon.until_status(
                    lambda s, c=code, d=detail: told(c)(s) and d in s["last_error"]["detail"], f"{code} {detail}"
                )
                assert (status["state"], status["client_id"]) == ("onboarding", None)
            assert not list(daemon.state.glob("gen-*/enrolment.json"))
            assert wfm.count() == 0, "nothing was asked with half of an answer"
            wfm.onboard = None
            assert (await daemon.until("enrolled"))["client_id"] == CLIENT


async def test_snake_case(tmp_path: Path, certificates: Certificates) -> None:
    """The other names of the drafts are as good; one of them wrong does not hide the right one."""
    async with TokenServer(certificates) as wfm:
        wfm.onboarding = {
            "client_id": "snake-1",
            "client_secret": SECRET,
            "token_endpoint_url": f"{wfm.url}/oauth/token?tenant=7",
            "git_repository": None,
            "gitRepository": None,
        }
        async with device(tmp_path, wfm, certificates) as daemon:
            assert (await daemon.until("enrolled"))["client_id"] == "snake-1"
        (asked,) = wfm.asked("/oauth/token")
        assert asked.line == "POST /oauth/token?tenant=7 HTTP/1.1"
        assert form(asked) == {"grant_type": "client_credentials", "client_id": "snake-1", "client_secret": SECRET}


UNUSABLE: Final = [
    (None, "token-endpoint-unusable", "missing or no text"),
    ("", "token-endpoint-unusable", "missing or no text"),
    (7, "token-endpoint-unusable", "missing or no text"),
    ("http://127.0.0.1:{port}/oauth/token", "token-endpoint-unusable", "does not begin with https://"),
    ("https://user:" + SECRET + "@127.0.0.1:{port}/t", "token-endpoint-unusable", "user name or password"),
    ("https://127.0.0.1:{port}/t#part", "token-endpoint-unusable", "a fragment"),
    ("https://127.0.0.1:{port}/" + "x" * 3000, "token-endpoint-unusable", "missing or no text"),
    ("https://127.0.0.1:{port}/../t", "token-endpoint-unusable", "dot segment"),
    ("https://127.0.0.1:{other}/t", "token-endpoint-not-allowed", "token.allowed_hosts"),
    ("https://login.example/t", "token-endpoint-not-allowed", "login.example is neither the WFM's own"),
]


@pytest.mark.parametrize(("url", "code", "detail"), UNUSABLE, ids=lambda v: str(v)[:24])
async def test_token_endpoints_that_get_no_secret(
    tmp_path: Path, certificates: Certificates, url: Any, code: str, detail: str
) -> None:
    """The enrolment is kept, the reason is the address; neither this host nor another is asked with the secret."""

    async def unwanted(turn: Turn) -> None:
        await turn.answer(200, json.dumps(GOOD).encode())

    async with (
        TokenServer(certificates) as wfm,
        RawServer(unwanted, context=certificates.server()) as other,
    ):
        ports = {"{port}": wfm.url.rpartition(":")[2], "{other}": str(other.port)}
        for name, port in ports.items():
            url = url.replace(name, port) if isinstance(url, str) else url
        wfm.onboarding["tokenEndpointUrl"] = url
        async with device(tmp_path, wfm, certificates) as daemon:
            status = await explained(daemon, code, detail)
            assert (status["state"], status["client_id"]) == ("onboarded", CLIENT)
            await daemon.retry()
            assert (await daemon.status())["state"] == "onboarded"
        assert not [each for each in wfm.requests if SECRET.encode() in each.head + each.body]
        assert [each.line.split(" ")[1] for each in wfm.requests] == ["/onboarding/"]
        assert (other.connections, other.requests) == (0, [])


GRANTS: Final = [
    (Said(200, b"<html><title>Portal</title>" + SECRET.encode()), "token-answer-invalid", "an HTML page: Portal"),
    (Said(200, {**GOOD, "token_type": "mac"}), "token-answer-invalid", "token_type is not Bearer"),
    (Said(200, {**GOOD, "access_token": "bearer-0 and"}), "token-answer-invalid", "access_token has blanks"),
    (Said(200, {"expires_in": 3600}), "token-answer-invalid", "access_token is missing"),
    (Said(404, {"error": f"no {SECRET}"}), "token-answer-invalid", "HTTP 404: no (secret)"),
    (Said(400, {"error": "invalid_grant"}), "client-secret-refused", "HTTP 400: invalid_grant"),
    (Said(401, {"error": "invalid_client"}), "client-secret-refused", "HTTP 401: invalid_client"),
    (Said(500, b"oops"), "token-endpoint-busy", "HTTP 500: oops"),
    (lambda turn: turn.hold(), "timed-out", ""),
]


@pytest.mark.parametrize(("grant", "code", "detail"), GRANTS, ids=lambda v: v if isinstance(v, str) else "")
async def test_token_endpoints_without_a_token(
    tmp_path: Path, certificates: Certificates, grant: Any, code: str, detail: str
) -> None:
    """Each has its own words; the WFM is not asked, and once the endpoint is mended a person's word is enough."""
    async with TokenServer(certificates) as wfm:
        wfm.grant = grant
        async with device(tmp_path, wfm, certificates) as daemon:
            status = await explained(daemon, code, detail)
            state = "refused" if code == "client-secret-refused" else "onboarded"
            assert (status["state"], status["client_id"]) == (state, CLIENT)
            assert wfm.count("/device/") == 0
            wfm.grant = None
            await daemon.retry()
            await daemon.until("enrolled")
        assert wfm.count("/onboarding/") - wfm.count("/onboarding/git") == 1


async def test_a_redirect_of_the_token_endpoint(tmp_path: Path, certificates: Certificates) -> None:
    """It is named and not followed: nobody connects to where it points."""

    async def unwanted(turn: Turn) -> None:
        await turn.answer(200, json.dumps(GOOD).encode())

    async with (
        TokenServer(certificates) as wfm,
        RawServer(unwanted, context=certificates.server()) as elsewhere,
    ):
        wfm.grant = Said(307, {}, (f"Location: {elsewhere.url}/t?s={SECRET}",))
        async with device(tmp_path, wfm, certificates) as daemon:
            await explained(daemon, "token-answer-invalid", f"HTTP 307, to {elsewhere.url}/t?s=(secret)")
        assert (elsewhere.connections, wfm.count()) == (0, 1)


@pytest.mark.parametrize("life", [None, 0, -1, 1e12, "300", [300], {}], ids=str)
async def test_lifetimes_that_say_nothing(tmp_path: Path, certificates: Certificates, life: object) -> None:
    """Whatever is said of its life, one token serves an onboarding and the question after it."""
    async with TokenServer(certificates) as wfm:
        wfm.lifetime = life
        async with device(tmp_path, wfm, certificates, "onboarding: {confirm: 1s}") as daemon:
            await daemon.until("enrolled")
            await wfm.until(lambda: wfm.count("/onboarding/git") >= 1)
        assert wfm.count() == 1


async def test_a_retry_after_of_the_token_endpoint(tmp_path: Path, certificates: Certificates) -> None:
    """Nobody asks before it is over, not for a person either; the WFM is not asked for want of a token."""
    async with TokenServer(certificates) as wfm:
        wfm.grant = Said(429, {"error": "slow_down"}, ("Retry-After: 3600",))
        async with device(tmp_path, wfm, certificates) as daemon:
            status = await explained(daemon, "token-endpoint-busy", "HTTP 429: slow_down")
            assert seconds_ahead(status) > 3500
            await daemon.retry()
            assert (wfm.count(), wfm.count("/device/")) == (1, 0)


async def test_secrets_that_are_said_back(tmp_path: Path, certificates: Certificates) -> None:
    """Bearer token, client secret and Git token are not shown, whatever the status they are repeated with."""
    repeated = f"seen bearer-1, {SECRET}, {GIT_TOKEN}."
    hidden = "seen (secret), (secret), (secret)."
    async with TokenServer(certificates) as wfm:
        wfm.report = Said(203, {"error": repeated})
        async with device(tmp_path, wfm, certificates) as daemon:
            await explained(daemon, "answer-invalid", f"HTTP 203: {hidden}")
            wfm.report, wfm.other = None, Said(203, {"error": repeated})
            await daemon.retry()
            await daemon.until("enrolled")
            since = len(daemon.journal)
            await daemon.report("pump", {"components": [{"name": "all", "state": "installed"}]})
            await daemon.journal_line("reports-wait", since, having=f"HTTP 203: {hidden}")
            assert "bearer-1" not in "\n".join([*daemon.journal, json.dumps(await daemon.status())])
