"""What goes out byte for byte, what comes back, and how connections are kept, against a real TLS server."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any

import pytest

from margod.wfm import WfmClient
from margod.wfm.client import HEADERS_LIMIT
from margod.wfm.resolver import Resolver
from tests.support.patience import within
from tests.support.rawserver import Certificates, RawServer, Turn, handshakes_only
from tests.wfm.common import OK, a_client, answered, answers, failed, get, post, says


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/api/v1/clients/a%2Fb/capabilities/plant/line-1/gw",
        "/a//b/%2e%2e/../c%2Fd;x=1?q=%7e+a&b=%C3%a4",
        "/x/urn:a@b=+!$&'()*,/~",
        "/x?",
    ],
)
async def test_path_goes_out_byte_for_byte(certificates: Certificates, target: str) -> None:
    """The signed target URI is what the server reads: nothing is quoted, unquoted or collapsed (or it is not sent)."""
    async with RawServer(answers, context=certificates.server()) as server, a_client(certificates) as client:
        result = await client.send(get(server.url + target))
        if target.endswith("?"):
            assert failed(result) == ("connect-failed", False)  # yarl would drop it: rather nothing than another URL
        else:
            assert answered(result).status == 200
            assert server.requests[0].line == f"GET {target} HTTP/1.1"


async def test_headers_are_exactly_ours(certificates: Certificates) -> None:
    """No header is added but Host, Accept-Encoding: identity and Content-Length; ours are kept as they are."""
    ours = {"Content-Digest": "sha-256=:x:", "Signature-Input": 'sig1=("@method");created=1', "Accept": "text/x"}
    async with RawServer(answers, context=certificates.server()) as server, a_client(certificates) as client:
        answered(await client.send(post(server.url + "/x", ours)))
        answered(await client.send(get(server.url + "/x", {"host": "signed.example:443"})))
        first, second = server.requests
        assert dict(first.headers) == ours | {
            "Host": f"127.0.0.1:{server.port}",
            "Accept-Encoding": "identity",
            "Content-Length": "4",
        }
        assert first.body == b"body"
        assert dict(second.headers) == {"host": "signed.example:443", "Accept-Encoding": "identity"}


async def test_answer_is_complete(certificates: Certificates) -> None:
    """Status, lower-case headers (repeated ones joined, undecodable bytes replaced), body and a time come back."""
    data = OK + b"X-One: a\r\nx-one: b\r\nX-Two: \xff\r\nContent-Length: 2\r\n\r\nhi"
    async with RawServer(says(data), context=certificates.server()) as server, a_client(certificates) as client:
        answer = answered(await client.send(get(server.url + "/")))
        assert (answer.status, answer.body) == (200, b"hi")
        assert answer.headers == {"x-one": "a, b", "x-two": "\ufffd", "content-length": "2"}
        assert abs(answer.at - time.time()) < 60


@pytest.mark.parametrize(
    "status", [200, 201, 202, 204, 299, 300, 304, 400, 403, 404, 409, 418, 429, 451, 500, 503, 599]
)
async def test_every_status_is_an_answer(certificates: Certificates, status: int) -> None:
    """No status is an exception or followed by itself."""

    async def script(turn: Turn) -> None:
        await turn.answer(status)

    async with RawServer(script, context=certificates.server()) as server, a_client(certificates) as client:
        assert answered(await client.send(post(server.url + "/x"))).status == status
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["/x", "https://127.0.0.1:1/", "http://[::bad", "\t", "file:///etc/passwd"])
async def test_redirects_are_answers(certificates: Certificates, status: int, where: str) -> None:
    """A redirect to itself, elsewhere or to nonsense is returned, never followed."""

    async def script(turn: Turn) -> None:
        await turn.answer(status, b"", f"Location: {where}")

    async with RawServer(script, context=certificates.server()) as server, a_client(certificates) as client:
        assert answered(await client.send(post(server.url + "/x"))).status == status
        assert len(server.requests) == 1


async def test_content_encoding_is_not_undone(certificates: Certificates) -> None:
    """A gzip bomb stays as small as it came."""
    data = OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08"
    async with RawServer(says(data), context=certificates.server()) as server, a_client(certificates) as client:
        assert answered(await client.send(get(server.url + "/"))).body == b"\x1f\x8b\x08"


async def test_cookies_are_not_kept(certificates: Certificates) -> None:
    """A cookie of one answer does not come with the next request."""

    async def script(turn: Turn) -> None:
        await turn.answer(200, b"", "Set-Cookie: a=b; Path=/")

    async with RawServer(script, context=certificates.server()) as server, a_client(certificates) as client:
        for _ in range(2):
            answered(await client.send(get(server.url + "/")))
        assert "Cookie" not in dict(server.requests[1].headers)


async def test_environment_is_not_read(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY and the like have no effect."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
    async with RawServer(answers, context=certificates.server()) as server, a_client(certificates) as client:
        answered(await client.send(get(server.url + "/")))


async def test_one_connection_for_all(certificates: Certificates) -> None:
    """Consecutive and simultaneous sends share one TCP connection and one handshake."""
    async with RawServer(answers, context=certificates.server()) as server, a_client(certificates) as client:
        for _ in range(2):
            answered(await client.send(post(server.url + "/x")))
        results = await asyncio.gather(*(client.send(get(server.url + "/y")) for _ in range(5)))
        assert all(answered(each).status == 200 for each in results)
        assert (server.connections, len(server.requests)) == (1, 7)


@pytest.mark.parametrize("busy", [False, True])
async def test_idle_close_is_no_error(certificates: Certificates, *, busy: bool) -> None:
    """A connection closed while idle is replaced before sending: no failure, and the POST arrives exactly once."""
    async with RawServer(answers, context=certificates.server()) as server, a_client(certificates) as client:
        for number in range(1, 4):
            answered(await client.send(post(server.url + "/x")))
            assert (server.connections, len(server.requests)) == (number, number)
            if busy:  # the close lies in the socket, and our loop has had no turn to see it
                for writer in server._writers:
                    writer.close()
                await asyncio.sleep(0)
            else:
                await server.close_connections()


async def test_lost_post_is_not_resent(certificates: Certificates) -> None:
    """A kept-alive connection that dies under a request costs that request: the server never sees it twice."""

    async def script(turn: Turn) -> None:
        if len(server.requests) == 1:
            await turn.answer()
        else:
            turn.vanish()

    for request in (post, get):
        async with RawServer(script, context=certificates.server()) as server, a_client(certificates) as client:
            answered(await client.send(get(server.url + "/")))
            assert failed(await client.send(request(server.url + "/x"))) == ("connection-lost", True)
            assert (server.connections, len(server.requests)) == (1, 2)


async def test_unasked_answer_is_not_the_next_one(certificates: Certificates) -> None:
    """Bytes that a server sends on an idle connection never pass for the answer to the next request."""
    spoken = asyncio.Event()

    async def script(turn: Turn) -> None:
        await turn.answer(200, b"right")
        if len(server.requests) == 1:
            await asyncio.sleep(0.05)
            await turn.answer(201, b"wrong")
            spoken.set()

    async with RawServer(script, context=certificates.server()) as server, a_client(certificates) as client:
        answered(await client.send(get(server.url + "/")))
        await spoken.wait()
        answer = answered(await client.send(post(server.url + "/x")))
        assert (answer.status, answer.body, server.connections) == (200, b"right", 2)


async def test_nothing_is_sent_where_no_connection_can_replace_the_idle_one(certificates: Certificates) -> None:
    """A server says goodbye on an idle connection and is gone: no byte of the request was sent, and so it is told."""
    read, spoken = asyncio.Event(), asyncio.Event()

    async def script(turn: Turn) -> None:
        await turn.answer()
        await read.wait()
        await turn.answer(408, b"idle too long")
        spoken.set()
        await turn.hold()

    async with RawServer(script, context=certificates.server()) as server, a_client(certificates) as client:
        answered(await client.send(get(server.url + "/")))
        server.listen_no_more()
        read.set()
        async with asyncio.timeout(60):
            await spoken.wait()
        assert failed(await client.send(post(server.url + "/x"))) == ("connect-refused", False)
        assert len(server.requests) == 1


async def test_recovers_after_a_failure(certificates: Certificates) -> None:
    """The next send after any failure opens a new connection and succeeds."""

    async def script(turn: Turn) -> None:
        if len(server.requests) == 1:
            await turn.send(OK + b"Content-Length: 99999\r\n\r\n")
        else:
            await turn.answer()

    async with RawServer(script, context=certificates.server()) as server, a_client(certificates) as client:
        assert failed(await client.send(get(server.url + "/"))) == ("answer-too-large", True)
        answered(await client.send(get(server.url + "/")))
        assert server.connections == 2


async def test_body_of_exactly_the_limit(certificates: Certificates) -> None:
    """The limit itself is allowed, one byte more is not, announced or not."""
    for size, fits in ((1_000, True), (1_001, False)):
        for head in (f"Content-Length: {size}\r\n\r\n", "\r\n"):
            script = says(OK + head.encode() + b"x" * size, "close")
            async with RawServer(script, context=certificates.server()) as server, a_client(certificates) as client:
                result = await client.send(get(server.url + "/"))
                if fits:
                    assert len(answered(result).body) == size
                else:
                    assert failed(result) == ("answer-too-large", True)


async def test_header_bounds(certificates: Certificates) -> None:
    """64 header fields are read, 65 are not."""
    for number, fits in ((HEADERS_LIMIT, True), (HEADERS_LIMIT + 1, False)):
        data = OK + b"".join(b"X-%d: a\r\n" % n for n in range(number - 1)) + b"Content-Length: 0\r\n\r\n"
        async with RawServer(says(data), context=certificates.server()) as server, a_client(certificates) as client:
            result = await client.send(get(server.url + "/"))
            if fits:
                assert len(answered(result).headers) == HEADERS_LIMIT
            else:
                assert failed(result) == ("answer-malformed", True)


@pytest.mark.parametrize(
    "request_",
    [
        post("http://127.0.0.1:1/x"),
        post("https://user:secret@127.0.0.1:1/x"),
        post("https://127.0.0.1:1/x y"),
        post("https://127.0.0.1:1/x\r\nX: y"),
        post("https://127.0.0.1:1/ä"),
        post("https://127.0.0.1:1/x#y"),
        post("https://127.0.0.1:99999/x"),
        post("https://127.0.0.1:1"),
        post("https:///x"),
        post("https://[::1/x"),
        post("https://127.0.0.1:1/x", {"X": "a\r\nY: b"}),
        post("https://127.0.0.1:1/x", {"X\r\n": "a"}),
    ],
)
async def test_unfit_requests_are_not_sent(certificates: Certificates, request_: object) -> None:
    """What cannot go out verbatim is refused before anything happens, without an exception."""
    async with a_client(certificates) as client:
        result = await client.send(request_)  # type: ignore[arg-type]  # pytest's parameters are objects
        assert failed(result) == ("connect-failed", False)


async def test_close_ends_what_is_under_way(certificates: Certificates) -> None:
    """close() lets a hanging exchange and those in line fail at once; later sends fail too, nothing raises."""
    arrived = asyncio.Event()

    async def script(turn: Turn) -> None:
        arrived.set()
        await turn.hold()

    async with RawServer(script, context=certificates.server()) as server:
        client = WfmClient(certificates.client(), timeout=60)
        tasks = [asyncio.create_task(client.send(post(server.url + "/x"))) for _ in range(2)]
        await arrived.wait()
        async with within(2):
            await client.close()
            first, second = await asyncio.gather(*tasks)
        assert failed(first) == ("connection-lost", True)
        assert failed(second) == ("connect-failed", False)
        assert failed(await client.send(get(server.url + "/"))) == ("connect-failed", False)
        await client.close()


async def test_close_ends_a_handshake_under_way(certificates: Certificates) -> None:
    """close() does not wait for a server that accepts and never says anything."""
    arrived = asyncio.Event()

    async def script(turn: Turn) -> None:
        arrived.set()
        await turn.hold()

    async with RawServer(script, context=None, wild=True) as server:
        client = WfmClient(certificates.client(), timeout=60)
        task = asyncio.create_task(client.send(post(server.url + "/x")))
        await arrived.wait()
        async with within(2):
            await client.close()
            assert failed(await task) == ("connection-lost", False)


async def test_close_tries_no_further_address(certificates: Certificates) -> None:
    """close() ends the attempt as a whole, not only at the first of several addresses."""
    arrived = asyncio.Event()

    def lookup(host: str, port: int, family: socket.AddressFamily) -> list[Any]:
        spellings = ("::ffff:127.0.0.1", "0:0:0:0:0:ffff:127.0.0.1")
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (each, port, 0, 0)) for each in spellings]

    async def script(turn: Turn) -> None:
        arrived.set()
        await turn.hold()

    async with RawServer(script, context=None, wild=True) as server:
        client = WfmClient(certificates.client(), timeout=60, resolver=Resolver(lookup))
        task = asyncio.create_task(client.send(post(f"https://wfm.example:{server.port}/x")))
        await arrived.wait()
        await client.close()
        async with within(2):
            assert failed(await task) == ("connection-lost", False)
        assert server.connections == 1


async def test_failed_connection_is_cut_at_once(certificates: Certificates) -> None:
    """After a failure the socket is closed without waiting for a peer that does not answer our TLS close either."""
    until = threading.Event()
    with handshakes_only(certificates.server(), until) as port:
        async with a_client(certificates, timeout=2.0) as client:
            assert failed(await client.send(post(f"https://127.0.0.1:{port}/x"))) == ("timed-out", True)
            async with within(2):
                while any(each.fileno() != -1 for each in client._sockets):
                    await asyncio.sleep(0.01)
            until.set()


async def test_cancelled_send_leaves_no_connection(certificates: Certificates) -> None:
    """A cancelled send raises CancelledError alone, and its connection is not used again."""
    arrived = asyncio.Event()

    async def script(turn: Turn) -> None:
        if len(server.requests) == 1:
            arrived.set()
            await turn.hold()
        await turn.answer()

    async with RawServer(script, context=certificates.server()) as server, a_client(certificates) as client:
        task = asyncio.create_task(client.send(get(server.url + "/")))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        answered(await client.send(get(server.url + "/")))
        assert server.connections == 2
