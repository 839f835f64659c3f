"""Reading what a WFM answered: JSON whatever the media type says, error texts in every known form, Retry-After."""

from __future__ import annotations

import json
import re
from typing import Final

from margod.model.httpdate import asked_wait, http_date
from margod.model.text import clean
from margod.model.wire import Answer

CLIENT_ID: Final = re.compile(r"[A-Za-z0-9._~=+:@-]{1,512}")
"""RFC 3986 unreserved characters plus `=`, `+`, `:`, `@`, to be matched whole; `.` and `..` are no ids (wire 1.3)."""

_TITLE: Final = re.compile(rb"<title[^>]{0,200}>([^<]{1,300})", re.IGNORECASE)
"""Bounded in both parts: an open end would be searched once for every `<title`, seconds for a body made for it."""


def read_object(answer: Answer) -> dict[str, object]:
    """Return the body's JSON object, or an empty one for anything else. Depth and number bombs end as empty too."""
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError; huge integers raise one as well
        return {}
    return value if isinstance(value, dict) else {}


def is_json(answer: Answer) -> bool:
    """Return whether the body is JSON, as a WFM answers; a proxy's page is not, nor is no body at all."""
    try:
        json.loads(answer.body)
    except (ValueError, RecursionError):
        return False
    return True


def read_client_id(answer: Answer) -> str | None:
    """Return the id of an accepted onboarding, under either of its names, or None if there is no valid one."""
    body = read_object(answer)
    for name in ("clientId", "client_id"):
        value = body.get(name)
        if isinstance(value, str) and CLIENT_ID.fullmatch(value) and value not in (".", ".."):
            return value
    return None


def error_text(answer: Answer) -> str:
    """Return what the server says went wrong, on one line, at most 200 characters; "" if it says nothing.

    Knows `{"error"}`, `{"Error"}`, `{"message"}`, RFC 9457 problems with their `errors[]`, HTML pages and plain text.
    """
    body = read_object(answer)
    if not body:
        if title := page_title(answer):
            return title
        return "" if answer.body[:1] in (b"{", b"[") else clean(answer.body)
    found: list[str] = []
    for name in ("error", "Error", "message", "message ", "error_description", "title", "detail"):
        value = body.get(name)
        if isinstance(value, dict):
            value = value.get("message")
        if isinstance(value, str) and value.strip() and value not in found:
            found.append(value)
    errors = body.get("errors")
    for entry in errors[:5] if isinstance(errors, list) else ():
        if isinstance(entry, dict):
            parts = [str(entry[name])[:200] for name in ("field", "message") if isinstance(entry.get(name), str)]
            found.append(": ".join(parts))
    return clean("; ".join(part for part in found if part))


def page_title(answer: Answer) -> str:
    """Return what an HTML page calls itself, at most 200 characters; "" for anything else."""
    title = _TITLE.search(answer.body)
    return clean(b"an HTML page: " + title.group(1)) if title else ""


def retry_after(answer: Answer) -> float | None:
    """Return the seconds >= 0 that the WFM asks to wait (RFC 9110 10.2.3, or `retryAfterSeconds` of a problem body).

    A date is measured against the answer's own `Date` where there is one, so that a wrong local clock does not count.
    """
    asked = asked_wait(answer.headers.get("retry-after", ""), answer.headers.get("date", ""), answer.at)
    if asked is not None:
        return asked
    seconds = read_object(answer).get("retryAfterSeconds")
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and -1e15 < seconds < 1e15:  # NaN is neither
        return max(0.0, float(seconds))
    return None


def clock_offset(answer: Answer) -> float | None:
    """Return by how many seconds the WFM's clock is ahead of ours (negative: behind), by `Date`; None if unknown."""
    date = http_date(answer.headers.get("date", ""))
    return None if date is None or "age" in answer.headers else date - answer.at
