"""Which route a path finds, and on which socket."""

from __future__ import annotations

import pytest
from aiohttp.web_response import Response

from margod.local.routing import WORK, Access, Call, Route, Table


async def _nothing(_: Call) -> Response:
    return Response()


ROUTES = (
    Route("GET", "/v1/things", _nothing),
    Route("PUT", "/v1/things/{id}/state", _nothing, WORK, 100),
    Route("POST", "/v1/things/adopted", _nothing, WORK),
    Route("GET", "/v1/things/{id}", _nothing, WORK),
    Route("GET", "/v1/door/{path*}", _nothing, Access.AGENT),
)


@pytest.mark.parametrize(
    ("path", "methods", "params"),
    [
        ("/v1/things", ["GET"], {}),
        ("/v1/things/", [], {}),
        ("/v1/things/a", ["GET"], {"id": "a"}),
        ("/v1/things/adopted", ["POST"], {}),
        ("/v1/things/a%2Fb", ["GET"], {"id": "a%2Fb"}),
        ("/v1/things//state", [], {}),
        ("/v1/things/a/state", ["PUT"], {"id": "a"}),
        ("/v1/things/a/state/b", [], {}),
        ("/v1/door/a//b/../c", ["GET"], {"path": "a//b/../c"}),
        ("/v1/door/", [], {}),
        ("/v1/door", [], {}),
        ("", [], {}),
    ],
)
def test_paths(path: str, methods: list[str], params: dict[str, str]) -> None:
    """Pins that a parameter is one segment as sent, never empty, and that a plain path goes before a pattern."""
    found, given = Table(ROUTES, Access.AGENT).find(path)
    assert (list(found), dict(given)) == (methods, params if methods else {})


def test_sockets() -> None:
    """Pins that a socket serves its own routes only."""
    assert [len(Table(ROUTES, access).find("/v1/things/a")[0]) for access in Access] == [0, 1, 1]
    assert [len(Table(ROUTES, access).find("/v1/things")[0]) for access in Access] == [1, 1, 1]
