"""HTTP in front of the decisions: one handler that records, counts, meets faults, and answers."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from margod.devwfm.decisions import Decision, Route, Wfm, route_of
from margod.devwfm.faults import Fault, FaultBox, carry_out
from margod.devwfm.registry import Registry
from margod.devwfm.verifier import Message
from margod.model.text import clean

BODY_LIMIT: Final = 1_048_576
"""Bytes of a request body; aiohttp refuses more with 413."""


@dataclass(slots=True)
class Stats:
    """What was counted at the server since the last reset."""

    connections: int = 0
    handshakes: int = 0
    handshakes_failed: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    since: float = field(default_factory=time.time)

    def reset(self) -> None:
        """Begin again at zero."""
        self.__init__()  # type: ignore[misc]  # the dataclass's own defaults are what zero means

    def public(self) -> dict[str, object]:
        """Return the counts as the control socket shows them."""
        return {
            "connections": self.connections,
            "handshakes": self.handshakes,
            "handshakes_failed": self.handshakes_failed,
            "requests_total": self.requests.total(),
            "requests": dict(self.requests),
            "since": self.since,
        }


class Handler:
    """The one request handler; `aiohttp.web.Server` calls it."""

    def __init__(
        self,
        wfm: Wfm,
        registry: Registry,
        faults: FaultBox,
        stats: Stats,
        *,
        prefix: str,
        plain_errors: bool,
        say: Callable[[str], None] | None = None,
        routes: Callable[[str, str], Route] = route_of,
    ) -> None:
        """`say` is given one line for each request; by default it goes to standard error."""
        self._wfm = wfm
        self._registry = registry
        self._faults = faults
        self._stats = stats
        self._prefix = prefix
        self._plain_errors = plain_errors
        self._say = say or _to_standard_error
        self._routes = routes
        self._busy: set[asyncio.BaseTransport | None] = set()
        self._last: set[asyncio.BaseTransport | None] = set()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, or meet it with a fault."""
        connection = request.transport
        self._busy.add(connection)
        try:
            response = await self._answer(request)
        finally:
            self._busy.discard(connection)
        if connection in self._last:
            response.force_close()
        return response

    def last_answers(self, connections: Iterable[asyncio.Transport]) -> list[asyncio.Transport]:
        """Have these closed with the answer to what they are asked now; return those that are asked nothing."""
        self._last = self._busy & set(connections)
        return [connection for connection in connections if connection not in self._last]

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        message = _message(request)
        route = self._routes(self._prefix, message.target)
        self._stats.requests[route.name] += 1
        body = await request.read()
        fields = json.dumps(message.fields)
        number = self._registry.record(route.name, message.method, _printable(message.target), fields, body)
        fault = self._faults.next_request(route.name, route.deployment_id)
        if fault is not None and fault.when == "before":
            self._report(message, fault.action, f"fault before the request was looked at: {fault.action}")
            return await carry_out(fault, request, None)
        decision = self._wfm.decide(route, message, body, time.time())
        self._registry.answered(number, decision.status, decision.verdict, decision.fingerprint, decision.client_id)
        self._report(message, decision.status, _verdict(decision, fault))
        answer = self._response(decision)
        return await carry_out(fault, request, answer) if fault is not None else answer

    def _response(self, decision: Decision) -> web.Response:
        if decision.body:
            return web.Response(
                status=decision.status,
                headers=decision.headers,
                body=decision.body,
                content_type=decision.content_type,
            )
        if decision.document is None:
            body = b"null" if decision.says_null else None
            kind = decision.content_type if body else None
            return web.Response(status=decision.status, headers=decision.headers, body=body, content_type=kind)
        plain = self._plain_errors and decision.status >= 400
        return web.Response(
            status=decision.status,
            headers=decision.headers,
            body=json.dumps(decision.document).encode(),
            content_type="text/plain" if plain else decision.content_type,
            charset="utf-8" if plain else None,
        )

    def _report(self, message: Message, outcome: object, says: str) -> None:
        self._say(f"{clean(message.method, 16)} {clean(message.target, 120)} {outcome} {clean(says)}")


def _message(request: web.BaseRequest) -> Message:
    fields = tuple(
        (name.decode("ascii", "replace").lower(), value.decode("latin-1")) for name, value in request.raw_headers
    )
    return Message(
        fields=fields,
        method=request.method,
        scheme="https",
        authority=next((value for name, value in fields if name == "host"), ""),
        target=request.raw_path,
    )


def _verdict(decision: Decision, fault: Fault | None) -> str:
    who = f" ({decision.fingerprint[:16]})" if decision.fingerprint else ""
    then = f"; fault after that: {fault.action}" if fault else ""
    return f"{decision.verdict}{who}{then}"


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _to_standard_error(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
