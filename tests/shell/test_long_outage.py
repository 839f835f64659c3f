"""Name servers that are dead for an hour: real engine, shell, resolver and HTTP client, the hour skipped."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from margod.engine.messages import Level
from tests.support.devwfm import DevWfm
from tests.support.shell import Shell

HOUR = 3600.0
LONGEST = 300.0
"""Seconds between two attempts at most (docs/operations.md)."""


class NameServers:
    """Stands for the system's resolver: dead until `alive`, then every name is this machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take its place."""
        self.asked = 0
        self.alive = False
        self._system = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._answer)

    def _answer(self, host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if host != "wfm.test":
            return self._system(host, port, *arguments, **options)
        self.asked += 1
        if not self.alive:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self._system("127.0.0.1", port, *arguments, **options)


async def test_dns_that_fails_for_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on asking, at most five minutes apart and without a storm, says so twice, and is enrolled afterwards."""
    async with DevWfm(tmp_path / "wfm", "--host", "wfm.test") as wfm:
        names = NameServers(monkeypatch)
        url = f"https://wfm.test:{urlsplit(wfm.url).port}"
        async with Shell(tmp_path, url=url, ca_file=wfm.ca_file, timeout="20s") as device:
            waits: list[float] = []
            status: dict[str, Any] = {}
            while sum(waits) < HOUR:
                waits.append(device.wait())
                status = await device.attempt()
                assert (status["state"], status["reason"], status["connection"]) == (
                    "onboarding",
                    "dns-failed",
                    "offline",
                )
                assert len(waits) < 100
            assert max(waits) <= LONGEST
            assert names.asked == len(waits) + 1
            assert status["attempt"] == names.asked
            said = [(note.event, note.data["code"]) for note in device.notes if note.level is not Level.DEBUG]
            assert said.count(("attempt-failed", "dns-failed")) == 1
            assert said.count(("still-failing", "dns-failed")) == 1
            names.alive = True
            assert device.wait() <= LONGEST
            assert (await device.attempt())["state"] == "enrolled"
            assert "recovered" in [note.event for note in device.notes]
        assert [request["route"] for request in await wfm.requests()] == ["onboarding", "capabilities"]
