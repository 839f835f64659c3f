"""A week of the whole daemon in virtual time, two days of its flash, and proof that a leak is noticed."""

from __future__ import annotations

import asyncio
import functools
import socket
import struct
from typing import Any

import pytest

from margod import daemon
from margod.discovery import links
from margod.shell.ground import Ground
from tests.faults import around, endurance
from tests.faults.campaign import Broken, carry_out

A_DAY = functools.partial(endurance.endurance, least=1)
"""Reloaded, moved and found again, asked each minute meanwhile: enough for what is put in."""


def test_a_week() -> None:
    """Retries, upkeep, reloads, clock jumps: nothing is left over, and it is enrolled at the end."""
    run = carry_out(endurance.endurance, seed=4, scale=0.02)
    assert run.figures["days"] == 7
    assert run.figures["requests"] > 10
    assert run.figures["WFMs found by mDNS"] == 4
    assert run.figures["link changes heard"] >= 4


def test_flash() -> None:
    """Enrolled, offline, refused, waiting: within ten commits a day, and runtime.json at most every 15 min."""
    run = carry_out(endurance.flash, seed=4, scale=0.05)
    assert run.figures["never enrolled, always 503: bytes a day"] > 1_000, "the meter meters"
    assert run.figures["enrolled: commits in 2 days"] == 0


def test_a_leak_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A status document that is kept each time, and a task that nobody ends, break the promise."""
    kept: list[object] = []
    real = daemon.Daemon.status

    def status(self: daemon.Daemon) -> dict[str, Any]:
        kept.append(bytearray(200_000))
        return real(self)

    monkeypatch.setattr(daemon.Daemon, "status", status)
    with pytest.raises(Broken, match="bytes more"):
        carry_out(A_DAY, seed=4, scale=0.001)
    monkeypatch.setattr(daemon.Daemon, "status", real)
    reload = daemon.Daemon.reload
    tasks: set[asyncio.Task[None]] = set()

    async def leaking(self: daemon.Daemon) -> dict[str, object]:
        tasks.add(asyncio.ensure_future(asyncio.sleep(400 * endurance.DAY)))
        return await reload(self)

    monkeypatch.setattr(daemon.Daemon, "reload", leaking)
    with pytest.raises(AssertionError, match="tasks are left over"):
        carry_out(A_DAY, seed=4, scale=0.001)


def test_a_busy_flash_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit for each line of the answer log breaks the promise."""
    append = Ground.append

    def eager(self: Ground, entry: Any) -> None:
        append(self, entry)
        self.keep({})

    monkeypatch.setattr(Ground, "append", eager)
    waiting = "waiting for approval"
    monkeypatch.setattr(endurance, "MONTHS", {waiting: endurance.MONTHS[waiting]})
    with pytest.raises(Broken, match="commits in one day"):
        carry_out(endurance.flash, seed=4, scale=0.05)


def test_a_link_that_stays_open_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A netlink socket that is not closed once the WFM was found breaks the promise."""
    left: list[socket.socket] = []

    async def leave(self: links.Links, *_error: object) -> None:
        assert self._socket is not None
        asyncio.get_running_loop().remove_reader(self._socket)
        left.append(self._socket)

    monkeypatch.setattr(links.Links, "__aexit__", leave)
    monkeypatch.setattr(around.Kernel, "tell", lambda *_: 1)
    try:
        with pytest.raises(Broken, match="descriptors more"):
            carry_out(A_DAY, seed=4, scale=0.001)
    finally:
        for each in left:
            each.close()


def test_a_deaf_device_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that does not listen to the kernel while it browses breaks the promise."""
    monkeypatch.setattr(around.Kernel, "socket", lambda *_: (_ for _ in ()).throw(OSError("no netlink")))
    with pytest.raises(Broken, match="0 listen to the kernel"):
        carry_out(endurance.endurance, seed=4, scale=0.02)


def test_recorded() -> None:
    """What is fed to the device are whole rtnetlink messages: links and addresses that are new and that are gone."""
    kinds = {struct.unpack_from("=IHH", message)[1] for message in around.recorded()}
    assert kinds == {16, 17, 20, 21}, "RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR"
