"""What the daemon tells its service manager (sd_notify(3)) and how often it must show that it is alive.

Every message is one datagram to the socket that NOTIFY_SOCKET names. Without such a socket the same calls do nothing,
so that no caller asks whether systemd is there.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Final

from margod.model.text import clean

# A service manager that does not empty its queue may delay the loop by this much, no more. Seconds.
_SEND_TIMEOUT: Final = 1.0


class Notifier:
    """The messages of sd_notify(3), sent nowhere. None of its methods raises."""

    def ready(self, status: str = "") -> None:
        """Say READY=1: started, or done with reloading."""
        self._send("READY=1", *_status(status))

    def status(self, text: str) -> None:
        """Show `text` in `systemctl status`, on one line and shortened: codes and our own words, no server's."""
        self._send(*_status(text))

    def reloading(self) -> None:
        """Say RELOADING=1; a call of `ready` must follow. The time lets newer systemd tell reloads apart."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> None:
        """Say STOPPING=1: the process winds up."""
        self._send("STOPPING=1", *_status(status))

    def watchdog(self) -> None:
        """Say WATCHDOG=1: the loop still makes progress. Due at half of `watchdog_interval`."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Give back what is held; later messages go nowhere."""

    def _send(self, *assignments: str) -> None:
        """Send `assignments` as one datagram."""


class SocketNotifier(Notifier):
    """The messages of sd_notify(3), sent to a Unix datagram socket. What cannot be delivered is dropped."""

    def __init__(self, address: str) -> None:
        """Take the address as NOTIFY_SOCKET gives it: an absolute path, or `@` and an abstract name."""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(_SEND_TIMEOUT)

    def close(self) -> None:
        """Close the socket; later messages go nowhere."""
        self._socket.close()

    def _send(self, *assignments: str) -> None:
        try:
            self._socket.sendto("\n".join(assignments).encode("utf-8", "replace"), self._address)
        except (OSError, ValueError):
            return  # the manager is gone, or its address cannot exist: the daemon's own work goes on


def notifier(env: Mapping[str, str]) -> Notifier:
    """Return the notifier that `env` asks for: one that speaks to NOTIFY_SOCKET, or one that does nothing."""
    address = env.get("NOTIFY_SOCKET", "")
    if len(address) < 2 or address[0] not in "/@":
        return Notifier()
    try:
        return SocketNotifier(address)
    except OSError:
        return Notifier()


def watchdog_interval(env: Mapping[str, str]) -> float | None:
    """Return the seconds (> 0) after which a silent process is killed, or None when nobody watches this one.

    Reads WATCHDOG_USEC, and WATCHDOG_PID where it is set (sd_watchdog_enabled(3)). Speak at half of it.
    """
    pid = env.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return None
    usec = env.get("WATCHDOG_USEC", "")
    if not (usec.isascii() and usec.isdigit() and len(usec) <= 20):
        return None
    return int(usec) / 1_000_000 or None


def _status(text: str) -> tuple[str, ...]:
    """Return the STATUS assignment; `text` cannot smuggle in a second one, since it is put on one line."""
    return (f"STATUS={clean(text)}",) if text else ()
