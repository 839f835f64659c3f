"""The client side of the control socket, on the standard library alone.

    call(directory, "POST", "/v1/faults", {"action": "hang"}) -> what the server answered, parsed

The socket is addressed through its directory's descriptor, so that a long path does not matter (108 bytes at most).
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any, Final

from margod.devwfm.problems import DevWfmError

SOCKET: Final = "control.sock"

_TIMEOUT: Final = 10.0


def call(directory: Path, method: str, path: str, payload: object = None) -> Any:
    """Ask the development WFM of `directory`; `payload` is sent as JSON, bytes as they are. Raises `DevWfmError`."""
    body = payload if isinstance(payload, bytes) else None if payload is None else json.dumps(payload).encode()
    connection = _Connection(directory)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        data = answer.read()
    except (OSError, http.client.HTTPException) as error:
        hint = "give the --directory that it was started with"
        raise DevWfmError(f"{directory}: no development WFM answers there; {hint} ({error})") from None
    finally:
        connection.close()
    try:
        document = json.loads(data or b"null")
    except ValueError:
        raise DevWfmError(f"the development WFM failed with HTTP {answer.status}; see its output") from None
    if answer.status >= 400:
        raise DevWfmError(str(document.get("error", answer.status) if isinstance(document, dict) else answer.status))
    return document


def address(directory: int) -> str:
    """Return the socket's short path through an open descriptor of its directory."""
    return f"/proc/self/fd/{directory}/{SOCKET}"


class _Connection(http.client.HTTPConnection):
    def __init__(self, directory: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._directory = directory

    def connect(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(_TIMEOUT)
            self.sock.connect(address(descriptor))
        finally:
            os.close(descriptor)
