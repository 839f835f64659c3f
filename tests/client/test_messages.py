"""What the agents' clients read, piece by piece as it may come, and what they take for no answer at all."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from margod.client import messages
from margod.client.agent import Agent, status_body
from margod.client.aio import AsyncAgent
from margod.client.messages import Answer
from margod.model.errors import DaemonUnreachable
from margod.protocols.signed.deployment_status import read_status

T = TypeVar("T")
LIMIT = 100

GOOD = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: x\r\n\r\nhi", b"hi"),
    (b"HTTP/1.1 200 OK\r\n\r\nto the end", b"to the end"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n3\r\n ho\r\n0\r\n\r\n", b"hi ho"),
    (b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", b""),
    (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100, b"x" * 100),
]
BAD = [
    b"",
    b"SSH-2.0-x\r\n",
    b"HTTP/1.1 2x0 OK\r\n\r\n",
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 200 OK\r\nA: b",
    b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 70 + b"\r\n",
    b"HTTP/1.1 200 OK\r\nA: " + b"b" * 9000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhalf",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101,
    b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhi\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhixx\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nhi\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\nhi",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"32\r\n"
    + b"x" * 50
    + b"\r\n33\r\n"
    + b"x" * 51
    + b"\r\n0\r\n\r\n",
]


def read(reading: Generator[int, bytes, T], data: bytes) -> T:
    """Feed a reading from bytes."""
    try:
        need = next(reading)
        while True:
            end = data.find(b"\n") + 1 or len(data)
            count = min(need or min(end, messages.LINE_LIMIT + 1), len(data))
            piece, data = data[:count], data[count:]
            need = reading.send(piece)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # what the generator returns


@pytest.mark.parametrize(("data", "body"), GOOD)
def test_answers(data: bytes, body: bytes) -> None:
    """A body by its length, in chunks, to the end, or none where there is none."""
    answer = read(messages.answer(LIMIT), data)
    assert answer.body == body
    assert answer.status == int(data[9:12])


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
def test_what_is_none(data: bytes) -> None:
    """Half an answer never passes for a whole one, nor too large a one for a small one."""
    with pytest.raises(ValueError):
        read(messages.answer(LIMIT), data)


@given(st.binary(max_size=300))
def test_whatever_comes(data: bytes) -> None:
    """Any bytes are an answer within the limit, or a ValueError."""
    with suppress(ValueError):
        assert len(read(messages.answer(LIMIT), b"HTTP/1.1 200 OK\r\n" + data).body) <= LIMIT


@pytest.mark.parametrize("data", BAD[:11], ids=range(11))
async def test_both_clients_call_it_unreachable(directory: Path, data: bytes) -> None:
    """Whatever answers in margod's place is one error of ours."""
    directory.mkdir()
    path = directory / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            for _ in range(2):
                caller, _ = listener.accept()
                with caller, suppress(ConnectionError):
                    caller.recv(65_536)
                    caller.sendall(data if b"Length: 101" not in data else data.replace(b"101", b"99999999"))

        thread = threading.Thread(target=serve)
        thread.start()
        for ask in (asyncio.to_thread(Agent(path).wfm, "/x"), AsyncAgent(path).wfm("/x")):
            with pytest.raises(DaemonUnreachable, match=r"agent\.sock"):
                await ask
        thread.join(5)


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX: y", "/\xe4", "/a\tb"])
def test_requests_that_are_none(path: str) -> None:
    """A caller's line breaks do not become headers."""
    with pytest.raises(ValueError):
        messages.request("GET", path)
    with pytest.raises(ValueError):
        messages.request("GET", "/x", {"Accept": path + "\r\n"})


@pytest.mark.parametrize(
    ("path", "method", "headers", "says"),
    [
        *[(path, "GET", None, "HTTP does not take") for path in ("/a b", "/a\r\nX: y", "/\xe4")],
        ("/x", "GET", {"Accept": "a\r\nX: y"}, "HTTP does not take"),
        ("/x", "GET\n", None, "HTTP does not take"),
        ("/x", "HEAD", None, "no HEAD"),
        ("/x", "head", None, "no HEAD"),
    ],
)
async def test_what_is_wrong_with_a_request_is_the_callers(
    directory: Path, path: str, method: str, headers: dict[str, str] | None, says: str
) -> None:
    """Both clients raise ValueError, before anybody is asked: it is not the daemon that is away, nor worth a retry."""
    nobody = directory / "agent.sock"
    with pytest.raises(ValueError, match=says):
        Agent(nobody).wfm(path, method, headers=headers)
    with pytest.raises(ValueError, match=says):
        await AsyncAgent(nobody).wfm(path, method, headers=headers)


def test_requests() -> None:
    """What goes out, byte for byte."""
    assert (
        messages.request("GET", "/x", {"A": "b"})
        == b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nA: b\r\n\r\n"
    )
    assert messages.request("PUT", "/x", None, b"hi").endswith(b"close\r\nContent-Length: 2\r\n\r\nhi")
    assert messages.request("POST", "/x").endswith(b"Content-Length: 0\r\n\r\n")


def test_a_report_in_the_specifications_form() -> None:
    """What `report_state` says is what margod reads: states by component, errors where they belong."""
    body = status_body("d", "failed", components={"a": "failed", "b": "installed"}, errors={"a": "no room", "": "half"})
    status = read_status("d", body)
    assert [(one.name, one.state.value, one.fault.message if one.fault else "") for one in status.components] == [
        ("a", "failed", "no room"),
        ("b", "installed", ""),
    ]
    assert (status.state.value, status.fault.message if status.fault else "") == ("failed", "half")
    assert isinstance(read(messages.answer(9), GOOD[0][0]), Answer)


@pytest.mark.parametrize("value", [[{"name": "web", "state": "installed"}], {"web": {"state": "installed"}}, "web"])
def test_a_report_of_another_form(value: Any) -> None:
    """The specification's list and other forms are a TypeError that says what is expected."""
    for name in ("components", "errors"):
        with pytest.raises(TypeError, match=f"^{name} has to be a mapping of texts"):
            status_body("d", "failed", **{name: value})
