"""The development WFM as a running thing: directory, lock, TLS listener that counts, control socket, ready file."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import ssl
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from margod.devwfm.app import Handler, Stats
from margod.devwfm.controlserver import ControlServer
from margod.devwfm.decisions import Wfm, route_of
from margod.devwfm.desired import Desired
from margod.devwfm.dialects import DIALECTS
from margod.devwfm.faults import GARBAGE, Fault, FaultBox
from margod.devwfm.pki import Pki
from margod.devwfm.problems import DevWfmError, NotPossible
from margod.devwfm.registry import Registry
from margod.devwfm.rotation import Rotation
from margod.devwfm.token_routes import ALL_AN_HOUR, Lifetimes, token_route_of
from margod.devwfm.token_store import TokenStore

READY: Final = "ready.json"

_HANDSHAKE_TIMEOUT: Final = 20.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How it was started. `listen` is host and port (0: the system chooses); `prefix` "" or "/..."; `hosts` SANs."""

    directory: Path
    listen: tuple[str, int] = ("127.0.0.1", 0)
    prefix: str = ""
    hosts: tuple[str, ...] = ()
    approval: str = "auto"
    pending: int = 202
    retry_after: int = 2
    like: str = "spec"
    quiet: bool = False
    announce: str | None = None
    protocol: str = "signed"
    lifetimes: Lifetimes = ALL_AN_HOUR


class DevServer:
    """One development WFM. `start` raises `DevWfmError` for everything that a person can mend."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is touched before `start`."""
        self.settings = settings
        self.stats = Stats()
        self.desired: Desired
        self.faults = FaultBox()
        self.url = ""
        self.ca_file = settings.directory / "ca.pem"
        self._lock: int | None = None
        self._rotation: Rotation
        self._turn_tokens: Callable[[str], dict[str, object]] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._transports: set[asyncio.Transport] = set()
        self._held: set[socket.socket] = set()
        self._handler: Handler | None = None
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Make what is missing in the directory, listen, and say so in `ready.json`."""
        try:
            await self._start()
        except OSError as error:
            await self.stop()
            raise DevWfmError(f"{self.settings.directory}: {error.strerror or error}") from None
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop at once: no answer is waited for."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.close_connections()
        await self._stack.aclose()
        await asyncio.sleep(0)  # asyncio closes the sockets of aborted connections one turn later.

    def info(self) -> dict[str, object]:
        """Return what `ready.json` holds, and how it was started."""
        settings = self.settings
        return {
            "url": self.url,
            "ca_file": str(self.ca_file),
            "pid": os.getpid(),
            "like": settings.like,
            "approval": settings.approval,
            "pending": settings.pending,
        }

    def turn_ca(self, act: str) -> dict[str, object]:
        """Change the CA (`Rotation.turn`); a connection is closed when what it is asked now has been answered."""
        turned = self._rotation.turn(act)
        assert self._handler is not None
        for idle in self._handler.last_answers(self._transports):
            idle.close()
        return turned

    def turn_tokens(self, act: str) -> dict[str, object]:
        """Revoke or rotate tokens, or rewrite the repository's history (`TokenWfm.act`)."""
        if self._turn_tokens is None:
            raise NotPossible("there are no tokens: it was not started with --protocol token")
        return self._turn_tokens(act)

    def close_connections(self) -> int:
        """Close every connection of a device."""
        closed = len(self._transports) + len(self._held)
        for transport in self._transports:
            with contextlib.suppress(AttributeError):  # Python before 3.11.5 trips over a TLS transport that has ended
                transport.abort()
        for held in self._held:
            held.close()
        self._transports.clear()
        self._held.clear()
        return closed

    async def _start(self) -> None:
        settings = self.settings
        self._prepare_directory()
        pki = Pki.open(settings.directory, settings.hosts)
        pki.ssl_context()
        self._rotation = Rotation(settings.directory, settings.hosts, pki)
        registry = Registry(settings.directory / "registry.db")
        self._stack.callback(registry.close)
        dialect = DIALECTS[settings.like]
        wfm = self._wfm(registry)
        handler = self._handler = Handler(
            wfm,
            registry,
            self.faults,
            self.stats,
            prefix=settings.prefix,
            plain_errors=dialect.plain_errors,
            say=(lambda _line: None) if settings.quiet else None,
            routes=token_route_of if settings.protocol == "token" else route_of,
        )
        http = web.Server(handler, access_log=None, handler_cancellation=True, auto_decompress=False)
        self._stack.push_async_callback(http.shutdown, 0)
        listener = self._listen()
        self._stack.callback(listener.close)
        self.desired = wfm.desired
        control = ControlServer(settings.directory, registry, self.faults, self.stats, self)
        self._stack.push_async_callback(control.stop)
        await control.start()
        accepting = asyncio.create_task(self._accept(listener, http, self._rotation))
        self._stack.callback(accepting.cancel)
        if settings.announce is not None:
            from margod.devwfm.announce import announced  # zeroconf: only needed here

            host, port = listener.getsockname()[:2]
            await self._stack.enter_async_context(announced(settings.announce, host, port, settings.prefix))
        self._announce()

    def _wfm(self, registry: Registry) -> Wfm:
        settings = self.settings
        approval, pending, retry_after = settings.approval, settings.pending, settings.retry_after
        offered = self._rotation.offered
        if settings.protocol != "token":
            dialect = DIALECTS[settings.like]
            return Wfm(registry, offered, dialect, approval=approval, pending=pending, retry_after=retry_after)
        from margod.devwfm.token_git import TokenRepository  # dulwich: only needed here
        from margod.devwfm.token_wfm import TokenWfm

        store = TokenStore(settings.directory / "token.db")
        self._stack.callback(store.close)
        repository = TokenRepository(settings.directory / "desired.git")
        self._stack.callback(repository.close)
        wfm = TokenWfm(
            registry,
            offered,
            store=store,
            repository=repository,
            url=lambda: self.url,
            lifetimes=settings.lifetimes,
            approval=approval,
            pending=pending,
            retry_after=retry_after,
        )
        self._turn_tokens = wfm.act
        return wfm

    def _prepare_directory(self) -> None:
        directory = self.settings.directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._stack.callback(os.close, self._lock)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (directory / READY).unlink(missing_ok=True)
        except BlockingIOError:
            raise DevWfmError(f"{directory}: another development WFM uses this directory") from None
        except FileExistsError:
            raise DevWfmError(f"{directory}: not a directory") from None
        except OSError as error:
            raise DevWfmError(f"{directory}: {error.strerror}") from None

    def _listen(self) -> socket.socket:
        host, port = self.settings.listen
        try:
            family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            listener = socket.socket(family, kind, protocol)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
            listener.listen(256)
        except OSError as error:
            raise DevWfmError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        listener.setblocking(False)
        shown = self.settings.hosts[0] if self.settings.hosts else host
        shown = f"[{shown}]" if ":" in shown else shown
        self.url = f"https://{shown}:{listener.getsockname()[1]}{self.settings.prefix}"
        return listener

    async def _accept(self, listener: socket.socket, http: web.Server, rotation: Rotation) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError:
                await asyncio.sleep(0.05)  # Out of descriptors, or the peer is gone already.
                continue
            self.stats.connections += 1
            self._transports = {t for t in self._transports if not t.is_closing()}
            task = asyncio.create_task(self._serve(connection, http, rotation.presented))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket, http: web.Server, pki: Pki) -> None:
        fault = self.faults.next_connection()
        if fault is not None and self._broken(fault, connection):
            return
        context = pki.ssl_context()
        if fault is not None and fault.action == "certificate":
            context = pki.ssl_context(fault.kind)
        elif fault is not None:
            context = pki.ssl_context(only_tls12=True)
            if await _refused_with_alert(connection, context):
                self.stats.handshakes_failed += 1
                return
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.connect_accepted_socket(
                http, connection, ssl=context, ssl_handshake_timeout=_HANDSHAKE_TIMEOUT
            )
        except OSError:  # ssl.SSLError and TimeoutError are some of them
            self.stats.handshakes_failed += 1
            return
        self.stats.handshakes += 1
        self._transports.add(transport)

    def _broken(self, fault: Fault, connection: socket.socket) -> bool:
        match fault.action:
            case "silent":
                self._held.add(connection)
            case "plain":
                with contextlib.suppress(OSError):
                    connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" + GARBAGE)
                connection.close()
            case "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
            case _:
                return False
        return True

    def _announce(self) -> None:
        file = self.settings.directory / READY
        new = file.with_suffix(".new")
        new.write_text(json.dumps(self.info()) + "\n")
        new.replace(file)
        self._stack.callback(file.unlink, missing_ok=True)


