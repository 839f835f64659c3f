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
