"""Host names to addresses in threads of our own, so that a name server that hangs never holds up a stop.

asyncio's own `getaddrinfo` runs in the loop's executor, whose threads asyncio and the interpreter join at exit. The
threads here are daemon threads that nobody waits for, at most one for each host name that a resolver is asked for.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

ADDRESS_LIMIT: Final = 16
"""Addresses of one name that are tried; a name with more is somebody's joke or attack."""

Lookup = Callable[[str, int, socket.AddressFamily], list[Any]]
"""What a thread calls: host, port, family -> the list of `socket.getaddrinfo`; raises OSError or UnicodeError."""


def system_lookup(host: str, port: int, family: socket.AddressFamily) -> list[Any]:
    """Ask the system. Blocks for as long as the system's resolver does (seconds to a minute)."""
    # AI_ADDRCONFIG spares networks without IPv6 the AAAA query that some plant routers answer badly or not at all.
    return socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)


def at(addresses: Sequence[str]) -> Resolver:
    """Return a resolver that knows nothing but these address literals, for every name."""

    def lookup(_host: str, port: int, family: socket.AddressFamily) -> list[Any]:
        found: list[Any] = []
        for address in addresses[:ADDRESS_LIMIT]:
            with suppress(OSError):  # the interface of a link-local address has gone
                found += socket.getaddrinfo(
                    address, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
                )
        return found

    return Resolver(lookup)


class Resolver(AbstractResolver):
    """A resolver for aiohttp. One lookup at most is in flight for a host; who asks meanwhile waits for the same one.

    A cancelled or timed-out wait leaves its thread behind until the system's resolver returns; the next call for that
    host joins it instead of starting another, so hanging name servers cost one thread, not one for each retry. That
    holds for a resolver that lives as long as the retries do. One that is made for a single request (a first contact,
    a look at who is presented) leaves a thread of its own behind, for as long as the system looks.
    """

    def __init__(self, lookup: Lookup = system_lookup) -> None:
        """Use `lookup` in the threads; it must not touch the event loop."""
        self._lookup = lookup
        self._waiting: dict[tuple[str, int, int], set[asyncio.Future[list[ResolveResult]]]] = {}
        self._closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return at most 16 addresses in the system's order. Raises OSError (`socket.gaierror` when not found)."""
        if self._closed:
            raise OSError(errno.ECANCELED, "the client is closed")
        loop = asyncio.get_running_loop()
        key = (host, port, int(family))
        if key not in self._waiting:
            self._start(loop, key, family)
        waiter: asyncio.Future[list[ResolveResult]] = loop.create_future()
        self._waiting[key].add(waiter)
        try:
            return await waiter
        finally:
            if key in self._waiting:
                self._waiting[key].discard(waiter)

    async def close(self) -> None:
        """Let every waiting call fail now; running lookups are left to end by themselves, unheard."""
        self._closed = True
        for key in tuple(self._waiting):
            self._finish(key, OSError(errno.ECANCELED, "the client was closed"))

    def _start(self, loop: asyncio.AbstractEventLoop, key: tuple[str, int, int], family: socket.AddressFamily) -> None:
        host, port, _ = key

        def work() -> None:
            result: list[ResolveResult] | OSError
            try:
                result = _results(host, port, self._lookup(host, port, family))
            except OSError as error:
                result = error
            except Exception as error:  # UnicodeError of a label too long, and whatever else a name causes
                result = socket.gaierror(socket.EAI_NONAME, str(error))
            with suppress(RuntimeError):  # the loop is closed: nobody is interested any more
                loop.call_soon_threadsafe(self._finish, key, result)

        thread = threading.Thread(target=work, name="margod-dns", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, f"no thread for the name lookup: {error}") from error
        self._waiting[key] = set()

    def _finish(self, key: tuple[str, int, int], result: list[ResolveResult] | OSError) -> None:
        for waiter in self._waiting.pop(key, set()):
            if waiter.done():
                continue
            if isinstance(result, OSError):
                waiter.set_exception(result)
            else:
                waiter.set_result(list(result))


def _results(host: str, port: int, infos: list[Any]) -> list[ResolveResult]:
    addresses: dict[str, socket.AddressFamily] = {}
    for family, _, _, _, address in infos:
        if family == socket.AF_INET:
            addresses[address[0]] = family
        elif family == socket.AF_INET6 and len(address) == 4:
            # A link-local address means nothing without its interface.
            scoped = address[3] and "%" not in address[0]
            addresses[f"{address[0]}%{address[3]}" if scoped else address[0]] = family
    if not addresses:
        raise socket.gaierror(socket.EAI_NODATA, "the name has no IPv4 or IPv6 address")
    return [
        ResolveResult(
            hostname=host,
            host=address,
            port=port,
            family=family,
            proto=socket.IPPROTO_TCP,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for address, family in list(addresses.items())[:ADDRESS_LIMIT]
    ]
