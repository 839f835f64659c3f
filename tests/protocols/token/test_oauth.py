"""The token endpoint: what is asked, and what each answer means."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

import pytest

from margod.model import reasons
from margod.model.bearer import Grant
from margod.model.outcome import Kind, Outcome
from margod.model.wire import Answer, TransportFailure
from margod.protocols.token.credentials import Credentials
from margod.protocols.token.oauth import read_grant, token_request
from margod.protocols.token.origins import read_place

WHO = Credentials("c=1", "s3cret &+/%", "https://wfm.example/t")
GOOD = {"access_token": "t-1", "token_type": "Bearer", "expires_in": 3600}


def read(body: object, status: int = 200, **headers: str) -> Grant | Outcome:
    """Return what an answer means; `body` as JSON unless it is bytes."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_grant(WHO, Answer(status, headers, sent, 0.0))


def refused(body: object, status: int, **headers: str) -> Outcome:
    """Return the outcome of a refusal."""
    outcome = read(body, status, **headers)
    assert isinstance(outcome, Outcome)
    assert outcome.kind is not Kind.ACCEPTED
    return outcome


def test_the_request_is_the_rfcs() -> None:
    """A form as RFC 6749 4.4.2 and 2.3.1 have it; the secret is in the body alone, quoted."""
    request = token_request(read_place("https://wfm.example/t?tenant=1", query=True), WHO)
    assert (request.method, request.url) == ("POST", "https://wfm.example/t?tenant=1")
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert "Authorization" not in request.headers
    assert parse_qs(request.body.decode(), strict_parsing=True) == {
        "grant_type": ["client_credentials"],
        "client_id": ["c=1"],
        "client_secret": ["s3cret &+/%"],
    }


@pytest.mark.parametrize(
    ("said", "lifetime"),
    [
        (3600, 3600.0),
        (0, 0.0),
        (-1, -1.0),
        (1e12, 1e12),
        ("3600", 3600.0),
        ("-1", -1.0),
        (1.5, 1.5),
        (float("nan"), None),
        (float("inf"), None),
        (10**400, None),
        (True, None),
        (None, None),
        ("soon", None),
        ("9" * 400, None),
        ([], None),
        ({}, None),
    ],
    ids=lambda v: repr(v)[:20],
)
def test_a_token_and_what_was_said_of_its_life(said: Any, lifetime: float | None) -> None:
    """Any number comes through as it is, to be judged by the engine; what is no finite number is nothing."""
    grant = read({**GOOD, "expires_in": said})
    assert grant == Grant("t-1", lifetime)
    assert "t-1" not in repr(grant)


@pytest.mark.parametrize("kind", ["Bearer", "bearer", "BEARER"])
def test_the_type_has_no_case(kind: str) -> None:
    """RFC 6749 5.1; and a server that leaves it out means the same."""
    assert read({**GOOD, "token_type": kind}) == Grant("t-1", 3600.0)
    assert read({"access_token": "t-1"}) == Grant("t-1", None)


@pytest.mark.parametrize(
    "body",
    [
        b"<html><title>Welcome to the hotel</title>",
        b"",
        b"[]",
        b"[" * 50_000,
        {},
        {**GOOD, "access_token": ""},
        {**GOOD, "access_token": None},
        {**GOOD, "access_token": ["t-1"]},
        {**GOOD, "access_token": "two words"},
        {**GOOD, "access_token": "line\r\nX-Injected: 1"},
        {**GOOD, "access_token": "x" * 8193},
        {**GOOD, "token_type": "mac"},
        {**GOOD, "token_type": 1},
    ],
    ids=lambda b: repr(b)[:40],
)
def test_a_success_without_a_usable_token_is_a_bad_answer(body: object) -> None:
    """Nothing of it is shown where it may hold a token; a page says what it is."""
    outcome = refused(body, 200)
    assert (outcome.kind, outcome.reason) == (Kind.BAD_ANSWER, reasons.TOKEN_ANSWER_INVALID)
    assert "t-1" not in outcome.detail
    assert ("hotel" in outcome.detail) == (isinstance(body, bytes) and b"hotel" in body)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"error": "invalid_client"}, Kind.FORBIDDEN),
        (400, {"error": "invalid_client"}, Kind.FORBIDDEN),
        (400, {"error": "unauthorized_client"}, Kind.FORBIDDEN),
        (400, {"error": "invalid_grant"}, Kind.FORBIDDEN),
        (401, {"message": "who are you?"}, Kind.FORBIDDEN),
        (403, {"error": "blocked"}, Kind.FORBIDDEN),
        (401, b"<html>", Kind.WRONG_ADDRESS),
        (403, b"", Kind.WRONG_ADDRESS),
        (400, {"error": "invalid_request"}, Kind.WRONG_ADDRESS),
        (400, {"error": "unsupported_grant_type"}, Kind.WRONG_ADDRESS),
        (400, {"error": "invalid_scope"}, Kind.WRONG_ADDRESS),
        (400, b"<html>", Kind.WRONG_ADDRESS),
        (400, {"error": {"code": 1}}, Kind.WRONG_ADDRESS),
        (400, {"error": ["invalid_client"]}, Kind.WRONG_ADDRESS),
        (422, {}, Kind.WRONG_ADDRESS),
        (404, b"", Kind.WRONG_ADDRESS),
        (405, b"", Kind.WRONG_ADDRESS),
        (400, {"error": "temporarily_unavailable"}, Kind.BUSY),
        (429, b"", Kind.BUSY),
        (500, {"error": "invalid_client"}, Kind.BUSY),
        (503, b"", Kind.BUSY),
        (302, b"", Kind.BAD_ANSWER),
    ],
)
def test_every_refusal_has_its_kind(status: int, body: object, kind: Kind) -> None:
    """Who is not wanted is told from who asked wrongly, and both from a server that cannot just now."""
    assert refused(body, status).kind is kind


def test_retry_after_is_heard() -> None:
    """As everywhere else."""
    assert refused({"error": "slow_down"}, 429, **{"retry-after": "7"}).retry_after == 7.0


def test_no_connection_is_what_it_is_elsewhere() -> None:
    """The failure's own reason."""
    outcome = read_grant(WHO, TransportFailure(reasons.TLS_EXPIRED, "", sent=False))
    assert isinstance(outcome, Outcome)
    assert (outcome.kind, outcome.reason) == (Kind.UNTRUSTED, reasons.TLS_EXPIRED)


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 429, 500])
@pytest.mark.parametrize("form", ["s3cret &+/%", "s3cret+%26%2B%2F%25", "s3cret%20%26%2B%2F%25"])
def test_a_server_that_says_the_secret_back_is_not_repeated(status: int, form: str) -> None:
    """In no form in which it was sent, whether in a text, in JSON or in the address of a redirect."""
    for body in (form.encode(), {"error": f"bad {form}"}, {"error": "invalid_client", "error_description": form}):
        outcome = refused(body, status, location=f"https://x/?{form}")
        assert "s3cret" not in outcome.detail
