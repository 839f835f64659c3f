"""The route of what the device reports."""

from __future__ import annotations

from aiohttp.web_response import Response

from margod.local.answers import document
from margod.local.controller import Controller
from margod.local.routing import Call, Route


def capabilities_routes(controller: Controller) -> list[Route]:
    """Return it."""

    async def capabilities(_: Call) -> Response:
        return document(await controller.capabilities())

    return [Route("GET", "/v1/capabilities", capabilities)]
