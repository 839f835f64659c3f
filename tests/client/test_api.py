"""The client against the real server, and against what is none."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from margod.client import Client, RequestRefused, admin_socket, agent_socket, runtime_directory, status_socket
from margod.client.aio import AsyncAgent
from margod.local import LocalServer
from margod.model.errors import DaemonUnreachable, MargodError
from margod.model.reasons import STATE_NOT_WRITABLE
from tests.support.local_api import SteeredController, serving


@pytest.fixture
def client(directory: Path) -> Client:
    return Client(status_socket(str(directory)))


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """A socket that answers the first caller with these bytes."""
    path.parent.mkdir(exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        caller, _ = listener.accept()
        with caller, suppress(ConnectionError):  # the client hangs up on what is too large
            caller.recv(65_536)
            caller.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        thread.join(60)
        listener.close()


async def test_reading(server: LocalServer, client: Client, controller: SteeredController) -> None:
    """Pins that every document arrives whole, an unhealthy daemon and a missing identity included."""
    assert await asyncio.to_thread(client.status) == controller.document
    assert await asyncio.to_thread(client.identity) == controller.certificate
    controller.is_healthy, controller.certificate = False, None
    health = await asyncio.to_thread(client.health)
    assert (health["healthy"], health["state"]) == (False, "onboarding")
    assert await asyncio.to_thread(client.identity) is None


async def test_acting(server: LocalServer, directory: Path, controller: SteeredController) -> None:
    """Pins retry and reload on the admin socket, and the daemon's refusal in its own words."""
    admin = Client(admin_socket(str(directory)))
    assert (await asyncio.to_thread(admin.retry))["message"] == "The next attempt is brought forward."
    assert (await asyncio.to_thread(admin.reload))["result"] == "reloaded"
    controller.failure = MargodError(STATE_NOT_WRITABLE)
    with pytest.raises(RequestRefused, match="cannot be written") as caught:
        await asyncio.to_thread(admin.retry)
    assert (caught.value.status, caught.value.reason) == (409, STATE_NOT_WRITABLE)


async def test_the_status_socket_does_not_act(server: LocalServer, client: Client) -> None:
    """Pins that an action on the wrong socket is refused with the API's own code."""
    with pytest.raises(RequestRefused) as caught:
        await asyncio.to_thread(client.retry)
    assert (caught.value.status, caught.value.code) == (404, "not-found")


async def test_events(server: LocalServer, client: Client, controller: SteeredController) -> None:
    """Pins the document at once, one at a change, and the end at the timeout."""
    events = client.events()
    assert (await asyncio.to_thread(next, events))["state"] == "onboarding"
    await controller.set(state="enrolled")
    assert (await asyncio.to_thread(next, events))["state"] == "enrolled"
    events.close()  # type: ignore[attr-defined]  # it is a generator
    (only,) = await asyncio.to_thread(list, client.events(timeout=2.0))
    assert only["state"] == "enrolled"
    await controller.until_listeners(0)


async def test_events_when_the_daemon_goes(directory: Path, client: Client, controller: SteeredController) -> None:
    """Pins that the end of the daemon is told from the end of the time."""
    async with serving(directory, controller):
        events = client.events()
        await asyncio.to_thread(next, events)
    with pytest.raises(DaemonUnreachable, match="went away"):
        await asyncio.to_thread(next, events)


def test_no_daemon(client: Client, directory: Path) -> None:
    """Pins one error for no socket, a stale one and a path that cannot be one; each names it."""
    with pytest.raises(DaemonUnreachable, match=r"status\.sock: No such file"):
        client.status()
    directory.mkdir()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(status_socket(str(directory)))
    stale.close()
    with pytest.raises(DaemonUnreachable, match=r"status\.sock: Connection refused") as caught:
        next(client.events())
    assert "systemctl start margod" in caught.value.diagnostics()
    with pytest.raises(DaemonUnreachable, match="too long"):
        Client("/tmp/" + "x" * 200).status()


