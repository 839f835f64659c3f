"""The one request to a server that nobody vouches for, and that there is no other."""

from __future__ import annotations

import ssl

import pytest

from margod.model.wire import Answer, Auth, Request, TransportFailure
from margod.wfm import WfmClient, fetch_unverified
from tests.support.rawserver import Certificates, RawServer, Turn

GET = Request("GET", "/api/v1/onboarding/certificate", Auth.NONE, {"Accept": "application/json"}, limit=1000)


async def fetch(url: str, request: Request = GET, versions: tuple[str, str] = ("1.2", "1.3")) -> object:
    """Fetch within five seconds."""
    return await fetch_unverified(url, request, versions=versions, seconds=5.0)


async def test_anybody_may_answer_once() -> None:
    """No chain, host name or date is looked at; the connection is closed after the answer; TLS versions hold."""

    async def script(turn: Turn) -> None:
        await turn.answer(200, b"hello", "Connection: keep-alive")

    context = Certificates().server("elsewhere.example", days=(-9, -8), maximum=ssl.TLSVersion.TLSv1_2)
    async with RawServer(script, context=context) as server:
        for _ in range(2):
            result = await fetch(server.url)
            assert isinstance(result, Answer)
            assert result.body == b"hello"
        assert [request.connection for request in server.requests] == [1, 2]
        assert {name for name, _ in server.requests[0].headers} == {"Host", "Accept", "Accept-Encoding"}
        result = await fetch(server.url, versions=("1.3", "1.3"))
        assert isinstance(result, TransportFailure)
        assert result.reason.code in ("tls-version", "tls-failed"), "asyncio servers before 3.12 send no alert"


async def test_it_is_bounded() -> None:
    """A body over the request's limit is dropped."""

    async def script(turn: Turn) -> None:
        await turn.answer(200, b"x" * 1001)

    async with RawServer(script, context=Certificates().server()) as server:
        result = await fetch(server.url)
        assert isinstance(result, TransportFailure)
        assert result.reason.code == "answer-too-large"


@pytest.mark.parametrize(
    "request_",
    [
        Request("POST", "/api/v1/onboarding", Auth.NONE),
        Request("GET", "/", Auth.SIGNATURE),
        Request("GET", "/", Auth.NONE, body=b"x"),
    ],
    ids=["POST", "signed", "body"],
)
async def test_nothing_else_can_be_sent(request_: Request) -> None:
    """What says more than `give me your root CA` is a fault of ours, before a connection is made."""

    async def script(turn: Turn) -> None:
        await turn.answer()

    async with RawServer(script, context=Certificates().server()) as server:
        with pytest.raises(ValueError, match="not verified"):
            await fetch(server.url, request_)
        assert server.connections == 0


async def test_secrets_in_headers_stay_here() -> None:
    """Of a request's headers only those that say nothing of the device go out."""

    async def script(turn: Turn) -> None:
        await turn.answer()

    request = Request("GET", "/", Auth.NONE, {"Authorization": "Bearer x", "Signature": "y", "User-Agent": "margod"})
    async with RawServer(script, context=Certificates().server()) as server:
        await fetch(server.url, request)
        assert {name for name, _ in server.requests[0].headers} == {"Host", "User-Agent", "Accept-Encoding"}


def test_the_client_takes_no_such_context() -> None:
    """An SSL context that does not verify cannot be given to the client that sends everything else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with pytest.raises(ValueError, match="does not verify"):
        WfmClient(context, timeout=5)
