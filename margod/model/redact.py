"""What a server says back, without the secrets that it was told: it may repeat them, in any writing it likes."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html import unescape
from typing import Final
from urllib.parse import quote, quote_plus

from margod.model.wire import Answer, TransportFailure

HIDDEN: Final = "(secret)"
_SHOWN: Final = ("location", "content-type", "www-authenticate")
"""Headers that any of margod's sentences may repeat."""


LOOKED_AT: Final = 8_192
"""Characters of a body in which secrets are sought: what is shown of it is among the first 1,600 (text.clean)."""
_TEXT_LIMIT: Final = 1_600
"""Characters that are left of one member of a body that is longer."""
_PERCENT: Final = re.compile(r"(?:%[0-9a-fA-F]{2})+")
_NUMBERED: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))")
_HALF: Final = re.compile(r"(?:\\[ux]?[0-9a-fA-F]{0,3}|%[0-9a-fA-F]{0,3}|&[#a-z0-9]{0,8})$")
"""A character that is named by number, of which the end was cut off."""
_BASE64: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="
_GUESSABLE: Final = 3
"""As many of a secret's characters tell nothing."""
_TELLING: Final = 8
"""As many letters and digits in a row are no chance."""


def without(result: Answer | TransportFailure, *secrets: str) -> Answer | TransportFailure:
    """Return what came back with every secret taken out of its text and of the headers that may be shown.

    Of a body longer than `LOOKED_AT` characters only as much is left: of a JSON object the members that fit, shortened.
    """
    if not (secrets := tuple(dict.fromkeys(filter(None, secrets)))):
        return result
    if isinstance(result, TransportFailure):  # what breaks HTTP is shown as it came
        return replace(result, detail=hide(result.detail, *secrets))
    body = result.body.decode("utf-8", "replace")
    short = body if len(body) <= LOOKED_AT else _shortened(body, secrets)
    if (hidden := hide(short, *secrets)) != body:
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


def _shortened(body: str, secrets: tuple[str, ...]) -> str:
    """Return as much of a body as may be shown, JSON where it was; what is cut off ends as `hide` knows it."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        return f"{body[: LOOKED_AT - 1]}…"
    kept, left = {}, LOOKED_AT - 2
    for name, member in value.items():
        one = member
        if isinstance(member, str) and len(member) > _TEXT_LIMIT and left > _TEXT_LIMIT:
            one = hide(f"{member[: _TEXT_LIMIT - 1]}…", *secrets)
        if (size := _written(name, one)) <= left:
            kept[name], left = one, left - size
    return json.dumps(kept, ensure_ascii=False)


def _written(name: str, member: object) -> int:
    """Return the characters that a member of an object takes."""
    try:
        return len(json.dumps({name: member}, ensure_ascii=False))
    except RecursionError:
        return LOOKED_AT


def _uncut(text: str, secret: str) -> str:
    """Return a text that ends in an ellipsis without a beginning of the secret before it."""
    if not text.endswith("…"):
        return text
    for form in _forms(secret):
        if length := _begun(text[:-1], form):
            return f"{text[: -length - 1]}{HIDDEN}…"
    bare, ends = _bare(secret), [_bare(view) for view in _views(_HALF.sub("", text[:-1]))]
    return HIDDEN if any(_begun(end, bare) for end in ends) else text


def _begun(text: str, form: str) -> int:
    """Return how many of its first characters, and not all, a text ends with; 0 for so few that they tell nothing."""
    least = _GUESSABLE + 1
    last, length = text[-least:], len(form)
    while len(last) == least and (at := form.rfind(last, 0, length - 1)) >= 0:
        length = at + least
        if text.endswith(form[:length]):
            return length
    return 0


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
            if "%" in view or "+" in view:
                views |= {_decoded(view), _decoded(view.replace("+", " "))}
    return views


def _decoded(text: str) -> str:
    """Return a text with its percent-encoding undone, as `unquote` does, which is slow where there is much of it."""
    return _PERCENT.sub(lambda match: bytes.fromhex(match[0].replace("%", "")).decode("utf-8", "replace"), text)


def _bare(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def _named(text: str) -> str:
    """Return a text with the characters that it names by number, as JSON and other notations do."""
    return _NUMBERED.sub(lambda match: chr(int(match[1] or match[2], 16)), text)
