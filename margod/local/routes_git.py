"""The route by which a person hands over an access token for the Git repository of the desired state."""

from __future__ import annotations

from typing import Final

from aiohttp.web_response import Response

from margod.local.answers import document, error_answer
from margod.local.controller import Controller
from margod.local.routing import Access, Call, Route
from margod.model import reasons
from margod.model.errors import MargodError

BODY_LIMIT: Final = 16_384
_STATUS: Final = {reasons.GIT_NOT_USED: 404, reasons.GIT_NOT_GIVEN: 404}


def git_routes(controller: Controller) -> list[Route]:
    """Return it; the admin socket has it. The token is in the body alone, which is nowhere logged."""

    async def hand(call: Call) -> Response:
        from margod.protocols.token.handing import read_handed  # only what has a repository loads it
        from margod.protocols.token.origins import NotUsable

        try:
            given = read_handed(call.body)
        except NotUsable as error:
            return error_answer(400, message=str(error))
        try:
            return document(await controller.hand_git_token(given.url, given.token, given.expires_at))
        except MargodError as error:
            return error_answer(_STATUS.get(error.reason, 409), error.code, error.message, error.hint)

    return [Route("PUT", "/v1/git-token", hand, Access.ADMIN, BODY_LIMIT, audited=True)]