def test_no_permission(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pins that a missing right is told from a missing daemon."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(DaemonUnreachable) as caught:
        client.status()
    assert caught.value.code == "not-permitted"
    assert "group margod to read" in caught.value.hint
    with pytest.raises(DaemonUnreachable) as caught:
        Client(agent_socket("/run/margod")).deployments()
    assert caught.value.hint == "Join the group margod-agent to use it, or use root."
    with pytest.raises(DaemonUnreachable) as caught:
        Client(admin_socket("/run/margod")).retry()
    assert caught.value.hint == "Use root to administer."


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"hello\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 1_100_000,
        b"HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\nhtml",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 65 + b"\r\n{}",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 9000 + b"\r\n\r\n{}",
        b"HTTP/1.1 2x0 OK\r\n\r\n{}",
        b"SSH-2.0-x 200\r\n\r\n{}",
    ],
    ids=[
        *("nothing", "garbage", "list", "cut", "deep", "large", "html", "short", "announced-large", "negative"),
        *("cut-head", "chunks", "many-lines", "long-line", "no-status", "not-http"),
    ],
)
def test_what_answers_is_no_margod(client: Client, directory: Path, answer: bytes) -> None:
    """Pins that every foreign answer is one error of ours, without filling memory."""
    with answering(directory / "status.sock", answer), pytest.raises(DaemonUnreachable):
        client.status()


@pytest.mark.parametrize("body", [b"", b"data: {\n\n", b"data: " + b"x" * 1_100_000 + b"\n\n", b"data: 5\n\n"])
def test_a_stream_that_is_none(client: Client, directory: Path, body: bytes) -> None:
    """Pins the same for events."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    with answering(directory / "status.sock", head + body), pytest.raises(DaemonUnreachable):
        next(client.events())


def test_a_daemon_that_says_nothing(directory: Path) -> None:
    """Pins that a read ends after the timeout."""
    directory.mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "status.sock"))
    listener.listen()
    started = time.monotonic()
    with pytest.raises(DaemonUnreachable, match="timed out"):
        Client(directory / "status.sock", timeout=0.2).status()
    with pytest.raises(DaemonUnreachable, match="timed out"):
        list(Client(directory / "status.sock").events(timeout=0.2))
    assert time.monotonic() - started < 8, "it would be ten seconds otherwise"
    listener.close()


def test_which_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pins the order: option, environment, /run/margod."""
    monkeypatch.delenv("MARGOD_RUNTIME_DIR", raising=False)
    assert runtime_directory() == "/run/margod"
    monkeypatch.setenv("MARGOD_RUNTIME_DIR", "/run/other")
    assert runtime_directory() == "/run/other"
    assert runtime_directory("/run/given") == "/run/given"
    assert admin_socket("/run/given/") == "/run/given/admin/admin.sock"


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_full_queue_is_waited_for(tmp_path: Path, kind: str) -> None:
    """A daemon whose queue of callers is full is there: it is waited for, not called unreachable."""
    path = tmp_path / "run" / "status.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as crowd:
        listener.bind(str(path))
        listener.listen(0)
        crowd.connect(str(path))

        def make_room() -> None:
            listener.accept()[0].close()
            caller, _ = listener.accept()
            with caller:
                caller.recv(65_536)
                caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        thread = threading.Timer(0.3, make_room)
        thread.start()
        answer = asyncio.run(AsyncAgent(path).status()) if kind == "asyncio" else Client(path).status()
        assert json.dumps(answer) == "{}"
        thread.join()


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_queue_that_stays_full(tmp_path: Path, kind: str) -> None:
    """It is waited for as long as for any read, and no longer."""
    path = tmp_path / "status.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as crowd:
        listener.bind(str(path))
        listener.listen(0)
        crowd.connect(str(path))
        with pytest.raises(DaemonUnreachable, match="its queue of callers is full"):
            if kind == "asyncio":
                asyncio.run(AsyncAgent(path, timeout=0.1).status())
            else:
                Client(path, timeout=0.1).status()
