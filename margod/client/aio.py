"""The agent socket for asyncio: what `margod.client.agent` has, with `await`. Standard library only."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar, cast

from margod.client import messages
from margod.client.agent import ERROR_HEADER, WFM_LIMIT, WFM_TIMEOUT, is_news, status_body
from margod.client.api import (
    ANSWER_LIMIT,
    POST_TIMEOUT,
    TIMEOUT,
    RequestRefused,
    agent_socket,
    parsed,
    quoted,
    refusal,
    runtime_directory,
    unreachable,
)
from margod.client.documents import DeploymentsDocument, IdentityDocument, StatusDocument
from margod.client.messages import Answer
from margod.model.errors import DaemonUnreachable
from margod.model.reasons import DAEMON_UNREACHABLE

T = TypeVar("T")


class AsyncAgent:
    """The agent socket, or another one: each call has a connection of its own, so that any number may be under way.

    Every call raises DaemonUnreachable if no margod answers there (reason `not-permitted` if this user may not use the
    socket) and RequestRefused if it answers with an error.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, timeout: float = TIMEOUT) -> None:
        """Talk to the socket at `path`, waiting at most `timeout` seconds for each read; without it as `Agent`."""
        self._path = os.fspath(path or agent_socket(runtime_directory()))
        self._timeout = timeout

    async def status(self) -> StatusDocument:
        """Return the status document."""
        return cast("StatusDocument", await self._ask("GET", "/v1/status"))

    async def identity(self) -> IdentityDocument | None:
        """Return what is public of the device's identity; None if there is none yet."""
        try:
            return cast("IdentityDocument", await self._ask("GET", "/v1/identity"))
        except RequestRefused as error:
            if error.status == 404:
                return None
            raise

    async def events(self) -> AsyncIterator[StatusDocument]:
        """Yield the status document now and at every change. Raises DaemonUnreachable when the daemon goes away."""
        async with self._connected() as (reader, writer):
            asked = messages.request("GET", "/v1/events")
            head = await self._carried_out(reader, writer, asked, messages.head(), self._timeout)
            if head.status != 200:
                said = await self._part(reader, messages.body(head, ANSWER_LIMIT), self._timeout)
                raise refusal(self._path, head.status, said)
            while True:
                data = await self._part(reader, messages.event(ANSWER_LIMIT), None)
                if data is None:
                    raise DaemonUnreachable(DAEMON_UNREACHABLE, f"The margod behind {self._path} went away.")
                yield cast("StatusDocument", parsed(self._path, data))

    async def deployments(self) -> DeploymentsDocument:
        """Return what the WFM wants to run here; refused with 404 while nothing is known."""
        return cast("DeploymentsDocument", await self._ask("GET", "/v1/deployments"))

    async def deployment(self, deployment_id: str) -> bytes:
        """Return the YAML of one deployment as the WFM gave it."""
        return (await self._whole("GET", f"/v1/deployments/{quoted(deployment_id)}")).body

    async def wait_for_deployments(self, after: DeploymentsDocument | int | None = None) -> DeploymentsDocument:
        """Return what the WFM wants to run here as soon as it is another one than `after`; as `Agent`."""
        async with aclosing(self.events()) as events:  # type: ignore[type-var]  # a generator, as it is written
            async for status in events:
                if is_news(cast("Mapping[str, Any]", status), after):
                    return await self.deployments()
        raise AssertionError("events end by an error only")

    async def adopted(self, version: int) -> DeploymentsDocument:
        """Say that the agent works by the desired state of this version."""
        body = json.dumps({"manifestVersion": version}).encode()
        return cast("DeploymentsDocument", await self._ask("POST", "/v1/deployments/adopted", body))

    async def report_state(
        self,
        deployment_id: str,
        state: str,
        *,
        components: Mapping[str, str] | None = None,
        errors: Mapping[str, str] | None = None,
    ) -> int:
        """Report what became of a deployment; return the report's number in the outbox, where it is durable by then.

        Arguments as for `agent.status_body`.
        """
        body = status_body(deployment_id, state, components=components, errors=errors)
        return int((await self._ask("PUT", f"/v1/deployments/{quoted(deployment_id)}/status", body))["number"])

    async def wfm(
        self, path: str, method: str = "GET", *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Ask the WFM in the device's name; as `Agent.wfm`. Cancelled, it asks no more."""
        seconds = max(self._timeout, WFM_TIMEOUT)
        answer = await self._answer(method, f"/v1/wfm{path}", headers, body, limit=WFM_LIMIT, seconds=seconds)
        if ERROR_HEADER in answer.headers:
            raise refusal(self._path, answer.status, answer.body)
        return answer

    async def _ask(self, method: str, target: str, body: bytes = b"") -> dict[str, Any]:
        return parsed(self._path, (await self._whole(method, target, body)).body)

    async def _whole(self, method: str, target: str, body: bytes = b"") -> Answer:
        seconds = self._timeout if method == "GET" else max(self._timeout, POST_TIMEOUT)
        answer = await self._answer(method, target, None, body, limit=ANSWER_LIMIT, seconds=seconds)
        if answer.status >= 300:
            raise refusal(self._path, answer.status, answer.body)
        return answer

    async def _answer(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None,
        body: bytes,
        *,
        limit: int,
        seconds: float,
    ) -> Answer:
        data = messages.request(method, target, headers, body)
        async with self._connected() as (reader, writer):
            return await self._carried_out(reader, writer, data, messages.answer(limit), seconds)

    async def _carried_out(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        data: bytes,
        reading: Generator[int, bytes, T],
        seconds: float,
    ) -> T:
        try:
            writer.write(data)
        except OSError as error:
            raise unreachable(self._path, error) from error
        return await self._part(reader, reading, seconds)

    async def _part(self, reader: asyncio.StreamReader, reading: Generator[int, bytes, T], seconds: float | None) -> T:
        """Carry out a reading, waiting at most `seconds` for each part of it. Raises DaemonUnreachable."""
        try:
            return await _read(reader, reading, seconds)
        except (OSError, ValueError) as error:
            raise unreachable(self._path, error) from error

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        try:
            caller = await _dialled(self._path, self._timeout)
            reader, writer = await asyncio.open_unix_connection(sock=caller, limit=ANSWER_LIMIT)
        except OSError as error:  # TimeoutError is one
            raise unreachable(self._path, error) from error
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


async def _dialled(path: str, seconds: float) -> socket.socket:
    """Return a connection; a queue that is full is waited for, as `api.connect` does. Raises OSError.

    asyncio would take EAGAIN, which is what the kernel says then, for a connection that is under way.
    """
    deadline = time.monotonic() + seconds
    caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        caller.setblocking(False)
        while True:
            try:
                caller.connect(path)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError("its queue of callers is full") from None
            else:
                return caller
            await asyncio.sleep(0.02)
    except BaseException:  # a cancellation, too
        caller.close()
        raise


async def _read(reader: asyncio.StreamReader, reading: Generator[int, bytes, T], seconds: float | None) -> T:
    """Carry out a reading, waiting at most `seconds` for each part of it."""
    try:
        need = next(reading)
        while True:
            async with asyncio.timeout(seconds):
                data = await (reader.read(need) if need else reader.readline())
            need = reading.send(data)
    except StopIteration as end:
        return cast("T", end.value)
