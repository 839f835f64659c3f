"""A server on loopback that does exactly what a script says, byte for byte, over real TLS or bare TCP.

    async def script(turn: Turn) -> None:
        await turn.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nhi")

    async with RawServer(script, context=Certificates().server()) as server:
        ... server.url, server.requests, server.connections

The script is called once for each request that was read whole. With `wild` it is called once for each connection,
before anything is read. A connection whose script returns goes on with the next request.
"""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Self

import trustme


class Certificates:
    """A CA of the test's own, what it vouches for, and contexts for both ends. `127.0.0.1` is the default name."""

    @cached_property
    def ca(self) -> trustme.CA:
        """The root CA."""
        return trustme.CA()

    def server(
        self,
        name: str = "127.0.0.1",
        *,
        days: tuple[int, int] = (-1, 1),
        minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
        maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> ssl.SSLContext:
        """Return a server's context with a certificate for `name`, valid between `days` from now."""
        now = datetime.datetime.now(datetime.UTC)
        begin, end = (now + datetime.timedelta(days=each) for each in days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version, context.maximum_version = minimum, maximum
        self.ca.issue_cert(name, not_before=begin, not_after=end).configure_cert(context)
        return context

    def client(
        self,
        *,
        minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
        maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> ssl.SSLContext:
        """Return a client's context that trusts this CA alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version, context.maximum_version = minimum, maximum
        self.ca.configure_trust(context)
        return context


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A request as it came: `head` up to and with the empty line, `body` by its Content-Length."""

    head: bytes
    body: bytes
    connection: int
    """Which connection it came on, from 1."""

    @property
    def line(self) -> str:
        """The request line."""
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The header fields in their order, names as sent."""
        fields = (line.partition(b":") for line in self.head.split(b"\r\n")[1:] if line)
        return [(name.decode("latin-1"), value.strip().decode("latin-1")) for name, _, value in fields]


class Turn:
    """One request (or connection) in the hands of the script."""

    def __init__(self, server: RawServer, writer: asyncio.StreamWriter, request: RawRequest | None) -> None:
        """Belongs to the server."""
        self._server, self._writer, self._request = server, writer, request

    @property
    def request(self) -> RawRequest:
        """The request; there is none in a wild script."""
        assert self._request is not None
        return self._request

    async def send(self, data: bytes) -> None:
        """Send raw bytes, waiting as the client's receive window asks, and give others in the loop a turn."""
        self._writer.write(data)
        await self._writer.drain()
        await asyncio.sleep(0)  # drain() alone returns without one while the kernel's buffers take it all

    async def answer(self, status: int = 200, body: bytes = b"", *headers: str) -> None:
        """Send a well-formed answer."""
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    async def hold(self) -> None:
        """Say nothing until the server is stopped."""
        await self._server.stopping.wait()

    def close(self) -> None:
        """Close in order: TLS close_notify, then FIN."""
        self._writer.close()

    def vanish(self) -> None:
        """Close without a TLS close_notify (a FIN, if the client's bytes were all read)."""
        self._writer.transport.abort()

    def reset(self) -> None:
        """Close with a RST."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Script = Callable[[Turn], Awaitable[None]]


class RawServer:
    """Listens on 127.0.0.1, port by the system. `context` None means bare TCP."""

    def __init__(self, script: Script, *, context: ssl.SSLContext | None, wild: bool = False) -> None:
        """Nothing happens before `async with`."""
        self._script, self._context, self._wild = script, context, wild
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.stopping = asyncio.Event()
        self.port = 0
        self.connections = 0
        """Connections whose TLS handshake succeeded."""
        self.requests: list[RawRequest] = []
        """Requests that were read whole, over all connections."""

    @property
    def url(self) -> str:
        """The root URL, without a trailing slash."""
        return f"https://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        """Start to listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening, cut every connection, end every script."""
        self.stopping.set()
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def listen_no_more(self) -> None:
        """Let new connections be refused; those that are open stay."""
        self._server.close()

    async def close_connections(self) -> None:
        """Close every open connection in order, and return when that is done on this side."""
        for writer in tuple(self._writers):
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        number = self.connections
        try:
            if self._wild:
                await self._script(Turn(self, writer, None))
                return
            while not writer.is_closing():
                request = await _read_request(reader, number)
                self.requests.append(request)
                await self._script(Turn(self, writer, request))
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()


@contextmanager
def handshakes_only(context: ssl.SSLContext, until: threading.Event | None = None) -> Iterator[int]:
    """A server that handshakes and closes, in a thread on OpenSSL's own sockets; yields its port.

    Unlike asyncio's servers (3.11 drops them) it sends the TLS alerts that say why a handshake failed, as Go and
    nginx do. With `until` it reads nothing, not even a close, and closes only when that is set (or after 10 s).
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):  # the listening socket was shut down: the end
                while True:
                    accepted, _ = listening.accept()
                    accepted.settimeout(5)
                    with accepted, suppress(OSError):
                        secured = context.wrap_socket(accepted, server_side=True)
                        if until is not None:
                            until.wait(10)
                        secured.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)


async def _read_request(reader: asyncio.StreamReader, connection: int) -> RawRequest:
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return RawRequest(head, await reader.readexactly(length), connection)
