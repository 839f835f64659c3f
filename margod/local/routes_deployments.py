"""The routes of the desired state: what is mirrored, each deployment's YAML, and what the agent has adopted."""

from __future__ import annotations

import json
from typing import Final

from aiohttp.web_response import Response

from margod.local.answers import document, error_answer
from margod.local.controller import Controller
from margod.local.routing import WORK, Access, Call, Route
from margod.model import reasons
from margod.model.errors import MargodError

_STATUS: Final = {
    reasons.DESIRED_STATE_UNKNOWN: 404,
    reasons.DEPLOYMENT_UNKNOWN: 404,
    reasons.DEPLOYMENT_DAMAGED: 503,
    reasons.VERSION_UNKNOWN: 409,
    reasons.ADOPTED_TOO_OFTEN: 429,
}
_ADOPTED: Final = "adopted"
_ACCEPT: Final = "accept"
"""Both may be a deployment's id, too."""
_VERSION_LIMIT: Final = 1 << 64


def deployment_routes(controller: Controller) -> list[Route]:
    """Return the routes; for agents and administrators: a deployment's YAML may hold what is not everybody's."""

    async def deployments(_: Call) -> Response:
        try:
            return document(controller.deployments())
        except MargodError as error:
            return _refusal(error)

    async def deployment(call: Call) -> Response:
        last = call.request.rel_url.raw_path.rpartition("/")[2]
        try:
            digest, text = await controller.deployment(call.params.get("id", last))
        except MargodError as error:
            return _refusal(error)
        headers = {"ETag": f'"{digest}"', "Cache-Control": "no-store"}
        if call.request.headers.get("If-None-Match") == headers["ETag"]:
            return Response(status=304, headers=headers)
        return Response(body=text, content_type="application/yaml", headers=headers)

    async def adopted(call: Call) -> Response:
        version = _version(call.body)
        if version is None:
            return error_answer(400, message='The body is {"manifestVersion": n}, n from 1 to 2^64 - 1.')
        try:
            return document(await controller.adopt_deployments(version))
        except MargodError as error:
            return _refusal(error)

    async def accept(_: Call) -> Response:
        try:
            return document(await controller.accept_deployments())
        except MargodError as error:
            return _refusal(error)

    return [
        Route("GET", "/v1/deployments", deployments, WORK),
        Route("GET", "/v1/deployments/{id}", deployment, WORK),
        Route("GET", f"/v1/deployments/{_ADOPTED}", deployment, WORK),
        Route("POST", f"/v1/deployments/{_ADOPTED}", adopted, WORK),
        Route("POST", f"/v1/deployments/{_ACCEPT}", accept, Access.ADMIN, audited=True),
        Route("GET", f"/v1/deployments/{_ACCEPT}", deployment, WORK),
    ]


def _version(body: bytes) -> int | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    version = value.get("manifestVersion") if isinstance(value, dict) else None
    is_one = isinstance(version, int) and not isinstance(version, bool) and 1 <= version < _VERSION_LIMIT
    return version if is_one else None


def _refusal(error: MargodError) -> Response:
    return error_answer(_STATUS.get(error.reason, 409), error.code, error.message, error.hint)
