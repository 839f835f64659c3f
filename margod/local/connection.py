"""One connection to a local socket: aiohttp's request handler with a bound on every wait."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse
from aiohttp.web_server import Server

from margod.local.answers import error_answer
from margod.local.guard import Guard
from margod.local.sockets import Peer, peer_of

HEAD_TIMEOUT: Final = 10.0
"""Seconds from the first byte of a request to the end of its head."""
IDLE_TIMEOUT: Final = 60.0
"""Seconds that a connection may stay open without a request."""
WRITE_TIMEOUT: Final = 10.0
"""Seconds that a caller may leave an answer unread once the buffers (some 64 KiB) are full."""
LINE_LIMIT: Final = 4096
"""Bytes of the request line, and of each header."""
HEADER_LIMIT: Final = 32
"""Headers of one request."""
_LINGER: Final = 2.0
"""Seconds for which an unwanted body is read and dropped, so that the caller gets to read why."""
_HALF_CLOSED: Final = 1.0
"""Seconds for a request to be complete once the caller has ended its half of the connection."""

log = structlog.get_logger()


class Connection(RequestHandler):
    """A caller. Is idle, then reading (bytes came), then busy (`begin` to `finish`), then idle again."""

    def __init__(self, server: Server, guard: Guard) -> None:
        """Serve one connection with the application behind `server`, if `guard` admits it."""
        loop = asyncio.get_running_loop()
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # None turns it off, as aiohttp documents
            tcp_keepalive=False,
            keepalive_timeout=IDLE_TIMEOUT,
            lingering_time=_LINGER,
            max_line_size=LINE_LIMIT,
            max_field_size=LINE_LIMIT,
            max_headers=HEADER_LIMIT,
            auto_decompress=False,
        )
        self._guard = guard
        self._asyncio_transport: asyncio.Transport | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self.peer = Peer(-1, -1, -1)
        self._answering = False
        self._complete = False
        self._half_closed = False
        self.streaming = False
        self.touched = loop.time()
        self.gone: asyncio.Future[None] = loop.create_future()
        """Done when the caller is gone."""

    @property
    def uid(self) -> int:
        """Whose connection it is."""
        return self.peer.uid

    @property
    def busy(self) -> bool:
        """True from a request's last byte to its answer's, as long as the caller reads that.

        Who sends a body in drops, or leaves an answer unread, holds no place against others.
        """
        return self._complete and self._write_timer is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the guard first; a caller that is not admitted is hung up on."""
        assert isinstance(transport, asyncio.Transport)
        self._asyncio_transport = transport
        self.peer = peer_of(transport.get_extra_info("socket"))
        super().connection_made(transport)
        if not self._guard.admit(self):
            transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell whoever waits for it that the caller is gone."""
        self._guard.release(self)
        self._stop_timers()
        super().connection_lost(exc)
        if not self.gone.done():
            self.gone.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Start the head's clock at the first byte after silence."""
        if not self._answering:  # drops of a body keep nothing young
            self.touched = self._loop.time()
            if self._head_timer is None:
                self._head_timer = self._loop.call_later(HEAD_TIMEOUT, self.abort)
        super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's own contract: True keeps the writing half
        """Answer a caller that has sent its request and ended its half of the connection; hang up on others."""
        self._half_closed = True
        if self.streaming or not (self._answering or self._head_timer is not None):
            return False
        if not self._answering:
            self._stop_head_timer()
            self._head_timer = self._loop.call_later(_HALF_CLOSED, self.abort)
        self.close()
        return True

    def pause_writing(self) -> None:
        """Give a caller that does not read its answers a bounded time."""
        super().pause_writing()
        self._write_timer = self._loop.call_later(WRITE_TIMEOUT, self.abort)

    def resume_writing(self) -> None:
        """Take the clock off again: it reads."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def begin(self, *, body: bool) -> None:
        """Note that a whole head is there and its request is being answered; `body`: more of it is to come."""
        self._stop_head_timer()
        self._answering, self._complete = True, not body

    def complete(self) -> None:
        """Note that the request's body is there."""
        self._complete = self._answering

    def finish(self) -> None:
        """Note that the request is answered."""
        self._answering = self._complete = False
        self.touched = self._loop.time()

    def stream(self) -> None:
        """Note that the answer may take long: from now on a caller that ends its half, or has ended it, is gone."""
        self.streaming = True
        if self._half_closed:
            self.abort()

    def hang_up(self) -> None:
        """Close at once if the caller leaves an answer unread; everything else may still end by itself."""
        if self._write_timer is not None:
            self.abort()

    def abort(self) -> None:
        """Close at once, whatever is still to be read or written."""
        if self._asyncio_transport is not None:
            self._asyncio_transport.abort()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's signature
    ) -> StreamResponse:
        """Answer what is not HTTP, or broke on the way, with a JSON error, and hang up; no traceback."""
        if status >= 500 and exc is not None and not isinstance(exc, ConnectionError):  # a caller that left is no fault
            self.log_exception(exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun; it cannot be replaced by an error")
        return error_answer(status, close=True)

    def log_exception(self, *args: object, **kw: object) -> None:
        """Log one line in our words instead of aiohttp's traceback."""
        log.error("local-answer-failed", error=repr(kw.get("exc_info", args)), uid=self.peer.uid)

    def log_debug(self, *args: object, **kw: object) -> None:
        """Say nothing: a caller that goes away is ordinary."""

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_timers(self) -> None:
        self._stop_head_timer()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
