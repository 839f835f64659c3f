"""What an answer to a report is about: the report, the device, or neither, as far as it can be told."""

from __future__ import annotations

import json

import pytest

from margod.model import reasons
from margod.model.outcome import Kind
from margod.model.report import About
from margod.model.wire import Answer, Auth, TransportFailure
from margod.protocols.signed import Dialect, Signed
from margod.protocols.signed.reporting import FORMS, status_reply, status_request


def answer(status: int, said: str = "", **headers: str) -> Answer:
    """Return an answer, with an error in JSON if something is `said`."""
    body = json.dumps({"error": said}).encode() if said else b""
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, 1_000_000.0)


def test_the_request() -> None:
    """The route with the ids percent-encoded, signed, JSON; the older form in the singular."""
    request = status_request("a+b=", "web.1~x", "deployments", b"{}")
    assert (request.method, request.auth, request.body) == ("POST", Auth.SIGNATURE, b"{}")
    assert request.path == "/api/v1/clients/a%2Bb%3D/deployments/web.1~x/status"
    assert status_request("a", "b", "deployment", b"").path == "/api/v1/clients/a/deployment/b/status"
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("result", "about", "kind"),
    [
        *((answer(status), About.TAKEN, Kind.ACCEPTED) for status in (200, 201, 202, 204)),
        (Answer(201, {}, b"null", 0.0), About.TAKEN, Kind.ACCEPTED),
        (answer(422, "components: empty"), About.REPORT, Kind.INVALID),
        (answer(413), About.REPORT, Kind.INVALID),
        *((answer(status), About.UNSURE, None) for status in (400, 404, 405, 409, 410, 415)),
        (answer(404, "deployment not found"), About.UNSURE, None),
        (answer(400, "no such deployment"), About.UNSURE, None),
        (answer(404, "no such client"), About.DEVICE, Kind.UNKNOWN),
        (answer(400, "client c-1 not found"), About.DEVICE, Kind.UNKNOWN),
        (answer(400, "invalid content-digest header"), About.DEVICE, Kind.UNAUTHORIZED),
        (answer(400, "signature verification failed"), About.DEVICE, Kind.UNAUTHORIZED),
        (answer(401), About.DEVICE, Kind.UNAUTHORIZED),
        (answer(403, "not trusted"), About.DEVICE, Kind.FORBIDDEN),
        *((answer(status), About.MOMENT, Kind.BUSY) for status in (408, 425, 429, 500, 502, 503, 504)),
        (answer(307, location="https://elsewhere"), About.MOMENT, Kind.BAD_ANSWER),
        (answer(206), About.MOMENT, Kind.BAD_ANSWER),
        (TransportFailure(reasons.CONNECT_REFUSED, "", sent=False), About.MOMENT, Kind.UNREACHABLE),
        (TransportFailure(reasons.TLS_UNKNOWN_ISSUER, "", sent=False), About.MOMENT, Kind.UNTRUSTED),
    ],
)
def test_what_an_answer_is_about(result: Answer | TransportFailure, about: About, kind: Kind | None) -> None:
    """The table: nothing is about the report unless it can be about nothing else, or a question is asked first."""
    reply = status_reply(result)
    assert reply.about is about
    assert kind is None or reply.outcome.kind is kind


def test_a_clock_that_is_wrong_is_not_the_reports_fault() -> None:
    """400 from a WFM whose clock is ten minutes ahead is a signature that was refused for its time."""
    assert status_reply(answer(400, date="Mon, 12 Jan 1970 13:56:40 GMT")).about is About.DEVICE
    assert status_reply(answer(400, date="Mon, 12 Jan 1970 13:46:41 GMT")).about is About.UNSURE


def test_retry_after_and_the_words_are_kept() -> None:
    """They go with the outcome."""
    outcome = status_reply(answer(503, "later", retry_after="120")).outcome
    assert (outcome.retry_after, outcome.detail) == (120.0, "HTTP 503: later")


def test_the_specification_alone() -> None:
    """wfm.dialect: spec knows no older route."""
    assert Signed(Dialect()).report_forms() == FORMS
    assert Signed(Dialect(mode="spec")).report_forms() == ("deployments",)
