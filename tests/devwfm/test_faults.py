"""Faults on demand, each as a client meets it."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from margod.devwfm.faults import Fault
from margod.devwfm.problems import DevWfmError
from margod.devwfm.registry import Registry
from margod.devwfm.server import DevServer
from tests.devwfm.running import running
from tests.support.device import Device, Prepared

CERTIFICATE = "/api/v1/onboarding/certificate"


def arm(server: DevServer, action: str, **members: Any) -> None:
    """Arm a fault as the control socket does."""
    server.faults.add(Fault.from_json({"action": action, **members}))


async def connect(server: DevServer, **context: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a verified connection; `context` are attributes of its SSLContext."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(server.ca_file)
    for name, value in context.items():
        setattr(made, name, value)
    parts = urlsplit(server.url)
    return await asyncio.open_connection(parts.hostname, parts.port, ssl=made)


async def ask(server: DevServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a GET of the CA and return the streams."""
    reader, writer = await connect(server)
    writer.write(f"GET {CERTIFICATE} HTTP/1.1\r\nHost: {urlsplit(server.url).netloc}\r\n\r\n".encode())
    return reader, writer


async def close(writer: asyncio.StreamWriter) -> None:
    """Close without caring how."""
    writer.transport.abort()
    await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])


async def test_answers_n_times(tmp_path: Path) -> None:
    """The next N requests of the route are answered as asked, without being looked at; then all is well."""
    async with running(tmp_path) as server:
        arm(server, "answer", route="onboarding", times=2, status=503, headers={"Retry-After": "9"}, body="{}")
        device = Device(server.url, server.ca_file)
        assert (await device.send(Prepared("GET", server.url + CERTIFICATE))).status == 200
        for _ in range(2):
            answer = await device.onboard()
            assert (answer.status, answer.headers["retry-after"], answer.body) == (503, "9", b"{}")
        assert (await device.onboard()).status == 201


async def test_until_cleared(tmp_path: Path) -> None:
    """`times` 0 stays."""
    async with running(tmp_path) as server:
        arm(server, "answer", times=0, status=404, headers={"Content-Type": "text/html"}, body="<html>")
        device = Device(server.url, server.ca_file)
        for _ in range(3):
            answer = await device.onboard()
            assert (answer.status, answer.headers["content-type"]) == (404, "text/html")
        server.faults.clear()
        assert (await device.onboard()).status == 201


@pytest.mark.parametrize("status", [100, 102, 204, 304, 418, 599])
async def test_any_status(tmp_path: Path, status: int) -> None:
    """Every status from 100 to 599 can be sent as the status line."""
    async with running(tmp_path) as server:
        arm(server, "answer", status=status)
        reader, writer = await ask(server)
        assert (await reader.readline()).startswith(f"HTTP/1.1 {status} ".encode())
        await close(writer)


@pytest.mark.parametrize(("when", "committed"), [("before", 0), ("after", 1)])
async def test_cut(tmp_path: Path, when: str, committed: int) -> None:
    """The connection is cut before anything is done, or after the client id was committed: then 409 for ever."""
    async with running(tmp_path) as server:
        arm(server, "cut", route="onboarding", when=when)
        device = Device(server.url, server.ca_file)
        with pytest.raises((OSError, http.client.HTTPException)):
            await device.onboard()
        registry = Registry(tmp_path / "registry.db")
        assert len(registry.clients()) == committed
        assert registry.requests()[0]["status"] == (201 if committed else None)
        assert (await device.onboard()).status == (409 if committed else 201)
        registry.close()


async def test_hang(tmp_path: Path) -> None:
    """It takes the request and says nothing, until the client leaves."""
    async with running(tmp_path) as server:
        arm(server, "hang")
        reader, writer = await ask(server)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.3)
        await close(writer)


async def test_garbage(tmp_path: Path) -> None:
    """Bytes that are no HTTP, then the end."""
    async with running(tmp_path) as server:
        arm(server, "garbage")
        reader, writer = await ask(server)
        assert b"not http" in await asyncio.wait_for(reader.read(), 5)
        await close(writer)


async def test_endless(tmp_path: Path) -> None:
    """A 200 whose body goes on: more than 20 MB come, and the server does not fill its own memory meanwhile."""
    async with running(tmp_path) as server:
        arm(server, "endless")
        reader, writer = await ask(server)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        for _ in range(320):
            await asyncio.wait_for(reader.readexactly(65_536), 5)
        await close(writer)
        assert (await Device(server.url, server.ca_file).onboard()).status == 201


