"""What the shell relies on, held by the HTTP client over real TLS and by the double that stands for it in a year."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeAlias

import pytest

from margod.model.wire import SignedRequest
from margod.wfm import WfmClient
from tests.support.rawserver import Certificates, RawServer, Turn
from tests.support.transport import Said, Server, Transport
from tests.wfm.common import LIMIT, answered, failed, get, post

Client: TypeAlias = Transport | WfmClient
TIMEOUT = 3.0


@pytest.fixture(params=["real", "double"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which of the two."""
    return str(request.param)


@asynccontextmanager
async def bench(
    kind: str, certificates: Certificates, server: Server, *, dead: bool = False
) -> AsyncIterator[tuple[Client, str]]:
    """Give a client, and the URL of a server that behaves like `server`."""
    if kind == "double":
        double = Transport(server, timeout=TIMEOUT)
        yield double, "https://wfm.example"
        await double.close()
        return

    async def script(turn: Turn) -> None:
        request = turn.request
        method, target, _ = request.line.split(" ")
        said = server(SignedRequest(method, f"https://wfm.example{target}", dict(request.headers), request.body, LIMIT))
        if isinstance(said, str):
            await turn.hold() if said == "silent" else turn.close()
            return
        if said.after:
            await asyncio.sleep(said.after)
        lines = [f"HTTP/1.1 {said.status} X", f"Content-Length: {len(said.body)}"]
        lines += [f"{name}: {value}" for name, value in said.headers]
        await turn.send("\r\n".join([*lines, "", ""]).encode() + said.body)

    async with AsyncExitStack() as stack:
        raw = await stack.enter_async_context(RawServer(script, context=certificates.server()))
        url = raw.url
        client = WfmClient(certificates.client(), timeout=TIMEOUT)
        stack.push_async_callback(client.close)
        if dead:
            await raw.__aexit__(None, None, None)
            stack.pop_all()
        try:
            yield client, url
        finally:
            await client.close()


async def test_an_answer_is_complete(kind: str, certificates: Certificates) -> None:
    """Status, lower-case names, repeated fields joined, the body, and when it was."""
    said = Said(201, (("X-One", "a"), ("x-one", "b"), ("Retry-After", "5")), b"body")
    async with bench(kind, certificates, lambda _: said) as (client, url):
        answer = answered(await client.send(post(url + "/x")))
        assert answer.status == 201
        assert answer.headers["x-one"] == "a, b"
        assert answer.headers["retry-after"] == "5"
        assert answer.body == b"body"
        assert abs(answer.at - time.time()) < 60


@pytest.mark.parametrize("status", [200, 202, 302, 400, 404, 409, 429, 503])
async def test_every_status_is_an_answer(kind: str, certificates: Certificates, status: int) -> None:
    """No status is followed, raised or repeated."""
    asked = []

    def server(request: SignedRequest) -> Said:
        asked.append(request.method)
        return Said(status, (("Location", "https://127.0.0.1:1/"),), b"{}")

    async with bench(kind, certificates, server) as (client, url):
        assert answered(await client.send(get(url + "/x"))).status == status
    assert asked == ["GET"]


async def test_what_goes_out(kind: str, certificates: Certificates) -> None:
    """Method, target, headers and body come to the server as they were given."""
    seen: list[SignedRequest] = []

    def server(request: SignedRequest) -> Said:
        seen.append(request)
        return Said(200)

    async with bench(kind, certificates, server) as (client, url):
        answered(await client.send(post(url + "/a%2Fb?c=d", {"Signature": "sig1=:x:"}, b"1234")))
    assert (seen[0].method, seen[0].body, seen[0].headers["Signature"]) == ("POST", b"1234", "sig1=:x:")
    assert seen[0].url.endswith("/a%2Fb?c=d")


async def test_bounded_in_size(kind: str, certificates: Certificates) -> None:
    """A body within the request's limit is read, a longer one is a failure after sending."""
    bodies = [b"x" * LIMIT, b"x" * (LIMIT + 1)]
    async with bench(kind, certificates, lambda _: Said(200, (), bodies.pop(0))) as (client, url):
        assert len(answered(await client.send(get(url + "/x"))).body) == LIMIT
        assert failed(await client.send(get(url + "/x"))) == ("answer-too-large", True)


async def test_bounded_in_time(kind: str, certificates: Certificates) -> None:
    """A server that says nothing is a failure after the timeout, and the request counts as sent."""
    async with bench(kind, certificates, lambda _: "silent") as (client, url):
        assert failed(await client.send(get(url + "/x"))) == ("timed-out", True)


async def test_a_cut_counts_as_sent_and_the_next_one_works(kind: str, certificates: Certificates) -> None:
    """A connection that ends without an answer may have been acted upon; the next request finds a new one."""
    turns = ["cut", "good"]
    async with bench(kind, certificates, lambda _: Said(200) if turns.pop(0) == "good" else "cut") as (client, url):
        assert failed(await client.send(post(url + "/x"))) == ("connection-lost", True)
        assert answered(await client.send(post(url + "/x"))).status == 200


async def test_nobody_listens(kind: str, certificates: Certificates) -> None:
    """A refused connection certainly sent nothing."""
    async with bench(kind, certificates, lambda _: "refused", dead=True) as (client, url):
        assert failed(await client.send(post(url + "/x"))) == ("connect-refused", False)


@pytest.mark.parametrize(
    "request_",
    [
        SignedRequest("GET", "http://wfm.example/", {}, b"", LIMIT),
        SignedRequest("GET", "https://wfm.example/", {"A": "b\r\nc"}, b"", LIMIT),
        SignedRequest("GET", "https://u:p@wfm.example/", {}, b"", LIMIT),
    ],
)
async def test_unfit_requests_are_not_sent(kind: str, certificates: Certificates, request_: SignedRequest) -> None:
    """What cannot go out verbatim does not go out."""
    async with bench(kind, certificates, lambda _: Said(200)) as (client, _):
        assert failed(await client.send(request_)) == ("connect-failed", False)


async def test_one_at_a_time(kind: str, certificates: Certificates) -> None:
    """Of several requests at once each waits for its turn."""
    under_way = [0]
    most = [0]

    def server(_: SignedRequest) -> Said:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        asyncio.get_running_loop().call_later(0.05, lambda: under_way.__setitem__(0, under_way[0] - 1))
        return Said(200, after=0.1)

    async with bench(kind, certificates, server) as (client, url):
        results = await asyncio.gather(*(client.send(get(f"{url}/{number}")) for number in range(3)))
    assert [answered(result).status for result in results] == [200, 200, 200]
    assert most == [1]


async def test_close_ends_what_is_under_way(kind: str, certificates: Certificates) -> None:
    """A close ends an exchange as a failure at once, and nothing is sent after it."""
    arrived = asyncio.Event()

    def server(_: SignedRequest) -> Said:
        arrived.set()
        return Said(200, after=TIMEOUT - 0.2)

    async with bench(kind, certificates, server) as (client, url):
        sending = asyncio.ensure_future(client.send(post(url + "/x")))
        await arrived.wait()
        await client.close()
        assert failed(await sending) == ("connection-lost", True)
        assert failed(await client.send(get(url + "/x"))) == ("connect-failed", False)
