"""The routes of deployments' reports: an agent gives them, a person looks after those that are parked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from aiohttp.web_response import Response

from margod.local.answers import document, error_answer
from margod.local.controller import Controller
from margod.local.routing import WORK, Access, Call, Route
from margod.model import reasons
from margod.model.errors import MargodError

REPORT_LIMIT: Final = 256 << 10
"""Bytes of one report (protocols/signed/deployment_status.py)."""
PATIENCE: Final = 20.0
"""Seconds that the disk may take."""
_NUMBER_LIMIT: Final = 1 << 63
_STATUS: Final = {
    reasons.REPORT_INVALID: 400,
    reasons.NO_SUCH_REPORT: 404,
    reasons.OUTBOX_FULL: 507,
    reasons.OUTBOX_UNUSABLE: 503,
    reasons.OUTBOX_NEWER: 503,
}
"""What a caller can act on has a status of its own; everything else is a conflict."""


def outbox_routes(controller: Controller) -> list[Route]:
    """Return the routes of the outbox."""

    async def report(call: Call) -> Response:
        return await _answer(controller.report(call.params["id"], call.body, call.peer.uid), 202)

    async def listed(call: Call) -> Response:
        after = _number(call, "after", 0)
        return error_answer(400) if after is None else await _answer(controller.reports(after))

    async def retry(call: Call) -> Response:
        number = _number(call, "number", -1)
        if number is None:
            return error_answer(400)
        return await _answer(controller.retry_reports(None if number < 0 else number))

    async def drop(call: Call) -> Response:
        number = _number(call, "number", -1)
        if number is None:
            return error_answer(400)
        return await _answer(controller.drop_reports(None if number < 0 else number))

    return [
        Route("PUT", "/v1/deployments/{id}/status", report, WORK, body=REPORT_LIMIT),
        Route("GET", "/v1/outbox", listed, WORK),
        Route("POST", "/v1/outbox/retry", retry, Access.ADMIN, audited=True),
        Route("POST", "/v1/outbox/drop", drop, Access.ADMIN, audited=True),
    ]


async def _answer(work: Awaitable[dict[str, object]], status: int = 200) -> Response:
    try:
        async with asyncio.timeout(PATIENCE):
            return document(await work, status)
    except TimeoutError:
        return error_answer(504)
    except MargodError as error:
        return error_answer(_STATUS.get(error.reason, 409), error.code, error.message, error.hint)


def _number(call: Call, name: str, default: int) -> int | None:
    """Return the number in the query, `default` where it is not there, None where it is none."""
    query = call.request.rel_url.query
    if set(query) - {name} or len(query) > 1:
        return None
    text = query.get(name, "")
    if name not in query:
        return default
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 and int(text) < _NUMBER_LIMIT else None
