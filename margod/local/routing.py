"""The table of routes: which handler answers a method and a path, on which sockets, with how large a body."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Final, TypeAlias

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse

from margod.local.sockets import Peer

BODY_LIMIT: Final = 4096
"""Bytes of a request's body where the route does not need one; it is read and dropped."""
REST: Final = "*"
"""Behind a parameter's name, as in `{path*}`: it takes the rest of the path, slashes included."""


class Access(Flag):
    """The sockets that a route is served on."""

    STATUS = auto()
    """Read: what is public on this device."""
    AGENT = auto()
    """Report, mirror, door: the programs that do the device's work."""
    ADMIN = auto()
    """Administer: root and margod's own user."""


EVERYWHERE: Final = Access.STATUS | Access.AGENT | Access.ADMIN
WORK: Final = Access.AGENT | Access.ADMIN


@dataclass(frozen=True, slots=True)
class Call:
    """One request: who asks, what the path's parameters are (as sent, nothing decoded), and its body."""

    request: BaseRequest
    peer: Peer
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


Handler: TypeAlias = Callable[[Call], Awaitable[StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. Segments in braces are parameters.

    `body` is the most bytes that are read of one; None: the handler reads it itself, when it has room for it.
    `audited`: each call is put into the journal with who made it.
    """

    method: str
    path: str
    handler: Handler
    access: Access = EVERYWHERE
    body: int | None = BODY_LIMIT
    audited: bool = False


class Table:
    """The routes of one socket."""

    def __init__(self, routes: Iterable[Route], access: Access) -> None:
        """Take those of `routes` that are served there."""
        self._exact: dict[str, dict[str, Route]] = {}
        self._patterns: dict[tuple[str, ...], dict[str, Route]] = {}
        for route in routes:
            if access in route.access:
                plain = "{" not in route.path
                methods = (
                    self._exact.setdefault(route.path, {})
                    if plain
                    else self._patterns.setdefault(tuple(route.path.split("/")), {})
                )
                methods[route.method] = route

    def find(self, path: str) -> tuple[Mapping[str, Route], Mapping[str, str]]:
        """Return the routes of a path by their method, none if there are none, and the path's parameters."""
        if (exact := self._exact.get(path)) is not None:
            return exact, {}
        segments = path.split("/")
        for pattern, methods in self._patterns.items():
            if (params := _matched(pattern, segments)) is not None:
                return methods, params
        return {}, {}


def _matched(pattern: tuple[str, ...], segments: list[str]) -> dict[str, str] | None:
    params: dict[str, str] = {}
    for at, expected in enumerate(pattern):
        if expected.endswith(REST + "}"):
            rest = "/".join(segments[at:])
            return {**params, expected[1:-2]: rest} if rest else None
        if at >= len(segments):
            return None
        if expected.startswith("{") and segments[at]:
            params[expected[1:-1]] = segments[at]
        elif expected != segments[at]:
            return None
    return params if len(segments) == len(pattern) else None
