"""What refusals mean in the `token` generation where they mean something else than elsewhere, and what is shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from margod.model import reasons
from margod.model.capabilities import Capabilities
from margod.model.outcome import Kind, Outcome, Step
from margod.model.report import About
from margod.model.wire import Answer
from margod.protocols import Context
from margod.protocols.token import Token

SECRET = "s3cret-of-the-client"
WHOLE = {"clientId": "c-1", "clientSecret": SECRET, "tokenEndpointUrl": "https://wfm.example/t"}
LATE = {"date": "Sun, 22 Nov 2026 12:00:00 GMT"}


def outcome(step: Step, status: int, body: object, headers: dict[str, str] | None = None) -> Outcome:
    """Return what an answer means; `body` as JSON unless it is bytes."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    context = Context(b"", {}, Capabilities(None, "", "", ""))
    return Token().outcome(step, "spec", context, Answer(status, headers or {}, sent, 0.0))


@pytest.mark.parametrize(
    ("bad", "reason", "detail"),
    [
        ({"clientId": None}, reasons.ANSWER_INVALID, "clientId: missing"),
        ({"clientId": ""}, reasons.ANSWER_INVALID, "clientId: missing"),
        ({"clientId": 7}, reasons.ANSWER_INVALID, "clientId: no text"),
        ({"clientId": ["a"]}, reasons.ANSWER_INVALID, "clientId: no text"),
        ({"clientId": "../etc"}, reasons.ANSWER_INVALID, "clientId: too long, or with characters"),
        ({"clientId": "x" * 600}, reasons.ANSWER_INVALID, "clientId: too long"),
        ({"clientSecret": None}, reasons.CLIENT_SECRET_MISSING, "clientSecret: missing"),
        ({"clientSecret": ""}, reasons.CLIENT_SECRET_MISSING, "clientSecret: missing"),
        ({"clientSecret": {"value": SECRET}}, reasons.CLIENT_SECRET_MISSING, "clientSecret: no text"),
        ({"clientSecret": SECRET + "\n"}, reasons.CLIENT_SECRET_MISSING, "clientSecret: too long, or with"),
        ({"clientSecret": SECRET * 300}, reasons.CLIENT_SECRET_MISSING, "clientSecret: too long"),
    ],
    ids=lambda v: str(v)[:30],
)
def test_a_success_without_id_or_secret(bad: dict[str, Any], reason: reasons.Reason, detail: str) -> None:
    """The field is named, and nothing of the answer repeated; it may have registered this device."""
    found = outcome(Step.ENROL, 201, {**WHOLE, **bad, "message": SECRET, "title": SECRET})
    assert (found.kind, found.reason, found.lost) == (Kind.BAD_ANSWER, reason, True)
    assert found.detail.startswith(f"HTTP 201: {detail}")
    assert SECRET not in found.detail


@pytest.mark.parametrize(
    "body", [SECRET.encode(), f"clientSecret={SECRET}".encode(), json.dumps(SECRET).encode(), [SECRET]], ids=str
)
@pytest.mark.parametrize("step", [Step.ENROL, Step.CONFIRM])
def test_a_success_of_another_form_is_not_repeated(step: Step, body: object) -> None:
    """Both answers have secrets in them, in whatever form they come; a page says what it calls itself."""
    assert SECRET not in outcome(step, 200, body).detail
    assert "a page" in outcome(step, 200, b"<title>a page</title>" + SECRET.encode()).detail


@pytest.mark.parametrize("step", [Step.REPORT, Step.CONFIRM])
def test_a_clock_explains_no_401(step: Step) -> None:
    """No proof of this generation has a time in it: a 401 counts, whatever the clock says."""
    found = outcome(step, 401, {"error": "invalid_token"}, LATE)
    assert (found.kind, found.reason, found.by_clock) == (Kind.UNAUTHORIZED, reasons.BEARER_TOKEN_REFUSED, False)
    assert found.detail == "HTTP 401: invalid_token"
    body = b'{"deploymentId": "d"}'
    reply = Token().report_reply("d", body, Answer(401, LATE, b'{"error": "invalid_token"}', 0.0))
    assert (reply.about, reply.outcome.by_clock) == (About.DEVICE, False)
    assert reply.outcome.reason is reasons.BEARER_TOKEN_REFUSED


def test_a_401_at_onboarding_is_the_bodys_signature() -> None:
    """There is nothing else there that could be refused."""
    found = outcome(Step.ENROL, 401, {"error": "no"}, LATE)
    assert (found.kind, found.reason) == (Kind.UNAUTHORIZED, reasons.PAYLOAD_SIGNATURE_REFUSED)
    assert found.detail == "HTTP 401: no"


@pytest.mark.parametrize("status", [404, 405, 410])
def test_a_wfm_without_the_route_says_nothing_of_the_device(status: int) -> None:
    """GET /onboarding/git is margod's own: that it is not there is no word against anybody."""
    found = outcome(Step.CONFIRM, status, {"error": "not found"})
    assert (found.kind, found.reason) == (Kind.WRONG_ADDRESS, reasons.NO_CONFIRM_ROUTE)
    assert outcome(Step.CONFIRM, 400, {"error": "bad request"}).kind is Kind.BAD_ANSWER


def test_a_wfm_that_knows_no_such_client_says_so() -> None:
    """In so many words, as in the other generation."""
    assert outcome(Step.CONFIRM, 404, {"error": "client c-1 not found"}).kind is Kind.UNKNOWN