async def test_slow(tmp_path: Path) -> None:
    """The true answer comes byte by byte, after it was committed."""
    async with running(tmp_path) as server:
        arm(server, "slow", when="after", seconds=0.001)
        reader, writer = await ask(server)
        first = await asyncio.wait_for(reader.read(4), 5)
        assert b"HTTP".startswith(first)
        assert len(first) < 4
        text = first + await asyncio.wait_for(reader.read(), 5)
        assert text.startswith(b"HTTP/1.1 200 OK\r\n")
        assert text.endswith(b'"}')
        await close(writer)


async def test_redirect(tmp_path: Path) -> None:
    """To itself by default, elsewhere on request."""
    async with running(tmp_path) as server:
        arm(server, "redirect")
        arm(server, "redirect", status=302, location="https://elsewhere.invalid/")
        device = Device(server.url, server.ca_file)
        answer = await device.onboard()
        assert (answer.status, answer.headers["location"]) == (307, server.url + "/api/v1/onboarding")
        answer = await device.onboard()
        assert (answer.status, answer.headers["location"]) == (302, "https://elsewhere.invalid/")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("expired", "certificate has expired"),
        ("not-yet-valid", "certificate is not yet valid"),
        ("wrong-host", "IP address mismatch"),
        ("self-signed", "self-signed certificate"),
        ("other-ca", "unable to get (local )?issuer certificate"),
    ],
)
async def test_wrong_certificate(tmp_path: Path, kind: str, says: str) -> None:
    """Each wrong certificate fails verification for its own reason, once; the failed handshake is counted."""
    async with running(tmp_path) as server:
        arm(server, "certificate", kind=kind)
        with pytest.raises(ssl.SSLCertVerificationError, match=says):
            await connect(server)
        reader, writer = await ask(server)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        await close(writer)
        assert server.stats.handshakes_failed == 1
        assert server.stats.handshakes == 1


async def test_tls12_only(tmp_path: Path) -> None:
    """The newest version that it speaks is 1.2."""
    async with running(tmp_path) as server:
        _, writer = await connect(server)
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        await close(writer)
        arm(server, "tls12", times=0)
        _, writer = await connect(server)
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.2"
        await close(writer)
        with pytest.raises(ssl.SSLError, match="alert protocol version"):
            await connect(server, minimum_version=ssl.TLSVersion.TLSv1_3)


async def test_silent_plain_reset(tmp_path: Path) -> None:
    """Before TLS: says nothing, speaks something else, or resets."""
    async with running(tmp_path) as server:
        for action in ("silent", "plain", "reset"):
            arm(server, action)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connect(server), 0.3)
        with pytest.raises(ssl.SSLError):
            await connect(server)
        with pytest.raises(OSError):
            await connect(server)
        _, writer = await connect(server)
        await close(writer)


async def test_stops_at_once_whatever_hangs(tmp_path: Path) -> None:
    """Hanging and endless answers, silent and idle connections do not delay the end."""
    async with running(tmp_path) as server:
        arm(server, "hang")
        arm(server, "endless")
        writers = [(await ask(server))[1], (await ask(server))[1], (await connect(server))[1]]
        arm(server, "silent")
        idle = socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0))
        await asyncio.wait_for(server.stop(), 2)
        idle.close()
    for writer in writers:
        await close(writer)


@pytest.mark.parametrize(
    "document",
    [
        *(None, [], {}, {"action": "explode"}, {"action": 1}),
        *({"action": "hang", **wrong} for wrong in ({"route": "x"}, {"times": -1}, {"times": "2"}, {"more": 1})),
        *({"action": "answer", **wrong} for wrong in ({"status": 99}, {"status": 600}, {"status": True}, {"body": 1})),
        *({"action": "answer", "headers": wrong} for wrong in (1, {"X": "a\r\nb"}, [["a"]])),
        *({"action": "slow", "seconds": -1}, {"action": "hang", "when": "never"}),
        *({"action": "certificate", "kind": "odd"}, {"action": "redirect", "location": "\n"}),
    ],
)
def test_bad_faults(document: object) -> None:
    """A fault that makes no sense is refused when it is armed, not when it is met."""
    with pytest.raises(DevWfmError):
        Fault.from_json(document)
