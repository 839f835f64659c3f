"""A CONNECT proxy on loopback that tunnels, or does what a script says instead.

async with ProxyServer() as proxy:
    ... proxy.url, proxy.asked ...
    proxy.script = answers(b"HTTP/1.1 407 Proxy Authentication Required\\r\\n\\r\\n")

A tunnel leads to 127.0.0.1, whatever the name, and to the port that was asked for: the proxy resolves names, not the
device.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

Script = Callable[["asyncio.StreamReader", "asyncio.StreamWriter"], Awaitable[None]]
"""What is done after the CONNECT was read, instead of the tunnel."""

OPEN: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"


def answers(data: bytes, *, stay: bool = False) -> Script:
    """Send `data`, then close, or say nothing more with `stay`."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if stay:
            await reader.read()

    return script


class ProxyServer:
    """Listens on 127.0.0.1, port by the system."""

    def __init__(self, script: Script | None = None, *, authorization: str = "") -> None:
        """With `authorization` a CONNECT without exactly this Proxy-Authorization is answered by 407."""
        self.script = script
        self.authorization = authorization
        self.asked: list[bytes] = []
        """The head of every CONNECT that came, with the empty line."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """What wfm.proxy is set to."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """Connections that have not ended at both sides."""
        return len(self._tasks)

    async def __aenter__(self) -> Self:
        """Start to listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening and cut every tunnel."""
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head)
            if self.authorization and f"Proxy-Authorization: {self.authorization}\r\n".encode() not in head:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
            elif self.script is not None:
                await self.script(reader, writer)
            else:
                await self._tunnel(head, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # one of the ends went away, or the test is over
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _tunnel(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = int(head.split(b" ")[1].rpartition(b":")[2])
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            await writer.drain()
            return
        self._writers.add(far_writer)
        try:
            writer.write(OPEN)
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            self._writers.discard(far_writer)
            far_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
