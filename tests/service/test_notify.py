"""Tests of margod.service.notify, with a real datagram socket in systemd's place."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from margod.service.notify import Notifier, SocketNotifier, notifier, watchdog_interval
from tests.support.patience import waited


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """Give a manager's socket and the address as NOTIFY_SOCKET would name it, once on disk and once abstract."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(5)
        if request.param == "path":
            address = str(tmp_path / "notify")
            listening.bind(address)
        else:
            address = f"@margod-test-{os.getpid()}"
            listening.bind("\0" + address[1:])
        yield listening, address


def test_each_message_is_one_datagram_in_the_words_of_sd_notify(manager: tuple[socket.socket, str]) -> None:
    """The assignments are those of sd_notify(3), one a line, and RELOADING carries the monotonic clock."""
    listening, address = manager
    speaker = notifier({"NOTIFY_SOCKET": address})
    before = time.monotonic_ns() // 1000
    speaker.ready("enrolled")
    speaker.status("onboarding: asking")
    speaker.reloading()
    speaker.watchdog()
    speaker.stopping()
    said = [listening.recv(4096).decode() for _ in range(5)]
    speaker.close()
    assert said[0] == "READY=1\nSTATUS=enrolled"
    assert said[1] == "STATUS=onboarding: asking"
    first, second = said[2].split("\n")
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    assert said[3:] == ["WATCHDOG=1", "STOPPING=1"]


def test_a_status_cannot_smuggle_in_another_assignment(manager: tuple[socket.socket, str]) -> None:
    """A line break in the text does not become a second assignment such as STOPPING=1."""
    listening, address = manager
    speaker = notifier({"NOTIFY_SOCKET": address})
    speaker.status("fine\nSTOPPING=1\x1b[31m")
    speaker.close()
    assert listening.recv(4096) == b"STATUS=fine STOPPING=1 [31m"


@pytest.mark.parametrize("env", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "@"}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_without_a_manager_the_calls_do_nothing(env: dict[str, str]) -> None:
    """Started by hand, the same calls are made and nothing happens."""
    speaker = notifier(env)
    assert type(speaker) is Notifier
    for call in (speaker.ready, speaker.reloading, speaker.stopping, speaker.watchdog, speaker.close):
        call()
    speaker.status("x")


@pytest.mark.parametrize("address", ["/nonexistent/notify", "/" + "x" * 300, "@" + "x" * 300, "/nul\0byte", "/\ud800"])
def test_a_manager_that_cannot_be_reached_raises_nothing(address: str) -> None:
    """Whatever the address, the daemon's own work goes on."""
    speaker = notifier({"NOTIFY_SOCKET": address})
    speaker.ready("x")
    speaker.close()


def test_a_closed_notifier_and_a_dead_manager_raise_nothing(tmp_path: Path) -> None:
    """A manager that goes away, and a late message after close, are both borne."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
    speaker = SocketNotifier(address)
    speaker.watchdog()
    speaker.close()
    speaker.watchdog()


def test_a_manager_that_does_not_read_delays_by_a_bounded_time(tmp_path: Path) -> None:
    """A full queue must not hang the loop for ever."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
            filler.setblocking(False)
            with pytest.raises(BlockingIOError):
                while True:
                    filler.sendto(b"x", address)
        speaker = SocketNotifier(address)
        with waited() as seconds:
            speaker.watchdog()
            speaker.close()
        assert seconds() < 3


@pytest.mark.parametrize(
    ("env", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "240000000"}, 240.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "240000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "240000000", "WATCHDOG_PID": ""}, 240.0),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "\u0663"}, None),
        ({"WATCHDOG_USEC": "9" * 5000}, None),
    ],
)
def test_the_watchdog_is_taken_only_where_it_is_meant_for_this_process(
    env: dict[str, str], seconds: float | None
) -> None:
    """WATCHDOG_USEC counts in microseconds; another process's, a zero and nonsense mean that nobody watches."""
    assert watchdog_interval(env) == seconds
