"""Entries with fields of their own for journald: its native protocol, one datagram an entry.

`journalctl MARGOD_CODE=dns-failed` then finds what a search through messages would only guess. Fields: MESSAGE,
PRIORITY, SYSLOG_IDENTIFIER (systemd.journal-fields(7)), MARGOD_EVENT, and MARGOD_<KEY> for each key of the event.
"""

from __future__ import annotations

import functools
import re
import socket
import struct
from collections.abc import Mapping
from typing import Final

JOURNALD: Final = "/run/systemd/journal/socket"

_LONGEST_NAME: Final = 64
"""journald drops longer names of fields."""
_FOREIGN: Final = re.compile(r"[^A-Z0-9]")


class Native:
    """The socket of journald. Nothing is raised and nothing is waited for."""

    def __init__(self, address: str) -> None:
        """Take the address; nothing is connected, so a journald that starts anew is reached again."""
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def send(self, fields: Mapping[str, str]) -> bool:
        """Hand over one entry; False if journald is not there, takes no more at the moment, or finds it too large."""
        try:
            self._socket.sendto(b"".join(_field(name, value) for name, value in fields.items()), self._address)
        except (OSError, ValueError):
            return False
        return True


@functools.cache
def opened(address: str) -> Native:
    """Return the one socket to `address`, which the process keeps."""
    return Native(address)


def name_of(key: str) -> str:
    """Return the field's name for a key of an event: `next_in` is MARGOD_NEXT_IN."""
    return f"MARGOD_{_FOREIGN.sub('_', key.upper())}"[:_LONGEST_NAME]


def _field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")
    if b"\n" in data:
        return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
    return name.encode() + b"=" + data + b"\n"
