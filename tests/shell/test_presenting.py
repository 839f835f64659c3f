"""The look at who is at the WFM's address, where something on the way does not answer."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from margod.model import reasons
from margod.shell import presenting
from margod.shell.place import Place
from margod.shell.situation import Situation, blocked_by


async def test_name_servers_that_hang_do_not_hold_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is seen within the bound; the look is a part of a renewal, which others wait for."""
    done = threading.Event()

    def hang(*_: Any, **__: Any) -> list[Any]:
        done.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(presenting, "LIMIT", 0.05)
    situation = Situation(blocked_by(reasons.NO_WFM_FOUND, ""), place=Place(("https://wfm.test",), "wfm.test"))
    try:
        async with asyncio.timeout(30):
            assert await presenting.who(situation) is None
    finally:
        done.set()
