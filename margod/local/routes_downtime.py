"""The routes by which a person begins and ends a downtime."""

from __future__ import annotations

import re
from typing import Final

from aiohttp.web_response import Response

from margod.local.answers import document, error_answer
from margod.local.controller import Controller
from margod.local.routing import Access, Call, Route

SHORTEST: Final = 60
"""Seconds; both bounds are those of openapi.yaml and of the engine's gate."""
LONGEST: Final = 2_592_000

_SECONDS: Final = re.compile(r"[1-9][0-9]{0,7}")


def routes(controller: Controller) -> list[Route]:
    """Return them; the admin socket has them."""

    async def start(call: Call) -> Response:
        said = call.request.rel_url.query.get("seconds", "")
        if not _SECONDS.fullmatch(said) or not SHORTEST <= int(said) <= LONGEST:
            return error_answer(400)
        return document(await controller.start_downtime(int(said)))

    async def stop(_: Call) -> Response:
        return document(await controller.stop_downtime())

    return [
        Route("POST", "/v1/downtime/start", start, Access.ADMIN, audited=True),
        Route("POST", "/v1/downtime/stop", stop, Access.ADMIN, audited=True),
    ]
