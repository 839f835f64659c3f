"""What a server says back, without the secrets that it was told: it may repeat them, in any writing it likes."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html import unescape
from typing import Final
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from margod.model.wire import Answer, TransportFailure

HIDDEN: Final = "(secret)"
_SHOWN: Final = ("location", "content-type", "www-authenticate")
"""Headers that any of margod's sentences may repeat."""


_PERCENT: Final = re.compile(r"%[0-9a-fA-F]{2}|\+")
_NUMBERED: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))")
_HALF: Final = re.compile(r"(?:\\[ux]?[0-9a-fA-F]{0,3}|%[0-9a-fA-F]{0,3}|&[#a-z0-9]{0,8})$")
"""A character that is named by number, of which the end was cut off."""
_BASE64: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="
_GUESSABLE: Final = 3
"""As many of a secret's characters tell nothing."""
_TELLING: Final = 8
"""As many letters and digits in a row are no chance."""


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
        for core in _encoded(secret):
            text = _without_run(text, core)
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
    bare, ends = _bare(secret), [_bare(view) for view in _views(_HALF.sub("", text[:-1]))]
    begun = any(end.endswith(bare[:length]) for end in ends for length in range(_GUESSABLE + 1, len(bare)))
    return HIDDEN if begun else text


def _without_run(text: str, core: str) -> str:
    """Return a text without the runs of base64 that have `core` in them. In linear time: a server may say much."""
    kept, rest = [], text
    while core in rest:
        before, _, rest = rest.partition(core)
        kept.append(before.rstrip(_BASE64))
        rest = rest.lstrip(_BASE64)
    return HIDDEN.join([*kept, rest])


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
    views, sought = _views(text), _forms(secret)
    if any(each in view for view in views for each in sought):
        return True
    bare = _bare(secret)  # whatever is written otherwise, letters and digits mostly are not
    return len(bare) >= _TELLING and any(bare in _bare(view) for view in views)


def _views(text: str) -> set[str]:
    """Return a text as it may be meant, written twice over as well."""
    views = {text}
    for _ in range(2):
        for view in tuple(views):
            views |= {unescape(view), _named(view)}
            if _PERCENT.search(view):  # it is slow where there are many that stand for nothing
                views |= {unquote(view), unquote_plus(view)}
    return views


def _bare(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def _named(text: str) -> str:
    """Return a text with the characters that it names by number, as JSON and other notations do."""
    return _NUMBERED.sub(lambda match: chr(int(match[1] or match[2], 16)), text)