async def serve(settings: Settings, *, ready_fd: int | None = None) -> None:
    """Run until SIGTERM or SIGINT; print the ready line (and write it to `ready_fd`) once devices can connect."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = DevServer(settings)
    await server.start()
    try:
        line = f"ready {server.url} ca {server.ca_file}"
        print(line, flush=True)
        if ready_fd is not None:
            _tell(ready_fd, line)
        await stopping.wait()
    finally:
        await server.stop()


async def _refused_with_alert(connection: socket.socket, context: ssl.SSLContext) -> bool:
    """Try the ClientHello out first; if it is refused, send the alert, which asyncio would drop, and close."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(connection, readable.set)
    try:
        await asyncio.wait_for(readable.wait(), _HANDSHAKE_TIMEOUT)
        hello = connection.recv(65_536, socket.MSG_PEEK)
    except OSError:  # TimeoutError is one
        connection.close()
        return True
    finally:
        loop.remove_reader(connection)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(hello)
    try:
        context.wrap_bio(incoming, outgoing, server_side=True).do_handshake()
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError:
        with contextlib.suppress(OSError):
            connection.recv(len(hello))  # Unread bytes would turn the close into a reset, and the alert be lost.
            connection.send(outgoing.read())
        connection.close()
        return True
    return False


def _tell(descriptor: int, line: str) -> None:
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(f"{line}\n")
    except OSError as error:
        print(f"margod devwfm: --ready-fd {descriptor}: {error.strerror}", file=sys.stderr)
