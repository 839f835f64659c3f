"""The pins of root CAs as people write them: hex with or without colons, or a public key's in hex or base64."""

from __future__ import annotations

import base64
import re
from typing import Final

from margod.config.refusal import Refusal
from margod.config.values import Kind, Raw, refuse_type
from margod.model.text import clean

MOST: Final = 8
"""Pins in a list: the root of today, that of tomorrow, and some more."""

_EXPECTED: Final = "a SHA-256 of 64 hexadecimal digits, spki: and one, or a list of these"
_HEX: Final = r"[0-9A-Fa-f]{2}(?::?[0-9A-Fa-f]{2}){31}"
_BASE64: Final = r"[A-Za-z0-9+/_-]{43}=?"
_ONE: Final = re.compile(rf"(?P<spki>spki:)?(?P<hex>{_HEX})|spki:(?P<base64>{_BASE64})")
_PATTERN: Final = rf"^(?:(?:spki:)?{_HEX}|spki:{_BASE64})$"
_SCHEMA: Final = {"type": "string", "pattern": _PATTERN}


def _read(raw: Raw) -> tuple[str, ...]:
    """Return the pins without repeats: lower-case hex, `spki:` before those of a public key."""
    numeric = raw.type in ("integer", "number")  # 64 digits may all be decimal, or look like 1e5
    if not (raw.type == "text" or numeric) and (raw.type != "list" or not raw.text):
        raise refuse_type(raw, _EXPECTED, "quote each item of a list" if raw.type == "list" else "")
    pins = tuple(dict.fromkeys(_one(text.strip()) for text in raw.text.split(",")))
    if len(pins) > MOST:
        raise Refusal(f"has more than {MOST} pins")
    return pins


def _one(text: str) -> str:
    if (found := _ONE.fullmatch(text)) is None:
        hint = "`margod trust pin FILE` prints the pin of a certificate"
        raise Refusal(f"expected {_EXPECTED}, not {clean(text, 90)!r}", hint)
    if found["base64"] is not None:
        digits = found["base64"].rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
        return f"spki:{base64.b64decode(digits + '=').hex()}"
    return f"{found['spki'] or ''}{found['hex'].replace(':', '').lower()}"


def _write(pins: tuple[str, ...]) -> str | list[str]:
    return pins[0] if len(pins) == 1 else list(pins)


PINS: Final = Kind(
    _EXPECTED,
    {"anyOf": [_SCHEMA, {"type": "array", "items": _SCHEMA, "minItems": 1, "maxItems": MOST}]},
    _read,
    _write,
)
"""One pin or a list; the value is a tuple of them."""
