"""The routes of the local API, as openapi.yaml describes them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias, cast

import structlog
from aiohttp.web_protocol import RequestPayloadError
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse

from margod.local.answers import document, error_answer
from margod.local.connection import HEAD_TIMEOUT, Connection
from margod.local.controller import Controller
from margod.local.events import EventStreams
from margod.model.errors import MargodError
from margod.model.reasons import NO_CANDIDATE, NO_IDENTITY, NOT_PERMITTED

BODY_LIMIT: Final = 4096
"""Bytes of a request's body; no route needs one."""
ACTION_TIMEOUT: Final = 30.0
"""Seconds that a POST may take."""
OVERFLOW_UID: Final = 65_534
HIDDEN: Final = "A user namespace hides who asks (uid 65534), so this caller may not administer."
HIDDEN_HINT: Final = "Call as root from outside that namespace: on the device itself, not in a container."
"""Whom the kernel shows when a user namespace hides the caller: nobody to be trusted with administration."""

_FINGERPRINT: Final = re.compile("[0-9a-f]{64}")
_OPENAPI: Final = Path(__file__).with_name("openapi.yaml")
Handler: TypeAlias = Callable[[BaseRequest], Awaitable[StreamResponse]]
Routes: TypeAlias = Mapping[str, Mapping[str, Handler]]

log = structlog.get_logger()


def application(controller: Controller, streams: EventStreams, *, admin: bool) -> Handler:
    """Return what answers the requests on the status socket or, with `admin`, on the admin socket.

    A table of paths instead of aiohttp.web's application, whose import costs 1 MiB for what seven paths do not need.
    """
    table = routes(controller, streams, admin=admin)

    async def answer(request: BaseRequest) -> StreamResponse:
        handler = _found(table, request)
        return await (_permitted(request, handler) if admin else handler(request))

    return _bounded(answer)


def routes(controller: Controller, streams: EventStreams, *, admin: bool) -> Routes:
    """Return the handlers by path and method."""

    async def status(_: BaseRequest) -> Response:
        return document(controller.status())

    async def health(_: BaseRequest) -> Response:
        healthy = controller.healthy()
        return document({"healthy": healthy, "state": controller.status()["state"]}, 200 if healthy else 503)

    async def identity(_: BaseRequest) -> Response:
        found = controller.identity()
        if found is None:
            return error_answer(404, NO_IDENTITY.code, NO_IDENTITY.says, NO_IDENTITY.hint)
        return document(found)

    async def next_identity(_: BaseRequest) -> Response:
        found = controller.next_identity()
        return (
            error_answer(404, NO_CANDIDATE.code, NO_CANDIDATE.says, NO_CANDIDATE.hint)
            if found is None
            else document(found)
        )

    async def events(request: BaseRequest) -> StreamResponse:
        return await streams.subscribe(request, _connection(request))

    async def openapi(_: BaseRequest) -> Response:
        return Response(text=_OPENAPI.read_text(encoding="utf-8"), content_type="application/yaml")

    table: dict[str, dict[str, Handler]] = {
        "/v1/status": {"GET": status},
        "/v1/health": {"GET": health},
        "/v1/identity": {"GET": identity},
        "/v1/identity/next": {"GET": next_identity},
        "/v1/events": {"GET": events},
        "/v1/openapi": {"GET": openapi},
    }
    return table | _actions(controller) if admin else table


