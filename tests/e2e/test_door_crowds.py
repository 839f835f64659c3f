"""The door when several users crowd it, through a running daemon."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import time
from pathlib import Path

import pytest

from margod.local.connection import WRITE_TIMEOUT
from margod.model.door import DoorError
from margod.model.reasons import DOOR_BUSY
from margod.shell import door
from margod.shell.door import TOGETHER, Door
from tests.e2e.test_door import DEPLOYMENTS, ask, certificates, scripted
from tests.support.rawserver import Certificates

__all__ = ["certificates"]

pytestmark = pytest.mark.e2e
LARGE = "/api/v1/clients/{clientId}/bundles/sha256:x"


async def connect_as(uid: int, path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect as another user, whom the kernel shows to the daemon; the file's rights are root's."""
    caller = socket.socket(socket.AF_UNIX)
    os.seteuid(uid)
    try:
        ctypes.CDLL(None).setfsuid(0)
        caller.connect(os.fspath(path))
    finally:
        os.seteuid(0)
    return await asyncio.open_unix_connection(sock=caller)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_bodies_in_drops_take_no_room(tmp_path: Path, certificates: Certificates) -> None:
    """As many users as there is room for send no body: another one's request goes through before any of theirs ends."""
    async with scripted(tmp_path, certificates) as (daemon, _, _), contextlib.AsyncExitStack() as stack:
        dripping = []
        for uid in range(61_300, 61_300 + TOGETHER):
            reader, writer = await connect_as(uid, daemon.runtime / "agent/agent.sock")
            stack.callback(writer.close)
            head = "Host: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n"
            writer.write(f"GET /v1/wfm{DEPLOYMENTS} HTTP/1.1\r\n{head}\r\n".encode())
            async with asyncio.timeout(20):
                assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
            dripping.append(asyncio.ensure_future(reader.read(1)))
        assert (await ask(daemon, DEPLOYMENTS))[0] == 200
        assert not any(each.done() for each in dripping)
        for each in dripping:
            each.cancel()


async def test_a_stop_cuts_streams(tmp_path: Path, certificates: Certificates) -> None:
    """One SIGTERM ends it while a caller takes its time over a large answer, and others wait behind.

    Who reads nothing is dropped after WRITE_TIMEOUT by itself: the bound is below that, and what the machine takes too.
    """
    async with scripted(tmp_path, certificates) as (daemon, wfm, server), contextlib.AsyncExitStack() as stack:
        wfm.body = b"x" * (8 << 20)
        first, *waiting = [await connect_as(0, daemon.runtime / "agent/agent.sock") for _ in range(6)]
        for reader, writer in (first, *waiting):
            stack.callback(writer.close)
            writer.write(f"GET /v1/wfm{LARGE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            if reader is first[0]:
                async with asyncio.timeout(20):
                    assert b" 200 " in await reader.readline()
        began = time.monotonic()
        assert await daemon.stop() == 0
        assert time.monotonic() - began < WRITE_TIMEOUT - 2.0
        assert len([each for each in server.requests if "bundles" in each.line]) == 1, "none of those that wait begins"


async def test_the_wait_for_room_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds all room taken for too long is told so, and when to ask again; the room is free again afterwards."""
    monkeypatch.setattr(door, "PATIENCE", 0.05)

    class Couriers:
        def courier(self, name: str) -> object:
            return name

    crowded = Door(None, Couriers())  # type: ignore[arg-type]  # nothing else is asked for
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(TOGETHER):
            await stack.enter_async_context(crowded._courier())
        with pytest.raises(DoorError) as refused:
            async with crowded._courier():
                pass
        found = refused.value
        assert (found.status, found.retry_after, found.code) == (503, 0.05, DOOR_BUSY.code)
    async with crowded._courier():
        pass
