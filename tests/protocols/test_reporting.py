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
        (answer(404, "no such client"), About.UNSURE, Kind.UNKNOWN),
        (answer(400, "client c-1 not found"), About.UNSURE, Kind.UNKNOWN),
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
    reply = status_reply("web", b"{}", result)
    assert reply.about is about
    assert kind is None or reply.outcome.kind is kind


def test_a_clock_that_is_wrong_is_not_the_reports_fault() -> None:
    """400 from a WFM whose clock is ten minutes ahead is a signature that was refused for its time."""
    assert status_reply("web", b"{}", answer(400, date="Mon, 12 Jan 1970 13:56:40 GMT")).about is About.DEVICE
    assert status_reply("web", b"{}", answer(400, date="Mon, 12 Jan 1970 13:46:41 GMT")).about is About.UNSURE


@pytest.mark.parametrize("name", ["digest", "Signature-1", "created", "my.keyid", "device-manager"])
@pytest.mark.parametrize("said", ["deployment {} not found", "no {0} here, {0}", "{}: unknown"])
def test_what_a_report_is_called_has_no_say(name: str, said: str) -> None:
    """An id that a server repeats, in whatever letters, does not hold up everybody's reports; its words are kept."""
    encoded = "".join(f"%{ord(char):02x}" for char in name)
    for written in (name, name.upper(), encoded, encoded.upper()):
        for status in (400, 404):
            reply = status_reply(name, b"{}", answer(status, said.format(written)))
            assert reply.about is About.UNSURE
            assert written.split("%")[0] in reply.outcome.detail
    assert (
        status_reply(name, b"{}", answer(400, f"{name}: invalid content-digest, created or keyid")).about
        is About.DEVICE
    )


def test_words_that_a_report_brings_along() -> None:
    """A server that repeats what it finds fault with is asked whether it knows the device, whatever stands there."""
    body = b'{"status": {"error": {"message": "Digest of the image"}}}'
    assert status_reply("web", body, answer(400, "message: 'Digest of the image' is too long")).about is About.UNSURE
    assert status_reply("web", body, answer(400, "Digest: a signature is missing")).about is About.DEVICE


@pytest.mark.parametrize("status", [400, 404, 405, 410, 413, 415, 422])
def test_a_page_may_be_anybodys(status: int) -> None:
    """Only what is JSON is the WFM's word for sure."""
    said = {"{}": True, '{"error": "no"}': True, "null": True, "<title>404</title>": False, "": False, "no": False}
    replies = {body: status_reply("web", b"{}", Answer(status, {}, body.encode(), 0.0)) for body in said}
    assert {body: reply.by_wfm for body, reply in replies.items()} == said


def test_retry_after_and_the_words_are_kept() -> None:
    """They go with the outcome."""
    outcome = status_reply("web", b"{}", answer(503, "later", retry_after="120")).outcome
    assert (outcome.retry_after, outcome.detail) == (120.0, "HTTP 503: later")


def test_the_specification_alone() -> None:
    """wfm.dialect: spec knows no older route."""
    assert Signed(Dialect()).report_forms() == FORMS
    assert Signed(Dialect(mode="spec")).report_forms() == ("deployments",)
