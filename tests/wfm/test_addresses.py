"""Several addresses of one name, the first of them dead, and IPv6."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from margod.wfm import WfmClient
from margod.wfm.resolver import Resolver
from tests.support.patience import within
from tests.support.rawserver import Certificates, RawServer
from tests.wfm.common import a_client, answered, answers, failed, get, post

NAME = "wfm.example"


def resolves_to(*addresses: str) -> Resolver:
    """A resolver to whom the name has these addresses, in this order."""

    def lookup(host: str, port: int, family: socket.AddressFamily) -> list[Any]:
        return [
            (socket.AF_INET6, 1, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, 1, 6, "", (address, port))
            for address in addresses
        ]

    return Resolver(lookup)


@contextmanager
def black_hole(address: str, port: int) -> Iterator[None]:
    """At this address of loopback connections are neither taken nor refused: the backlog is full."""
    with socket.create_server((address, port), backlog=0):
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex((address, port))
        try:
            yield
        finally:
            for each in waiting:
                each.close()


@pytest.mark.parametrize(
    "dead", [["127.0.0.9"], ["::1"], ["127.0.0.8", "127.0.0.9", "::1"], ["240.0.0.1", "127.0.0.9"]]
)
async def test_first_address_refuses(certificates: Certificates, dead: list[str]) -> None:
    """Addresses that refuse or have no route cost nothing; the one that answers is used, once."""
    async with RawServer(answers, context=certificates.server(NAME)) as server:
        client = WfmClient(certificates.client(), timeout=20, resolver=resolves_to(*dead, "127.0.0.1"))
        async with within(3):
            answered(await client.send(post(f"https://{NAME}:{server.port}/x")))
        assert len(server.requests) == 1
        await client.close()


@pytest.mark.parametrize("backwards", [False, True])
async def test_first_address_swallows(certificates: Certificates, backwards: bool) -> None:
    """An address that drops everything holds up the other for a moment only, not for the connect timeout."""
    async with RawServer(answers, context=certificates.server(NAME)) as server:
        with black_hole("127.0.0.9", server.port):
            addresses = ["127.0.0.9", "127.0.0.1"]
            if backwards:
                addresses.reverse()
            client = WfmClient(certificates.client(), timeout=20, resolver=resolves_to(*addresses))
            async with within(3):
                answered(await client.send(post(f"https://{NAME}:{server.port}/x")))
            assert len(server.requests) == 1
            await client.close()


async def test_every_address_is_dead(certificates: Certificates) -> None:
    """All refused is refused, all swallowed is a timeout; nothing was sent."""
    async with RawServer(answers, context=certificates.server(NAME)) as server:
        client = WfmClient(certificates.client(), timeout=20, resolver=resolves_to("127.0.0.8", "127.0.0.9", "::1"))
        assert failed(await client.send(post(f"https://{NAME}:{server.port}/x"))) == ("connect-refused", False)
        await client.close()
        with black_hole("127.0.0.9", server.port):
            client = WfmClient(certificates.client(), timeout=0.5, resolver=resolves_to("127.0.0.9"))
            assert failed(await client.send(post(f"https://{NAME}:{server.port}/x"))) == ("timed-out", False)
            await client.close()


async def test_first_address_is_somebody_else(certificates: Certificates) -> None:
    """An address with another's certificate is passed over before a byte of HTTP; every address is verified alike."""
    async with RawServer(answers, context=certificates.server(NAME)) as server:
        other = await asyncio.start_server(
            lambda _reader, writer: writer.close(), "127.0.0.9", server.port, ssl=Certificates().server(NAME)
        )
        async with other:
            client = WfmClient(certificates.client(), timeout=20, resolver=resolves_to("127.0.0.9", "127.0.0.1"))
            answered(await client.send(post(f"https://{NAME}:{server.port}/x")))
            await client.close()
            client = WfmClient(certificates.client(), timeout=20, resolver=resolves_to("127.0.0.9"))
            assert failed(await client.send(post(f"https://{NAME}:{server.port}/x"))) == ("tls-unknown-issuer", False)
            await client.close()


async def test_name_server_that_recovers(certificates: Certificates) -> None:
    """A name that could not be resolved is asked for anew each time, and works as soon as it resolves."""
    failing = [OSError(socket.EAI_AGAIN, "Temporary failure in name resolution")] * 5

    def lookup(host: str, port: int, family: socket.AddressFamily) -> list[Any]:
        if failing:
            raise failing.pop()
        return [(socket.AF_INET, 1, 6, "", ("127.0.0.1", port))]

    async with RawServer(answers, context=certificates.server(NAME)) as server:
        client = WfmClient(certificates.client(), timeout=20, resolver=Resolver(lookup))
        for _ in range(5):
            assert failed(await client.send(post(f"https://{NAME}:{server.port}/x"))) == ("dns-failed", False)
        answered(await client.send(post(f"https://{NAME}:{server.port}/x")))
        await client.close()


async def test_ipv6_literal(certificates: Certificates) -> None:
    """An IPv6 address in brackets is reached, verified by its address, and goes into Host with its brackets."""
    seen: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "::1", 0, ssl=certificates.server("::1"))
    port = server.sockets[0].getsockname()[1]
    async with server, a_client(certificates) as client:
        answered(await client.send(get(f"https://[::1]:{port}/")))
        assert f"\r\nHost: [::1]:{port}\r\n" in seen[0]
