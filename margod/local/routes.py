"""The routes of the local API, as openapi.yaml describes them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias, cast

import structlog
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse

from margod.local import routes_downtime
from margod.local.answers import document, error_answer
from margod.local.connection import Connection
from margod.local.controller import Controller
from margod.local.events import EventStreams
from margod.local.reading import read_body
from margod.local.routes_capabilities import capabilities_routes
from margod.local.routes_deployments import deployment_routes
from margod.local.routes_door import door_routes
from margod.local.routes_git import git_routes
from margod.local.routes_outbox import outbox_routes
from margod.local.routing import BODY_LIMIT, Access, Call, Handler, Route, Table
from margod.local.sockets import Peer
from margod.model.errors import MargodError
from margod.model.reasons import NO_CANDIDATE, NO_IDENTITY, NOT_PERMITTED

ACTION_TIMEOUT: Final = 30.0
"""Seconds that a POST may take."""
OVERFLOW_UID: Final = 65_534
HIDDEN: Final = "A user namespace hides who asks (uid 65534), so this caller may not administer."
HIDDEN_HINT: Final = "Call as root from outside that namespace: on the device itself, not in a container."
"""Whom the kernel shows when a user namespace hides the caller: nobody to be trusted with administration."""

_FINGERPRINT: Final = re.compile("[0-9a-f]{64}")
_OPENAPI: Final = Path(__file__).with_name("openapi.yaml")
Answering: TypeAlias = Callable[[BaseRequest], Awaitable[StreamResponse]]

log = structlog.get_logger()


def application(controller: Controller, streams: EventStreams, access: Access) -> Answering:
    """Return what answers the requests on one of the sockets.

    A table of paths instead of aiohttp.web's application, whose import costs 1 MiB for what a few paths do not need.
    """
    table = Table(routes(controller, streams), access)

    async def answer(request: BaseRequest) -> StreamResponse:
        connection = _connection(request)
        connection.begin(body=request.body_exists)
        try:
            return await _answered(table, access, request, connection.peer)
        except MargodError as error:
            return error_answer(409, error.code, error.message, error.hint)
        except ConnectionError:
            raise
        except Exception as error:
            log.error("local-answer-failed", path=request.path, error=repr(error))
            return error_answer(500, close=True)
        finally:
            connection.finish()

    return answer


def routes(controller: Controller, streams: EventStreams) -> list[Route]:
    """Return every route of every socket."""

    async def status(_: Call) -> Response:
        return document(controller.status())

    async def health(_: Call) -> Response:
        healthy = controller.healthy()
        status = controller.status()
        found = {"healthy": healthy, "state": status["state"], "downtime": status["downtime"]}
        return document(found, 200 if healthy else 503)

    async def identity(_: Call) -> Response:
        found = controller.identity()
        if found is None:
            return error_answer(404, NO_IDENTITY.code, NO_IDENTITY.says, NO_IDENTITY.hint)
        return document(found)

    async def next_identity(_: Call) -> Response:
        found = controller.next_identity()
        return (
            error_answer(404, NO_CANDIDATE.code, NO_CANDIDATE.says, NO_CANDIDATE.hint)
            if found is None
            else document(found)
        )

    async def events(call: Call) -> StreamResponse:
        return await streams.subscribe(call.request, _connection(call.request))

    async def openapi(_: Call) -> Response:
        return Response(text=_OPENAPI.read_text(encoding="utf-8"), content_type="application/yaml")

    return [
        Route("GET", "/v1/status", status),
        Route("GET", "/v1/health", health),
        Route("GET", "/v1/identity", identity),
        Route("GET", "/v1/identity/next", next_identity),
        Route("GET", "/v1/events", events),
        Route("GET", "/v1/openapi", openapi),
        *capabilities_routes(controller),
        *deployment_routes(controller),
        *door_routes(controller),
        *_actions(controller),
        *git_routes(controller),
        *outbox_routes(controller),
        *routes_downtime.routes(controller),
    ]


def _actions(controller: Controller) -> list[Route]:
    """Return the routes of what only the admin socket does."""

    async def retry(_: Call) -> Response:
        return document(await controller.retry(), 202)

    async def use(call: Call) -> Response:
        instance = call.request.rel_url.query.get("instance", "")
        return document(await controller.choose(instance)) if instance else error_answer(400)

    async def reload(_: Call) -> Response:
        return document(await controller.reload())

    async def accept_trust(call: Call) -> Response:
        fingerprint = call.request.rel_url.query.get("fingerprint", "").replace(":", "").lower()
        if not _FINGERPRINT.fullmatch(fingerprint):
            return error_answer(400)
        return document(await controller.accept_trust(fingerprint))

    async def forget_trust(_: Call) -> Response:
        return document(await controller.forget_trust())

    async def adopt_hardware(_: Call) -> Response:
        return document(await controller.adopt_hardware())

    async def rotate(_: Call) -> Response:
        return document(await controller.rotate(), 202)

    async def abort_rotation(_: Call) -> Response:
        return document(await controller.abort_rotation())

    async def reset(call: Call) -> Response:
        wanted = _reset_wanted(call.request)
        return error_answer(400) if wanted is None else document(await controller.reset(**wanted))

    async def reset_clock(_: Call) -> Response:
        return document(await controller.reset_clock())

    actions: dict[str, Handler] = {
        "/v1/identity/adopt-hardware": adopt_hardware,
        "/v1/identity/rotate": rotate,
        "/v1/identity/rotate/abort": abort_rotation,
        "/v1/retry": retry,
        "/v1/reset": reset,
        "/v1/reload": reload,
        "/v1/discovery/use": use,
        "/v1/trust/accept": accept_trust,
        "/v1/trust/forget": forget_trust,
        "/v1/clock/reset": reset_clock,
    }
    return [Route("POST", path, handler, Access.ADMIN, audited=True) for path, handler in actions.items()]


def _reset_wanted(request: BaseRequest) -> dict[str, bool] | None:
    """Return what a reset is to do; None where the query says something else, or two things at once."""
    query = request.rel_url.query
    said = {name: query.get(name, "false") for name in ("unregister", "new_identity", "wipe")}
    if set(query) - set(said) or set(said.values()) - {"true", "false"}:
        return None
    wanted = {name: value == "true" for name, value in said.items()}
    return None if wanted["wipe"] and wanted["new_identity"] else wanted


async def _answered(table: Table, access: Access, request: BaseRequest, peer: Peer) -> StreamResponse:
    """Find the route, read the body that it allows, and answer."""
    methods, params = table.find(request.rel_url.raw_path)
    route = methods.get("GET" if request.method == "HEAD" else request.method)
    limit = BODY_LIMIT if route is None else route.body
    body: bytes | Response = b"" if limit is None else await read_body(request, limit)
    if isinstance(body, Response):
        return body
    if route is None:
        return _refused(methods)
    if access is Access.ADMIN and peer.uid == OVERFLOW_UID:
        log.warning("admin-refused", path=request.path, uid=peer.uid, pid=peer.pid)
        return error_answer(403, NOT_PERMITTED.code, HIDDEN, HIDDEN_HINT)
    call = Call(request, peer, params, body)
    if not route.audited:
        return await route.handler(call)
    log.info("admin-request", path=request.path, uid=peer.uid, gid=peer.gid, pid=peer.pid)
    try:
        async with asyncio.timeout(ACTION_TIMEOUT):
            return await route.handler(call)
    except TimeoutError:
        return error_answer(504)


def _refused(methods: Mapping[str, Route]) -> Response:
    """Return the answer to what has no route: 404, or 405 with Allow (RFC 9110, 15.5.6)."""
    if not methods:
        return error_answer(404)
    answer = error_answer(405)
    answer.headers["Allow"] = ",".join([*methods, "HEAD"] if "GET" in methods else methods)
    return answer


def _connection(request: BaseRequest) -> Connection:
    return cast("Connection", request.protocol)
