"""What goes wrong on the way to the repository, and the word and the sentence for it."""

from __future__ import annotations

import socket
import struct
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from margod.gitfetch import Failed, Fetched, Job, ProxyAt, Tls, fetch
from margod.gitfetch.job import Refusal
from margod.gitfetch.wire import _check
from tests.support.gitserver import BACKEND, GitServer
from tests.support.proxyserver import ProxyServer, answers

pytestmark = pytest.mark.skipif(not BACKEND.exists(), reason="needs git (apt-get install git)")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    """Return a running server with one file in its repository."""
    with GitServer(tmp_path) as running:
        running.commit({"a.yaml": b"kind: A\n"})
        yield running


def job(server: GitServer) -> Job:
    """Return the job of fetching its main branch."""
    return Job(server.url, "main", server.ca_file.read_text(), "oauth2", "token-1")


async def failed(made: Job) -> Failed:
    """Return why nothing is fetched."""
    result = await fetch(made)
    assert isinstance(result, Failed), result
    return result


@pytest.mark.parametrize("said", ["Basic {basic}", "{pair}", "no {password} here", "no %{hexed} here"])
async def test_a_proxy_that_repeats_its_credentials(server: GitServer, said: str) -> None:
    """Its refusal is shown without them, as base64 and as they are."""
    password = "proxy-password-1"
    pair = f"someone:{password}"
    basic = b64encode(pair.encode()).decode()
    hexed = "%".join(f"{each:02x}" for each in password.encode())
    line = said.format(basic=basic, pair=pair, password=password, hexed=hexed)
    async with ProxyServer(answers(f"HTTP/1.1 407 {line}\r\n\r\n".encode())) as proxy:
        result = await failed(replace(job(server), proxy=ProxyAt("127.0.0.1", proxy.port, f"Basic {basic}")))
    assert (result.code, "407" in result.detail or "(secret)" in result.detail) == ("unreachable", True), result
    assert not any(secret in result.detail for secret in (basic, password, hexed)), result


async def test_an_ipv6_address_behind_a_proxy(server: GitServer) -> None:
    """It is asked for in brackets: what is between the last colon and the blank is the port."""
    url = f"https://[2001:db8::1]:{server.port}/device.git"
    async with ProxyServer() as proxy:
        through = replace(job(server), url=url, tls=Tls(any_name=True), proxy=ProxyAt("127.0.0.1", proxy.port))
        assert isinstance(await fetch(through), Fetched)
    assert {head.split(b" ")[1] for head in proxy.asked} == {b"[2001:db8::1]:%d" % server.port}


SOON = "Sun, 06 Nov 2094 08:49:37 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": SOON, "Date": "Sun, 06 Nov 2094 08:47:37 GMT"}, 120.0),
        ({"Retry-After": SOON, "Date": "Sun, 06 Nov 2094 08:50:37 GMT"}, 0.0),
        ({"Retry-After": "soon", "Date": SOON}, None),
        ({"Retry-After": SOON, "Date": "now"}, 600.0),
    ],
)
async def test_a_server_that_says_when(server: GitServer, headers: dict[str, str], seconds: float | None) -> None:
    """A date is compared with the server's own clock; where it tells none, with the time that the job goes by."""

    def busy(handler: Any) -> bool:
        handler.date_time_string = lambda: headers["Date"]
        handler.answer(503, b"", {"Retry-After": headers["Retry-After"]})
        return True

    server.before = busy
    with pytest.raises(Refusal) as caught:
        said = Message()
        for name, value in headers.items():
            said[name] = value
        now = datetime(2094, 11, 6, 8, 39, 37, tzinfo=UTC).timestamp()
        _check(503, said, replace(job(server), tls=Tls(now=now)))
    assert caught.value.retry_after == seconds
    if headers["Date"] != "now":
        assert (await failed(job(server))).retry_after == seconds


def _advertised(handler: Any, **headers: str) -> None:
    """Begin an answer of the right media type."""
    handler.send_response(200)
    handler.send_header(
        "Content-Type", f"application/x-git-upload-pack-{'result' if handler.body else 'advertisement'}"
    )
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def _says_nothing(_handler: Any) -> None:
    pass


def _ends_in_a_length(handler: Any) -> None:
    _advertised(handler, Content_Length="500")
    handler.wfile.write(b"001e# serv")


def _ends_between_two_lines(handler: Any) -> None:
    _advertised(handler, Content_Length="500")
    handler.wfile.write(b"001e# service=git-upload-pack\n")


def _ends_in_a_chunk(handler: Any) -> None:
    _advertised(handler, Transfer_Encoding="chunked")
    handler.wfile.write(b"50\r\n001e# serv")


def _resets(handler: Any) -> None:
    _ends_in_a_length(handler)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize(
    "cut",
    [_says_nothing, _ends_in_a_length, _ends_between_two_lines, _ends_in_a_chunk, _resets],
    ids=lambda cut: cut.__name__,
)
async def test_a_connection_that_is_cut(server: GitServer, cut: Callable[[Any], None], at: int) -> None:
    """That is the way's fault, and not what the server says, wherever in an answer it ends."""

    def cuts(handler: Any) -> bool:
        if len(server.requests) < at:
            return False
        cut(handler)
        return True

    server.before = cuts
    result = await failed(job(server))
    assert (result.code, len(server.requests)) == ("unreachable", at), result
    assert "cut" in result.detail or cut is _resets, result
