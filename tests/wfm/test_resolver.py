"""Name lookups: their errors, that they are shared, and that one that hangs holds up nothing."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from margod.wfm import WfmClient
from margod.wfm.resolver import ADDRESS_LIMIT, Resolver
from tests.support.patience import within
from tests.support.rawserver import Certificates, RawServer
from tests.wfm.common import a_client, answered, answers, failed, get, post


class Hanging:
    """A name server that does not answer until `answer` is set."""

    def __init__(self) -> None:
        self.answer = threading.Event()
        self.lookups = 0

    def __call__(self, host: str, port: int, family: socket.AddressFamily) -> list[Any]:
        self.lookups += 1
        self.answer.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


@pytest.mark.parametrize("host", ["nothing.invalid", "a" * 64 + ".invalid", "127.1"])
async def test_names_that_do_not_resolve(certificates: Certificates, host: str) -> None:
    """An unknown name, one that breaks IDNA and a legacy number are DNS failures; nothing was sent."""
    async with a_client(certificates) as client:
        assert failed(await client.send(post(f"https://{host}:1/x"))) == ("dns-failed", False)


async def test_localhost_resolves(certificates: Certificates) -> None:
    """A name goes through the system's own lookup, and into SNI, certificate check and Host."""
    async with RawServer(answers, context=certificates.server("localhost")) as server, a_client(certificates) as client:
        answered(await client.send(get(f"https://localhost:{server.port}/")))
        assert dict(server.requests[0].headers)["Host"] == f"localhost:{server.port}"


async def test_hanging_lookup_is_bounded_and_shared(certificates: Certificates) -> None:
    """Each send ends by its timeout, all of them cost one thread, and the late result serves who waits then."""
    lookup = Hanging()
    async with RawServer(answers, context=certificates.server("wfm.example")) as server:
        client = WfmClient(certificates.client(), timeout=5, connect_timeout=0.1, resolver=Resolver(lookup))
        for _ in range(3):
            assert failed(await client.send(post(f"https://wfm.example:{server.port}/x"))) == ("timed-out", False)
        assert lookup.lookups == 1
        patient = WfmClient(certificates.client(), timeout=20, resolver=client._resolver)
        waiting = asyncio.create_task(patient.send(post(f"https://wfm.example:{server.port}/x")))
        while not any(client._resolver._waiting.values()):
            await asyncio.sleep(0)  # who waits for a name tells nobody
        lookup.answer.set()
        answered(await waiting)
        assert lookup.lookups == 1
        await client.close()
        await patient.close()


async def test_hanging_lookup_does_not_hold_up_close(certificates: Certificates) -> None:
    """close() returns at once and the waiting send with it."""
    lookup = Hanging()
    client = WfmClient(certificates.client(), timeout=60, resolver=Resolver(lookup))
    sending = asyncio.create_task(client.send(post("https://wfm.example/x")))
    while lookup.lookups == 0:
        await asyncio.sleep(0.01)
    async with within(1):
        await client.close()
        assert failed(await sending) == ("connection-lost", False)
    lookup.answer.set()


_EXITS = """
import asyncio, ssl, time
from margod.model.wire import SignedRequest
from margod.wfm import WfmClient
from margod.wfm.resolver import Resolver

async def main():
    resolver = Resolver(lambda *_: time.sleep(60))
    client = WfmClient(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), timeout=0.1, resolver=resolver)
    print((await client.send(SignedRequest("GET", "https://wfm.example/", {}, b"", 1))).reason.code)
    await client.close()

asyncio.run(main())
"""


def test_hanging_lookup_does_not_hold_up_exit() -> None:
    """The interpreter ends while the lookup's thread still hangs."""
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _EXITS],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "timed-out\n", "")
    assert time.monotonic() - begin < 20


async def test_addresses_are_bounded_and_scoped() -> None:
    """Repeated addresses count once, link-local ones keep their interface, and at most 16 are handed on."""

    def lookup(host: str, port: int, family: socket.AddressFamily) -> list[Any]:
        many = [(socket.AF_INET, 1, 6, "", (f"192.0.2.{n}", port)) for n in range(100)]
        return [(socket.AF_INET6, 1, 6, "", ("fe80::1", port, 0, 3)), many[0], *many]

    results = await Resolver(lookup).resolve("wfm.example", 443)
    assert [each["host"] for each in results[:3]] == ["fe80::1%3", "192.0.2.0", "192.0.2.1"]
    assert len(results) == ADDRESS_LIMIT
    with pytest.raises(OSError):
        await Resolver(lambda *_: []).resolve("wfm.example", 443)