def _actions(controller: Controller) -> dict[str, dict[str, Handler]]:
    """Return the handlers of what only the admin socket does."""

    async def retry(_: BaseRequest) -> Response:
        return document(await controller.retry(), 202)

    async def use(request: BaseRequest) -> Response:
        instance = request.rel_url.query.get("instance", "")
        return document(await controller.choose(instance)) if instance else error_answer(400)

    async def reload(_: BaseRequest) -> Response:
        return document(await controller.reload())

    async def accept_trust(request: BaseRequest) -> Response:
        fingerprint = request.rel_url.query.get("fingerprint", "").replace(":", "").lower()
        if not _FINGERPRINT.fullmatch(fingerprint):
            return error_answer(400)
        return document(await controller.accept_trust(fingerprint))

    async def forget_trust(_: BaseRequest) -> Response:
        return document(await controller.forget_trust())

    async def adopt_hardware(_: BaseRequest) -> Response:
        return document(await controller.adopt_hardware())

    async def rotate(_: BaseRequest) -> Response:
        return document(await controller.rotate(), 202)

    async def abort_rotation(_: BaseRequest) -> Response:
        return document(await controller.abort_rotation())

    async def reset(request: BaseRequest) -> Response:
        wanted = _reset_wanted(request)
        return error_answer(400) if wanted is None else document(await controller.reset(**wanted))

    async def reset_clock(_: BaseRequest) -> Response:
        return document(await controller.reset_clock())

    return {
        "/v1/identity/adopt-hardware": {"POST": adopt_hardware},
        "/v1/identity/rotate": {"POST": rotate},
        "/v1/identity/rotate/abort": {"POST": abort_rotation},
        "/v1/retry": {"POST": retry},
        "/v1/reset": {"POST": reset},
        "/v1/reload": {"POST": reload},
        "/v1/discovery/use": {"POST": use},
        "/v1/trust/accept": {"POST": accept_trust},
        "/v1/trust/forget": {"POST": forget_trust},
        "/v1/clock/reset": {"POST": reset_clock},
    }


def _reset_wanted(request: BaseRequest) -> dict[str, bool] | None:
    """Return what a reset is to do; None where the query says something else, or two things at once."""
    query = request.rel_url.query
    said = {name: query.get(name, "false") for name in ("unregister", "new_identity", "wipe")}
    if set(query) - set(said) or set(said.values()) - {"true", "false"}:
        return None
    wanted = {name: value == "true" for name, value in said.items()}
    return None if wanted["wipe"] and wanted["new_identity"] else wanted


def _found(table: Routes, request: BaseRequest) -> Handler:
    """Return the handler of a request; what has none is answered with 404 or 405 (RFC 9110, 15.5.6: with Allow)."""
    methods = table.get(request.rel_url.raw_path)
    handler = (methods or {}).get("GET" if request.method == "HEAD" else request.method)

    async def refuse(_: BaseRequest) -> Response:
        if methods is None:
            return error_answer(404)
        answer = error_answer(405)
        answer.headers["Allow"] = ",".join([*methods, "HEAD"] if "GET" in methods else methods)
        return answer

    return handler or refuse


def _bounded(handler: Handler) -> Handler:
    """Return `handler` with a bound on what the caller sends, and with an answer for everything that goes wrong."""

    async def answer(request: BaseRequest) -> StreamResponse:
        connection = _connection(request)
        connection.begin()
        try:
            await _expect(request)
            if (refusal := await _drop_body(request)) is not None:
                return refusal
            return await handler(request)
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


async def _permitted(request: BaseRequest, handler: Handler) -> StreamResponse:
    peer = _connection(request).peer
    if peer.uid == OVERFLOW_UID:
        log.warning("admin-refused", path=request.path, uid=peer.uid, pid=peer.pid)
        return error_answer(403, NOT_PERMITTED.code, HIDDEN, HIDDEN_HINT)
    if request.method != "POST":
        return await handler(request)
    log.info("admin-request", path=request.path, uid=peer.uid, gid=peer.gid, pid=peer.pid)
    try:
        async with asyncio.timeout(ACTION_TIMEOUT):
            return await handler(request)
    except TimeoutError:
        return error_answer(504)


async def _drop_body(request: BaseRequest) -> Response | None:
    """Read and drop a small body; return the refusal of one that is large or slow."""
    if (request.content_length or 0) > BODY_LIMIT:
        return error_answer(413, close=True)
    size = 0
    try:
        async with asyncio.timeout(HEAD_TIMEOUT):
            async for chunk in request.content.iter_any():
                size += len(chunk)
                if size > BODY_LIMIT:
                    return error_answer(413, close=True)
    except TimeoutError:
        return error_answer(408, close=True)
    except RequestPayloadError:
        return error_answer(400, close=True)
    return None


async def _expect(request: BaseRequest) -> None:
    """Ask for a small body that the caller holds back; a large one is refused without being sent (RFC 9110, 10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue" and (request.content_length or 0) <= BODY_LIMIT:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


def _connection(request: BaseRequest) -> Connection:
    return cast("Connection", request.protocol)
