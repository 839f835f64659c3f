"""What servers say, in every form that is known, and hostile ones."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from margod.model.outcome import Step
from margod.model.wire import Answer
from margod.protocols import answers, classify


def answer(body: bytes, status: int = 400, **headers: str) -> Answer:
    """Return an answer received at 1,000,000 s."""
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, 1_000_000.0)


@pytest.fixture
def new_york() -> Iterator[None]:
    """A device far from UTC: its zone has no part in what a server says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": "Invalid certificate"}', "Invalid certificate"),
        (b'{"Error": "no such client"}', "no such client"),
        (b'{"message": "bad"}', "bad"),
        (b'{"message ": "key with a space, as in the 2024 example"}', "key with a space, as in the 2024 example"),
        (b'{"error": {"code": 7, "message": "nested"}}', "nested"),
        (
            b'{"type": "t", "title": "Error", "detail": "No.", "errors": [{"field": "id", "message": "empty"}]}',
            "Error; No.; id: empty",
        ),
        (b"<html><head><TITLE>Sign in</TITLE></head>", "an HTML page: Sign in"),
        (b"404 page not found\n", "404 page not found"),
        (b"", ""),
        (b'{"broken', ""),
        (b"\xff\xfe\x00", "\ufffd\ufffd"),
        (b'{"error": 7, "errors": "x"}', ""),
    ],
)
def test_error_texts(body: bytes, said: str) -> None:
    """Each known form of an error body gives its text; what is none gives nothing or a shortened look at it."""
    assert answers.error_text(answer(body)) == said


def test_a_title_without_end_costs_nothing() -> None:
    """A page made of `<title` alone is read before the daemon's loop would notice (a second and more once)."""
    began = time.perf_counter()
    assert answers.error_text(answer(b"<title" * 10_900)).startswith("<title<title")
    assert time.perf_counter() - began < 0.25


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"clientId": "a"}', "a"),
        (b'{"client_id": "client-ab12-1700000000", "endpoint_list": []}', "client-ab12-1700000000"),
        (b'{"clientId": "aGVsbG8=+:@~._-"}', "aGVsbG8=+:@~._-"),
        (json.dumps({"clientId": "x" * 512}).encode(), "x" * 512),
        (json.dumps({"clientId": "x" * 513}).encode(), None),
        *[
            (json.dumps({"clientId": bad}).encode(), None)
            for bad in ("", ".", "..", "a/b", "a\nb", "a\n", "ä", 5, None)
        ],
        (b"[" * 100_000, None),
        (b"1" * 10_000, None),
        (b'{"clientId": NaN}', None),
    ],
)
def test_client_ids(body: bytes, found: str | None) -> None:
    """Both names are read; what is not 1 to 512 characters of the URL-safe set is no id."""
    assert answers.read_client_id(answer(body, 201)) == found


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry_after": "120"}, b"", 120),
        ({"retry_after": " 0 "}, b"", 0),
        ({"retry_after": "-5"}, b"", None),
        ({"retry_after": "1e9"}, b"", None),
        ({"retry_after": "9" * 400}, b"", None),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, b"", 30),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "Wed, 21 Oct 2015 08:00:00 GMT"}, b"", 0),
        ({"retry_after": "Mon, 12 Jan 1970 14:04:20 GMT"}, b"", 1_060),
        ({"retry_after": "Mon Jan 12 14:04:20 1970"}, b"", 1_060),
        ({"retry_after": "soon"}, b'{"retryAfterSeconds": 9}', 9),
        ({}, b'{"retryAfterSeconds": 30}', 30),
        ({}, b'{"retryAfterSeconds": true}', None),
        ({}, b'{"retryAfterSeconds": 1e999}', None),
        ({}, b'{"retryAfterSeconds": -1}', 0),
        ({}, b'{"retryAfterSeconds": ' + b"9" * 400 + b"}", None),
        ({}, b'{"retryAfterSeconds": NaN}', None),
        ({}, b"", None),
    ],
)
@pytest.mark.usefixtures("new_york")
def test_retry_after(headers: dict[str, str], body: bytes, seconds: float | None) -> None:
    """Seconds, dates against the server's own clock, and the problem body's field; nonsense counts as nothing."""
    assert answers.retry_after(answer(body, 429, **headers)) == seconds


@given(
    status=st.integers(100, 999),
    body=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.text(),
        lambda c: (
            st.lists(c)
            | st.dictionaries(st.sampled_from(["error", "message", "clientId", "errors", "retryAfterSeconds"]), c)
        ),
    ).map(lambda v: json.dumps(v).encode()),
    headers=st.dictionaries(st.sampled_from(["retry-after", "date", "location", "age"]), st.text(max_size=80)),
    step=st.sampled_from(list(Step)),
)
def test_any_answer_has_a_meaning(status: int, body: bytes, headers: dict[str, str], step: Step) -> None:
    """Whatever a server says ends in an outcome with a bounded, printable detail."""
    outcome = classify.refusal(step, Answer(status, headers, body, 1_000_000.0))
    assert len(outcome.detail) <= 200
    assert outcome.detail.isprintable()
    assert outcome.retry_after is None or outcome.retry_after >= 0
