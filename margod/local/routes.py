"""The routes of the local API, as openapi.yaml describes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, cast

import structlog
from aiohttp import web

from margod.local.answers import document, error_answer
from margod.local.connection import HEAD_TIMEOUT, Connection
from margod.local.controller import Controller
from margod.local.events import EventStreams
from margod.model.errors import MargodError
from margod.model.reasons import NO_IDENTITY, NOT_PERMITTED

BODY_LIMIT: Final = 4096
"""Bytes of a request's body; no route needs one."""
ACTION_TIMEOUT: Final = 30.0
"""Seconds that a POST may take."""
OVERFLOW_UID: Final = 65_534
"""Whom the kernel shows when a user namespace hides the caller: nobody to be trusted with administration."""

_OPENAPI: Final = Path(__file__).with_name("openapi.yaml")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger()


def application(controller: Controller, streams: EventStreams, *, admin: bool) -> web.Application:
    """Return the application of the status socket or, with `admin`, of the admin socket."""

    async def status(_: web.Request) -> web.Response:
        return document(controller.status())

    async def health(_: web.Request) -> web.Response:
        healthy = controller.healthy()
        return document({"healthy": healthy, "state": controller.status()["state"]}, 200 if healthy else 503)

    async def identity(_: web.Request) -> web.Response:
        found = controller.identity()
        if found is None:
            return error_answer(404, NO_IDENTITY.code, NO_IDENTITY.says, NO_IDENTITY.hint)
        return document(found)

    async def events(request: web.Request) -> web.StreamResponse:
        return await streams.subscribe(request, _connection(request))

    async def openapi(_: web.Request) -> web.Response:
        return web.Response(text=_OPENAPI.read_text(encoding="utf-8"), content_type="application/yaml")

    async def retry(_: web.Request) -> web.Response:
        return document(await controller.retry(), 202)

    async def reload(_: web.Request) -> web.Response:
        return document(await controller.reload())

    app = web.Application(middlewares=[_bounded, _permitted if admin else _everyone])
    reads: dict[str, _Handler] = {"status": status, "health": health, "identity": identity, "events": events}
    for name, handler in {**reads, "openapi": openapi}.items():
        app.router.add_get(f"/v1/{name}", handler, expect_handler=_expect)
    if admin:
        for name, handler in {"retry": retry, "reload": reload}.items():
            app.router.add_post(f"/v1/{name}", handler, expect_handler=_expect)
    return app


@web.middleware
async def _bounded(request: web.Request, handler: _Handler) -> web.StreamResponse:
    connection = _connection(request)
    connection.begin()
    try:
        if (refusal := await _drop_body(request)) is not None:
            return refusal
        return await handler(request)
    except web.HTTPException as error:
        answer = error_answer(error.status)
        if allow := error.headers.get("Allow"):
            answer.headers["Allow"] = allow
        return answer
    except MargodError as error:
        return error_answer(409, error.code, error.message, error.hint)
    except ConnectionError:
        raise
    except Exception as error:
        log.error("local-answer-failed", path=request.path, error=repr(error))
        return error_answer(500, close=True)
    finally:
        connection.finish()


@web.middleware
async def _everyone(request: web.Request, handler: _Handler) -> web.StreamResponse:
    return await handler(request)


@web.middleware
async def _permitted(request: web.Request, handler: _Handler) -> web.StreamResponse:
    peer = _connection(request).peer
    if peer.uid == OVERFLOW_UID:
        log.warning("admin-refused", path=request.path, uid=peer.uid, pid=peer.pid)
        return error_answer(403, NOT_PERMITTED.code, NOT_PERMITTED.says, NOT_PERMITTED.hint)
    if request.method != "POST":
        return await handler(request)
    log.info("admin-request", path=request.path, uid=peer.uid, gid=peer.gid, pid=peer.pid)
    try:
        async with asyncio.timeout(ACTION_TIMEOUT):
            return await handler(request)
    except TimeoutError:
        return error_answer(504)


async def _drop_body(request: web.Request) -> web.Response | None:
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
    except web.RequestPayloadError:
        return error_answer(400, close=True)
    return None


async def _expect(request: web.Request) -> None:
    """Ask for a small body that the caller holds back; a large one is refused without being sent (RFC 9110, 10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue" and (request.content_length or 0) <= BODY_LIMIT:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


def _connection(request: web.Request) -> Connection:
    return cast("Connection", request.protocol)
