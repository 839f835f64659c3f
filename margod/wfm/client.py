"""The session with the WFM: sends a request as it was signed, byte for byte, and brings back a bounded answer."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final

import aiohttp
from yarl import URL

from margod.model import reasons
from margod.model.text import clean
from margod.model.wire import Answer, SignedRequest, Sink, TransportFailure
from margod.wfm.failures import AnswerMalformed, AnswerTooLarge, NotResent, cause, failure
from margod.wfm.proxy import Connector, Proxy, Reached, through_proxy
from margod.wfm.resolver import Resolver
from margod.wfm.room import Room
from margod.wfm.validity import NO_CHECK_TIME, OutsideValidity, leaf_period, require_valid

if TYPE_CHECKING:
    from aiohttp.client_middlewares import ClientHandlerType
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

HEADERS_LIMIT: Final = 64
"""Header fields of an answer."""
HEADER_LIMIT: Final = 8_192
"""Bytes of one header field of an answer, and of its status line."""
REFUSAL_LIMIT: Final = 65_536
"""Bytes of an answer that is no success, where a success would have gone into a sink."""
IDLE_LIMIT: Final = 15.0
"""Seconds for which an unused connection is kept: shorter than servers and firewalls keep theirs, so that our next
request seldom races with their close."""

_CLOSE_LIMIT: Final = 1.0  # seconds; a stop waits for no peer
_SETTLE_TURNS: Final = 6  # turns of the event loop that asyncio's TLS needs to notice a close that lies in the socket

_URL: Final = re.compile(r"https://(?P<authority>[!-\"$-.0->@-~]+)(?P<target>/[!-\"$-~]*)")  # visible ASCII, no "#"
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_FIELD_VALUE: Final = re.compile(r"[\t -~]*")

_OWN_HEADERS_ONLY: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")  # aiohttp would add these


class WfmClient:
    """Sends one request at a time over one kept-alive connection; further calls wait for their turn.

    Follows no redirect, keeps no cookie, decompresses nothing, reads no environment (proxies, netrc) and never sends
    a request twice: aiohttp's own retry of idempotent requests is switched off, a connection that the server closed
    while it was idle is noticed before it is used. Use it in one event loop. Raises ValueError for a context that
    does not verify the server's chain: there is one exception, in `unverified.py`, and it sends one fixed request.
    """

    _verifies: ClassVar[bool] = True
    _at_any_time: ClassVar[bool] = False

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        timeout: float,
        connect_timeout: float | None = None,
        resolver: Resolver | None = None,
        proxy: Proxy | None = None,
        any_name: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Verify servers by `context`. `timeout` bounds a whole exchange (name lookup to last byte), in seconds > 0;
        `connect_timeout` its part up to the end of the TLS handshake, by default the smaller of 10 s and `timeout`.
        With `proxy` every connection goes through it; then it resolves the WFM's name. `any_name` says that `context`
        leaves the host name unverified on purpose. `clock` (Unix seconds) says that it leaves the times unverified:
        the client compares them with this clock instead of the system's.
        """
        named = context.check_hostname or any_name
        if self._verifies and not (context.verify_mode is ssl.CERT_REQUIRED and named):
            raise ValueError("a context that does not verify the server")
        if bool(context.verify_flags & NO_CHECK_TIME) is not (clock is not None or self._at_any_time):
            raise ValueError("the times of the server's certificates are compared with one clock, no less and no more")
        self._context = context
        self._timeout = timeout
        self._connect_timeout = min(10.0, timeout) if connect_timeout is None else connect_timeout
        self._resolver = resolver or Resolver()
        self._proxy = proxy
        self._clock = clock
        self._connector: _Connector | None = None
        self._session: aiohttp.ClientSession | None = None
        self._turn = asyncio.Lock()
        self._room = Room()
        self._deadline: asyncio.Timeout | None = None
        self._sockets: list[socket.socket] = []
        self._closed = asyncio.Event()

    async def send(
        self, request: SignedRequest, *, seconds: float | None = None, into: Sink | None = None
    ) -> Answer | TransportFailure:
        """Send `request` and return what came of it. Raises nothing but CancelledError.

        `seconds` (> 0) bounds this exchange instead of the client's own `timeout`; waiting for the turn does not count.
        The URL goes out verbatim, its authority as the Host header (unless `request.headers` has one). Only https is
        spoken.

        A success (2xx) goes `into` a sink where there is one: then `timeout` is for the head and for each further
        piece, and `seconds` for them all. `request.limit` holds for it; every other answer is read whole, up to
        `REFUSAL_LIMIT`.
        """
        if refusal := _unfit(request):
            return TransportFailure(reasons.CONNECT_FAILED, clean(refusal), sent=False)
        async with self._turn:
            if self._closed.is_set():
                return TransportFailure(reasons.CONNECT_FAILED, "the client is closed", sent=False)
            whole = self._timeout if seconds is None else seconds
            progress = _Progress(into, asyncio.get_running_loop().time() + whole)
            self._room.begin(request.limit)
            try:
                async with asyncio.timeout(whole if into is None else min(whole, self._timeout)) as self._deadline:
                    await self._settle()
                    return await self._exchange(request, progress)
            except Exception as error:  # the boundary: each foreign exception is translated here, once
                self._cut()
                if self._closed.is_set():
                    return TransportFailure(reasons.CONNECTION_LOST, "the client was closed", progress.sent)
                too_much = AnswerTooLarge("more around the body than any answer needs")
                return self._failure(too_much if self._room.used_up else error, progress)
            except asyncio.CancelledError:
                self._cut()
                raise
            finally:
                self._deadline = None

    async def close(self) -> None:
        """End an exchange under way, cut the connection, and return within about a second. May be called twice."""
        self._closed.set()
        if self._deadline is not None:
            with suppress(RuntimeError):  # closed twice: it is ending already
                self._deadline.reschedule(asyncio.get_running_loop().time())
        await self._resolver.close()
        if self._session is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_LIMIT):
                    await self._session.close()
        self._cut()
        await self._settle()

    async def _exchange(self, request: SignedRequest, progress: _Progress) -> Answer:
        url, headers = _verbatim(request)
        session = self._opened()
        assert self._connector is not None
        self._connector.progress = progress
        async with session.request(
            request.method,
            url,
            headers=headers,
            data=request.body or None,
            allow_redirects=False,
            proxy=self._proxy.address if self._proxy else None,
            proxy_headers=self._proxy.headers if self._proxy else None,
        ) as response:
            if response.status < 200:
                # 101: nobody asked to switch; other 1xx are skipped by aiohttp; below 100 there are no statuses.
                raise AnswerMalformed(f"the server answered with the status {response.status}")
            body = await self._body(response, request.limit, progress)
            valid = self._connector.valid
            return Answer(response.status, _headers(response), body, (self._clock or time.time)(), valid)

    async def _body(self, response: aiohttp.ClientResponse, limit: int, progress: _Progress) -> bytes:
        """Return the whole body; that of a success goes into the sink, if there is one."""
        into = progress.into if response.status < 300 else None
        bound = limit if into is progress.into else min(limit, REFUSAL_LIMIT)
        announced = response.content_length
        if announced is not None and announced > bound and not response.content.at_eof():
            raise AnswerTooLarge(f"{announced} bytes announced, {bound} are read")
        if into is None:
            return b"".join([piece async for piece in _pieces(response, bound)])
        self._extend(progress.ends)
        await into.begin(response.status, _headers(response))
        self._extend(self._next(progress))
        async for piece in _pieces(response, limit):
            self._extend(progress.ends)  # what the sink takes of the time is not the server's
            await into.write(piece)
            self._extend(self._next(progress))
        return b""

    def _next(self, progress: _Progress) -> float:
        """Return when the server has to have sent something more, on the loop's clock."""
        return min(asyncio.get_running_loop().time() + self._timeout, progress.ends)

    def _extend(self, ends: float) -> None:
        """Let the exchange under way last until then, unless the client was closed meanwhile."""
        if self._closed.is_set() or self._deadline is None:
            raise TimeoutError
        self._deadline.reschedule(ends)

    def _failure(self, error: Exception, progress: _Progress) -> TransportFailure:
        if isinstance(error, OutsideValidity):  # on a connection that was opened, and closed before it was used
            return TransportFailure(*error.failure, sent=False)
        found = failure(error, sent=progress.sent)
        if self._proxy is None:
            return found
        reached = self._connector.reached if self._connector else Reached.NOTHING
        return through_proxy(found, cause(error), self._proxy, reached)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._connector = _Connector(
                ssl=self._context,
                resolver=self._resolver,
                use_dns_cache=False,
                limit=1,
                keepalive_timeout=IDLE_LIMIT,
                socket_factory=self._new_socket,
            )
            self._connector.clock = self._clock
            self._room.bound(self._connector)
            self._session = aiohttp.ClientSession(
                connector=self._connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=_OWN_HEADERS_ONLY,
                auto_decompress=False,
                trust_env=False,
                timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout),
                max_line_size=HEADER_LIMIT,
                max_field_size=HEADER_LIMIT,
                max_headers=HEADERS_LIMIT,
                middlewares=(_once,),
            )
        return self._session

    def _new_socket(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, *_ = info
        self._sockets = [s for s in self._sockets if s.fileno() != -1]
        self._sockets.append(socket.socket(family, kind, protocol))
        return self._sockets[-1]

    def _cut(self) -> None:
        """End every connection at once: a polite TLS close would wait up to 30 s for a peer that just misbehaved."""
        for each in self._sockets:
            with suppress(OSError):  # already closed, or never connected
                each.shutdown(socket.SHUT_RDWR)

    async def _settle(self) -> None:
        """Let the loop take in a close by the server that is waiting in the socket, before the connection is used."""
        for _ in range(_SETTLE_TURNS):
            if not any(each.fileno() != -1 for each in self._sockets):
                break
            await asyncio.sleep(0)


class _Connector(Connector):
    """Hands out no kept-alive connection on which the server spoke unasked: that would pass for the next answer.

    And none whose certificates are not valid by `clock`, where there is one.
    """

    progress: _Progress | None = None
    """Of the exchange under way; there is one at a time."""
    clock: Callable[[], float] | None = None
    valid: tuple[float, float] | None = None
    """Of the connection that was handed out last: when the server's certificate is valid."""
    _seen: weakref.ref[ssl.SSLObject] | None = None

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own signature
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        while connection.protocol is not None and connection.protocol.should_close:
            connection.close()
            connection = await super().connect(req, traces, timeout)
        found = connection.transport.get_extra_info("ssl_object") if connection.transport is not None else None
        if found is None or self._seen is None or self._seen() is not found:  # once a connection, not once a request
            self.valid, self._seen = leaf_period(found), None if found is None else weakref.ref(found)
        if self.clock is not None:
            try:
                require_valid(found, self.clock())
            except OutsideValidity:
                connection.close()
                raise
        if self.progress is not None:
            self.progress.sent = True  # from here on bytes of the request may reach the server
        return connection


class _Progress:
    """How far one exchange has come, where its success goes, and when it ends at the latest (the loop's clock)."""

    def __init__(self, into: Sink | None, ends: float) -> None:
        self.into, self.ends = into, ends
        self.sent = False


async def _once(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from resending: it does so, for idempotent methods, on exactly these two exceptions."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise NotResent from error


def _unfit(request: SignedRequest) -> str:
    """Return why the request cannot go out as it stands, or nothing; keeps line breaks off the wire."""
    match = _URL.fullmatch(request.url)
    if match is None:
        return "not a plain absolute https URL"
    try:
        url = URL(request.url, encoded=True)
        if url.raw_path_qs != match["target"] or url.port is None or url.raw_user is not None:
            return "not a URL that can be sent verbatim"
    except ValueError as error:
        return f"not a URL: {error}"
    if not _TOKEN.fullmatch(request.method) or request.method != request.method.upper():
        return "not a method"
    for name, value in request.headers.items():
        if not _TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            return f"not a header field: {name}"
    return ""


def _verbatim(request: SignedRequest) -> tuple[URL, dict[str, str]]:
    match = _URL.fullmatch(request.url)
    assert match is not None, "checked by _unfit"
    given = {name.lower() for name in request.headers}
    headers = dict(request.headers)
    if "host" not in given:
        headers["Host"] = match["authority"]  # aiohttp would leave out :443
    if "accept-encoding" not in given:
        headers["Accept-Encoding"] = "identity"
    return URL(request.url, encoded=True), headers


async def _pieces(response: aiohttp.ClientResponse, limit: int) -> AsyncIterator[bytes]:
    """Yield the body as it comes. Raises AnswerTooLarge instead of more than `limit` bytes."""
    size = 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > limit:
            raise AnswerTooLarge(f"more than {limit} bytes")
        yield piece


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Return the fields with lower-case names; repeated ones are joined by commas (RFC 9110, 5.3)."""
    joined: dict[str, str] = {}
    for name, value in response.headers.items():
        text = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        key = name.lower()
        joined[key] = f"{joined[key]}, {text}" if key in joined else text
    return joined
