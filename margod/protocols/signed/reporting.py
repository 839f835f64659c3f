"""Sending a deployment status, and what the answer to it is about (wire, section 1.4).

The same status says different things by server: 400 is a digest header, a signature, an unknown client, or this very
report; 404 an unknown client, or a deployment that is not there. Where it is not said, a question that changes nothing
has to decide (docs/decisions/0020-outbox.md). What a report says has no say in it: its id is taken out of what the
server says before that is read, and words that are the report's own may be an echo.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from margod import __version__
from margod.model import reasons
from margod.model.outcome import Kind, Outcome, Step
from margod.model.report import About, Reply
from margod.model.wire import Answer, Auth, Request, TransportFailure
from margod.protocols import classify
from margod.protocols.answers import error_text, is_json

FORMS: Final = ("deployments", "deployment")
"""What stands before the id in the route: the specification's word, and that of earlier servers."""
_HEADERS: Final = {
    "Accept": "application/json",
    "Content-Type": "application/json",
    "User-Agent": f"margod/{__version__}",
}
_FOR_ITS_CONTENT: Final = (413, 422)
_UNSURE: Final = (400, 404, 405, 409, 410, 415)
_ABOUT_THE_WAY: Final = re.compile(r"digest|signature|created|keyid", re.IGNORECASE)
"""What a server says that finds fault with how a request was sent, not with what it says."""


def status_request(client_id: str, deployment_id: str, form: str, body: bytes) -> Request:
    """Return the request that reports a deployment; `body` is what `write_status` wrote."""
    route = f"/api/v1/clients/{quote(client_id, safe='')}/{form}/{quote(deployment_id, safe='')}/status"
    return Request("POST", route, Auth.SIGNATURE, _HEADERS, body)


def status_reply(deployment_id: str, body: bytes, result: Answer | TransportFailure) -> Reply:
    """Say what came of this report of this deployment, and of what that speaks."""
    if isinstance(result, Answer) and result.status in (200, 201, 202, 204):
        return Reply(About.TAKEN, Outcome(Kind.ACCEPTED, reasons.ENROLLED))
    outcome = classify.refusal(Step.CONFIRM, result)
    if isinstance(result, TransportFailure):
        return Reply(About.MOMENT, outcome)
    if result.status in _FOR_ITS_CONTENT:
        return Reply(About.REPORT, replace(outcome, kind=Kind.INVALID, reason=reasons.REPORT_REFUSED), is_json(result))
    said = error_text(_without(deployment_id, result))
    about_the_way = any(word not in body.lower() for word in map(str.encode, _ABOUT_THE_WAY.findall(said)))
    if result.status in _UNSURE and not about_the_way and not outcome.by_clock:
        return Reply(About.UNSURE, replace(outcome, reason=reasons.REPORT_REFUSED), is_json(result))
    device = outcome.kind in (Kind.UNKNOWN, Kind.UNAUTHORIZED, Kind.FORBIDDEN, Kind.WRONG_ADDRESS)
    return Reply(About.DEVICE if device else About.MOMENT, outcome)


def _without(deployment_id: str, answer: Answer) -> Answer:
    """Return the answer without the id, however it is written in it. In linear time: both may be long."""
    said = unquote_to_bytes(answer.body).lower()
    return replace(answer, body=said.replace(deployment_id.lower().encode(), b""))
