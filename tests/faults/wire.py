"""A bad wire, a bad name server and a bad balancer, each a process in a namespace, steered by lines of JSON on stdin.

    python -m tests.faults.wire relay to1 to2      {"loss": [0.4, 0], "delay": 3.0, "rate": 1250, "dead": true}
    python -m tests.faults.wire dns 10.77.0.2      {"mode": "answer" | "hang" | "gone"}
    python -m tests.faults.wire cut 9443 8443      {"cut": true}

The relay passes Ethernet frames from one interface to the other: loss by chance on each way, `delay` in seconds and
`rate` in bytes a second each way. The name server gives its address for every name. The balancer passes connections on;
with `cut` it resets them after some of the first 600 bytes of the server's: within its part of the handshake.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

_ALL: Final = 3
"""ETH_P_ALL"""
_SOL_PACKET: Final = 263
_VNET_HDR: Final = 15
"""PACKET_VNET_HDR: a frame comes with what the kernel still has to do to it (checksums), and goes on with it."""
_OUTGOING: Final = 4
QUEUE: Final = 65_536
"""Bytes that wait for a slow wire; what comes on top is lost."""


class Steering:
    """What holds at present, by the last line on stdin."""

    def __init__(self, told: Callable[[], None] = lambda: None) -> None:
        """Begin with nothing wrong."""
        self.now: dict[str, Any] = {}
        self._told = told

    async def follow(self) -> None:
        """Read lines until the end of stdin, which ends the process."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while line := await reader.readline():
            self.now = json.loads(line)
            self._told()
            sys.stdout.write("done\n")
            sys.stdout.flush()


class Relay:
    """Two interfaces, and what becomes of a frame between them."""

    def __init__(self, names: list[str], steering: Steering) -> None:
        """Open a packet socket on each."""
        self._steering, self._loop = steering, asyncio.get_running_loop()
        self._sockets = [self._open(name) for name in names]
        self._free = [0.0, 0.0]
        for side, one in enumerate(self._sockets):
            self._loop.add_reader(one, self._take, side)

    def _open(self, name: str) -> socket.socket:
        one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
        one.setsockopt(_SOL_PACKET, _VNET_HDR, 1)
        one.bind((name, _ALL))
        one.setblocking(False)
        return one

    def _take(self, side: int) -> None:
        with suppress(BlockingIOError, OSError):
            frame, address = self._sockets[side].recvfrom(70_000)
            bad = self._steering.now
            if address[2] == _OUTGOING or bad.get("dead") or random.random() < bad.get("loss", (0.0, 0.0))[side]:
                return
            now, rate = self._loop.time(), bad.get("rate", 0)
            at = now
            if rate:
                at = max(now, self._free[side])
                if (at - now) * rate > QUEUE:
                    return
                at = self._free[side] = at + len(frame) / rate
            self._loop.call_at(at + bad.get("delay", 0.0), self._give, 1 - side, frame)

    def _give(self, side: int, frame: bytes) -> None:
        with suppress(OSError):
            self._sockets[side].send(frame)


class Names:
    """A name server on port 53 of its own address."""

    def __init__(self, address: str) -> None:
        """Answer with `address`."""
        self._address = address
        self._socket: socket.socket | None = None
        self.steering = Steering(self.turn)

    def turn(self) -> None:
        """Do as was told."""
        loop, mode = asyncio.get_running_loop(), self.steering.now.get("mode", "answer")
        if self._socket is not None and mode == "gone":
            loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        elif self._socket is None and mode != "gone":
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.bind((self._address, 53))
            loop.add_reader(self._socket, self._answer)

    def _answer(self) -> None:
        assert self._socket is not None
        query, asker = self._socket.recvfrom(512)
        if self.steering.now.get("mode") == "hang":
            return
        end = query.index(b"\0", 12) + 5
        wanted = struct.unpack(">H", query[end - 4 : end - 2])[0]
        answers = 1 if wanted == 1 else 0
        reply = query[:2] + struct.pack(">HHHHH", 0x8580, 1, answers, 0, 0) + query[12:end]
        if answers:
            reply += struct.pack(">HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton(self._address)
        self._socket.sendto(reply, asker)


async def balance(listen: int, to: int, steering: Steering) -> None:
    """Pass connections on, and cut them where that is told."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", to)
        left = random.randrange(1, 600) if steering.now.get("cut") else None
        pipes = [asyncio.ensure_future(_pass(reader, outer)), asyncio.ensure_future(_pass(inner, writer, left))]
        await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        for one in (writer, outer):
            one.transport.abort()
        await asyncio.gather(*pipes, return_exceptions=True)

    await asyncio.start_server(serve, "0.0.0.0", listen)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None = None) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(4096):
            if left is not None and len(data) >= left:
                writer.write(data[:left])
                await writer.drain()
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return
            left = None if left is None else left - len(data)
            writer.write(data)
            await writer.drain()


async def main(kind: str, *arguments: str) -> None:
    """Run one of them until stdin ends."""
    steering = Steering()
    match kind:
        case "relay":
            Relay(list(arguments), steering)
        case "dns":
            names = Names(arguments[0])
            names.turn()
            steering = names.steering
        case "cut":
            await balance(int(arguments[0]), int(arguments[1]), steering)
    await steering.follow()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
