"""A double of wfm.WfmClient without sockets, for virtual time; tests/wfm/test_contract.py holds both to a contract."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from margod.model import reasons
from margod.model.text import clean
from margod.model.wire import Answer, SignedRequest, Sink, TransportFailure
from margod.wfm.client import _unfit


@dataclass(frozen=True)
class Said:
    """What a server says: status, header fields as they stand on the wire, body; after so many seconds."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    after: float = 0.0


Trouble: TypeAlias = Literal["refused", "unresolved", "cut", "silent"]
"""Nobody listens; no such name; the connection ends after the request; nothing ever comes."""
Server: TypeAlias = Callable[[SignedRequest], "Said | Trouble"]


class Transport:
    """Sends to a function. One request at a time, bounded in time and size, never raises, ends when it is closed."""

    def __init__(self, server: Server, *, timeout: float) -> None:
        """Send to `server`; `timeout` bounds an exchange, seconds."""
        self._server = server
        self._timeout = timeout
        self._turn = asyncio.Lock()
        self._closed = asyncio.Event()

    async def send(
        self, request: SignedRequest, *, seconds: float | None = None, into: Sink | None = None
    ) -> Answer | TransportFailure:
        """Return what came of `request`; what is asked for piece by piece comes in one, in no more time."""
        assert seconds is None or seconds > 0
        result = await self._send(request)
        if into is None or not isinstance(result, Answer) or result.status >= 300:
            return result
        await into.begin(result.status, result.headers)
        await into.write(result.body)
        return replace(result, body=b"")

    async def _send(self, request: SignedRequest) -> Answer | TransportFailure:
        if refusal := _unfit(request):
            return TransportFailure(reasons.CONNECT_FAILED, clean(refusal), sent=False)
        async with self._turn:
            if self._closed.is_set():
                return TransportFailure(reasons.CONNECT_FAILED, "the client is closed", sent=False)
            said = self._server(request)
            if said == "refused":
                return TransportFailure(reasons.CONNECT_REFUSED, "Connection refused", sent=False)
            if said == "unresolved":
                return TransportFailure(reasons.DNS_FAILED, "Name or service not known", sent=False)
            if said == "cut":
                return TransportFailure(reasons.CONNECTION_LOST, "the server closed the connection", sent=True)
            return await self._hear(said, request.limit)

    async def close(self) -> None:
        """End an exchange under way; nothing is sent from now on."""
        self._closed.set()

    async def _hear(self, said: Said | Literal["silent"], limit: int) -> Answer | TransportFailure:
        after = self._timeout if said == "silent" else said.after
        if after > 0.0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(after, self._timeout)):
                    await self._closed.wait()
        if self._closed.is_set():
            return TransportFailure(reasons.CONNECTION_LOST, "the client was closed", sent=True)
        if said == "silent" or said.after >= self._timeout:
            return TransportFailure(reasons.TIMED_OUT, "no complete answer in time", sent=True)
        if len(said.body) > limit:
            return TransportFailure(reasons.ANSWER_TOO_LARGE, f"more than {limit} bytes", sent=True)
        joined: dict[str, str] = {}
        for name, value in said.headers:
            key = name.lower()
            joined[key] = f"{joined[key]}, {value}" if key in joined else value
        return Answer(said.status, joined, said.body, time.time())


class Transports:
    """Stands for the class WfmClient where the shell makes one: each that is made sends to the same server."""

    def __init__(self, server: Server) -> None:
        """Send everything to `server`."""
        self.server = server
        self.open = 0

    def __call__(self, context: ssl.SSLContext, *, timeout: float, **_options: object) -> Transport:
        """Make one, as the shell does. `context` has to verify."""
        assert context.verify_mode is ssl.CERT_REQUIRED
        return Transport(self.server, timeout=timeout)
