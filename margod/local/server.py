"""The server of the local sockets."""

from __future__ import annotations

import asyncio
import grp
from functools import partial
from pathlib import Path
from typing import Final, cast

import structlog
from aiohttp.web_server import Server

from margod.local.connection import Connection
from margod.local.controller import Controller
from margod.local.events import EventStreams
from margod.local.guard import FEW, OVERALL, Guard
from margod.local.routes import application
from margod.local.routing import Access
from margod.local.sockets import Listener, listen, own_directory
from margod.model.errors import MargodError
from margod.model.reasons import LOCAL_SOCKET_FAILED

STATUS_SOCKET: Final = "status.sock"
"""Read: mode 0660, group margod."""
AGENT_SOCKET: Final = "agent/agent.sock"
"""Read, report, mirror, door: mode 0660, group margod-agent, in a directory of that group that can be given away alone.
"""
ADMIN_SOCKET: Final = "admin/admin.sock"
"""Read and administer: mode 0600 in a directory of mode 0700."""

_ACCEPT_AT_ONCE: Final = 16
"""Connections accepted in one turn of the loop, well under the guard's bound per user: a new caller's request is read
before so many others have come that it would count as the oldest idle one."""
_STOP_TIMEOUT: Final = 0.4
"""Seconds that answers under way get when the server stops, and again before they are cut (aiohttp waits twice)."""

log = structlog.get_logger()


class LocalServer:
    """Serves the sockets in `directory` from `start` to `stop`."""

    def __init__(self, directory: Path, controller: Controller, *, group: str | None, agents: str | None) -> None:
        """Serve `controller`; the status socket goes to `group` and the agent socket to `agents`.

        A group that the system does not have, or that is not this process's to give, leaves them to the owner alone.
        """
        self._directory = directory
        self._controller = controller
        self._group, self._agents = group, agents
        self._missing: set[str] = set()
        """Groups of which it was said that the system has none."""
        self._streams: list[EventStreams] = []
        self._answering: list[Server] = []
        self._servers: list[asyncio.Server] = []
        self._listeners: list[Listener] = []

    async def start(self) -> None:
        """Open the sockets; the caller holds the state directory's lock, so what is found there is stale.

        Raises MargodError (local-socket-failed); nothing stays open then.
        """
        try:
            self._make_directory()
            await self._serve(self._shared(STATUS_SOCKET, self._group), Access.STATUS)
            await self._serve(self._shared(AGENT_SOCKET, self._agents), Access.AGENT)
            admin = self._directory / ADMIN_SOCKET
            own_directory(admin.parent, mode=0o700)
            await self._serve(listen(admin, mode=0o600, gid=None), Access.ADMIN)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Take no more callers, remove the sockets, end what is under way within about a second. Idempotent."""
        for streams in self._streams:
            streams.stop()
        for server in self._servers:
            server.close()
        for listener in self._listeners:
            listener.remove()
        await asyncio.sleep(0)  # requests that are there begin to be answered before idle connections are closed
        for each in self._answering:
            each.pre_shutdown()
            for connection in each.connections:
                cast("Connection", connection).hang_up()
        await asyncio.gather(*(each.shutdown(_STOP_TIMEOUT) for each in self._answering))
        self._listeners, self._servers, self._answering, self._streams = [], [], [], []

    async def _serve(self, listener: Listener, access: Access) -> None:
        self._listeners.append(listener)
        streams = EventStreams(self._controller, access)
        self._streams.append(streams)
        answering = Server(application(self._controller, streams, access))
        self._answering.append(answering)
        loop = asyncio.get_running_loop()
        connect = partial(Connection, answering, Guard(overall=FEW if access is Access.ADMIN else OVERALL))
        server = await loop.create_unix_server(connect, sock=listener.socket, backlog=_ACCEPT_AT_ONCE)
        self._servers.append(server)
        listener.socket.listen(128)

    def _make_directory(self) -> None:
        try:
            self._directory.mkdir(mode=0o755, exist_ok=True)
        except OSError as error:
            message = f"The directory {self._directory} could not be made: {error.strerror or error}."
            raise MargodError(LOCAL_SOCKET_FAILED, message) from error

    def _shared(self, name: str, group: str | None) -> Listener:
        """Listen at `name` for a group, or for the owner alone where that cannot be."""
        path = self._directory / name
        if (gid := _gid(group)) is not None:
            try:
                return self._listen(path, gid)
            except MargodError as error:
                if not isinstance(error.__cause__, PermissionError):
                    raise
                log.warning("socket-group", socket=name, group=group, error="not a member of this group")
        elif group is not None and group not in self._missing:
            self._missing.add(group)
            log.info("socket-group", socket=name, group=group, message="This system has no such group.")
        return self._listen(path, None)

    def _listen(self, path: Path, gid: int | None) -> Listener:
        if path.parent != self._directory:
            own_directory(path.parent, mode=0o700 if gid is None else 0o750, gid=gid)
        return listen(path, mode=0o600 if gid is None else 0o660, gid=gid)


def _gid(group: str | None) -> int | None:
    if group is None:
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None
