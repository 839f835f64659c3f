"""What a server says back, without the secrets that it was told: it may repeat them, in any writing it likes."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from html import unescape
from typing import Final
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from margod.model.wire import Answer, TransportFailure

HIDDEN: Final = "(secret)"
_SHOWN: Final = ("location", "content-type", "www-authenticate")
"""Headers that any of margod's sentences may repeat."""


_GUESSABLE: Final = 3
"""As many of a secret's characters tell nothing."""


def without(result: Answer | TransportFailure, *secrets: str) -> Answer | TransportFailure:
    """Return what came back with every secret taken out of its text and of the headers that may be shown."""
    if isinstance(result, TransportFailure):  # what breaks HTTP is shown as it came
        return replace(result, detail=hide(result.detail, *secrets))
    body = result.body.decode("utf-8", "replace")
    if (hidden := hide(body, *secrets)) != body:
        result = replace(result, body=hidden.encode())
    said = {name: result.headers[name] for name in _SHOWN if name in result.headers}
    return replace(result, headers={**result.headers, **{name: hide(text, *secrets) for name, text in said.items()}})


def hide(text: str, *secrets: str) -> str:
    """Return a text without the secrets.

    The writings that servers are known to use are replaced. A text that has a secret in it even then, percent-encoded
    twice, escaped for HTML or in JSON's `\\u` notation, goes as a whole: nobody can say where in it the secret begins.
    Of a text that was cut, its end goes where that is a beginning of the secret.
    """
    for secret in filter(None, secrets):
        text = _uncut(text, secret)
        if not _repeats(text, secret):
            continue
        for form in sorted(_forms(secret), key=len, reverse=True):
            text = text.replace(form, HIDDEN)
        text = HIDDEN if _repeats(text.replace(HIDDEN, ""), secret) else text
    return text


def _uncut(text: str, secret: str) -> str:
    """Return a text that ends in an ellipsis without a beginning of the secret before it."""
    if not text.endswith("…"):
        return text
    for form in _forms(secret):
        for length in range(min(len(form), len(text)) - 1, _GUESSABLE, -1):
            if text.endswith(f"{form[:length]}…"):
                return f"{text[: -length - 1]}{HIDDEN}…"
    return text


def _forms(secret: str) -> set[str]:
    quoted = {quote_plus(secret), quote(secret, safe=""), quote(secret)}
    return {secret, json.dumps(secret)[1:-1], *quoted, *map(str.lower, quoted - {secret}), *_encoded(secret)}


def _encoded(secret: str) -> set[str]:
    """Return what is the same of the secret's base64, whatever stands before and after it in what is encoded."""
    found = set()
    for before in range(3):
        data = base64.b64encode(bytes(before) + secret.encode()).decode("ascii").rstrip("=")
        core = data[(0, 2, 3)[before] : len(data) // 4 * 4]
        if len(core) >= 8:
            found |= {core, core.translate({43: "-", 47: "_"})}
    return found


def _repeats(text: str, secret: str) -> bool:
    views, sought = {text}, _forms(secret)
    for _ in range(2):
        for view in tuple(views):
            views |= {unquote(view), unquote_plus(view), unescape(view), *_json(view)}
    return any(each in view for view in views for each in sought)


def _json(text: str) -> tuple[str, ...]:
    """Return a JSON text with everything in it written as it is meant, () for any other."""
    try:
        return (json.dumps(json.loads(text), ensure_ascii=False).replace('\\"', '"').replace("\\\\", "\\"),)
    except (ValueError, RecursionError):
        return ()
