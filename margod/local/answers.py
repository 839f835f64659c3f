"""The answers of the local sockets: JSON documents, and errors as `{"error": {"code", "message", "hint"}}`."""

from __future__ import annotations

import json
from typing import Final

from aiohttp.web_response import Response

ERROR_HEADER: Final = "Margod-Error"
"""Says, with the error's code, that an answer is margod's own; what comes from the WFM through the door never bears it.
"""

_PLAIN: Final[dict[int, tuple[str, str]]] = {
    400: ("bad-request", "This is not a request that the local API understands."),
    403: ("not-permitted", "This user may not use the local socket."),
    404: ("not-found", "There is no such resource; see /v1/openapi."),
    405: ("method-not-allowed", "This resource does not take this method; see /v1/openapi."),
    408: ("request-timeout", "The request did not arrive in time."),
    413: ("request-too-large", "The request's body is larger than the local API reads."),
    500: ("internal-error", "margod failed to answer; its journal says more."),
    505: (
        "http-version",
        "The door speaks HTTP/1.1 only: over HTTP/1.0 nobody could tell half an answer from a whole one.",
    ),
    503: ("too-many-subscribers", "Too many callers are listening for events."),
    504: ("timed-out", "margod did not get this done in time; it may still happen."),
}
"""Errors of the API itself by status: code and message. Errors of the device carry a reason's own words."""


def document(body: object, status: int = 200) -> Response:
    """Return `body` as a JSON answer that ends in a newline."""
    text = json.dumps(body, separators=(",", ":")) + "\n"
    headers = {"Cache-Control": "no-store"}
    return Response(text=text, status=status, content_type="application/json", headers=headers)


def error_answer(status: int, code: str = "", message: str = "", hint: str = "", *, close: bool = False) -> Response:
    """Return an error answer; code and message default to those of the status. `close` ends the connection after it."""
    plain_code, plain_message = _PLAIN.get(status, _PLAIN[400 if status < 500 else 500])
    error = {"code": code or plain_code, "message": message or plain_message, "hint": hint}
    answer = document({"error": error}, status)
    answer.headers[ERROR_HEADER] = error["code"]
    if close:
        answer.force_close()
    return answer
