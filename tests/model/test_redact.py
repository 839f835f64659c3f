"""A secret is taken out of what a server says back, in whatever writing; what is no secret stays."""

from __future__ import annotations

import base64
import html
import json
import time
from urllib.parse import quote, quote_plus

import pytest

from margod.model import reasons
from margod.model.redact import hide, without
from margod.model.text import clean
from margod.model.wire import Answer, SignedRequest, TransportFailure

SECRET = 's3cretAbC+/= &<"\\>%41'
ESCAPED = "".join(f"\\u{ord(each):04x}" for each in SECRET)


@pytest.mark.parametrize(
    "written",
    [
        *(SECRET, quote(SECRET), quote(SECRET, safe=""), quote_plus(SECRET), quote_plus(SECRET).lower()),
        *(json.dumps(SECRET)[1:-1], html.escape(SECRET), quote(quote(SECRET)), json.dumps({"error": SECRET})),
        *(ESCAPED, f'{{"error": "{ESCAPED}"}}', "".join(f"\\\\x{ord(each):02x}" for each in SECRET)),
        *(base64.b64encode(f"{before}{SECRET}".encode()).decode() for before in ("", "a", "ab", "client-1:")),
        repr(html.escape(SECRET).encode()),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
    ],
)
def test_a_secret_is_hidden_however_it_is_written(written: str) -> None:
    """Nothing of it is left, and it is said that something was there."""
    shown = hide(f"before {written} after" if written[0] != "{" else written, SECRET)
    assert written not in shown
    assert "s3cret" not in shown
    assert "(secret)" in shown
    answer = without(Answer(400, {"location": written, "x": "y"}, written.encode(), 0.0), SECRET)
    assert isinstance(answer, Answer)
    assert b"s3cret" not in answer.body
    assert written not in answer.headers["location"]
    assert answer.headers["x"] == "y"


@pytest.mark.parametrize("numbered", [False, True])
def test_a_secret_that_was_cut_is_hidden(numbered: bool) -> None:
    """Broken HTTP is shown as it came, on a line that ends somewhere: in the middle of the secret as well."""
    secret, beginning = "abcdefghijklmnopqrstuvwxyz", "abcd"
    written = "".join(f"\\\\u{ord(each):04x}" for each in secret) if numbered else secret
    if numbered:
        beginning = written[: 7 * 4]
    for length in range(len(beginning) + 1, len(written)):
        said = clean(f"{'x' * 10} {written}{'y' * 2_000}", 11 + length)
        assert beginning in said
        cut = without(TransportFailure(reasons.ANSWER_MALFORMED, said, sent=True), secret)
        assert isinstance(cut, TransportFailure)
        assert beginning not in cut.detail


@pytest.mark.parametrize("filler", ["A", "\\", "%", "&", "&#", "s3cret", "\\u00", "%25", " ", "…"])
def test_much_costs_little(filler: str) -> None:
    """A server may say as much as an answer may have, made to be slow to search: it is searched in no time."""
    encoded = base64.b64encode(SECRET.encode()).decode()
    said = (filler * 65_536)[:65_536]
    for text in (said, f"{said} {encoded}", f"{encoded}{said}…", f"{encoded} {filler}" * 1_000):
        began = time.process_time()
        hide(text, SECRET)
        assert time.process_time() - began < 2.0


@pytest.mark.parametrize(
    "body",
    [
        "\\" * 64_000 + "{0}%2541%2B&amp;amp;+",
        "%" * 65_000 + "%2541&amp;{0}",
        json.dumps({"error": "&amp;%2541" * 6_000 + "{0}"}).replace("{0}", "%2541"),
        json.dumps({f"%2541{each}": "%25" * 400 for each in range(50)}),
        "[" * 65_000,
        '{"a": ' + "[" * 65_000,
    ],
    ids=lambda body: body[:4],
)
@pytest.mark.parametrize("size", [30, 8_000])
def test_many_secrets_cost_little(body: str, size: int) -> None:
    """The event loop waits for it: of a long refusal only what may be shown is searched, whatever it was made for."""
    secrets = [f"{each}-secret" * (size // 8) for each in range(5)]
    answer = Answer(403, {"location": "x" * 8_000}, body.replace("{0}", secrets[0]).encode()[:65_536], 0.0)
    began = time.process_time()
    without(answer, *secrets)
    assert time.process_time() - began < 0.8


@pytest.mark.parametrize("blanks", [1_550, 1_580, 1_590])
def test_a_long_refusal_is_shortened(blanks: int) -> None:
    """It is JSON as before with what is said in it; a secret at the cut is hidden as everywhere."""
    secret = "abcdefghijklmnopqrstuvwxyz"
    said = {"stack": ["x" * 20] * 2_000, "error": f"no {' ' * blanks}{secret}{'y' * 7_000}", "retryAfterSeconds": 9}
    short = without(Answer(503, {}, json.dumps(said).encode(), 0.0), secret)
    assert isinstance(short, Answer)
    read = json.loads(short.body)
    assert sorted(read) == ["error", "retryAfterSeconds"]
    assert read["error"].startswith("no ")
    assert "abcd" not in read["error"]
    page = without(Answer(503, {}, f"{'ü' * 8_180}{secret}{'y' * 9_000}".encode(), 0.0), secret)
    assert isinstance(page, Answer)
    assert "abcd" not in page.body.decode()
    assert without(Answer(503, {}, b"x" * 20_000, 0.0)) == Answer(503, {}, b"x" * 20_000, 0.0), "nothing to hide"


def test_what_is_no_secret_stays() -> None:
    """Word for word, and without a secret to hide everything does."""
    said = '{"error": "invalid_client", "error_description": "100 % + \\u00fc &amp;"}'
    assert hide(said, SECRET, "") == said
    assert hide("https://wfm.example/?s=s3cret", "other") == "https://wfm.example/?s=s3cret"


def test_requests_and_answers_show_neither_headers_nor_bodies() -> None:
    """What ends in a log by mistake has no Authorization and no form in it."""
    request = SignedRequest("POST", "https://x/t", {"Authorization": "Bearer t-1"}, b"client_secret=s3cret", 1)
    shown = repr((request, Answer(200, {"set-cookie": "t-1"}, b'{"access_token": "s3cret"}', 0.0)))
    assert "t-1" not in shown
    assert "s3cret" not in shown
