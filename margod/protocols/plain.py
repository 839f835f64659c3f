"""What a body can carry: YAML knows dates, names that are no text and numbers that are none, JSON halves of letters."""

from __future__ import annotations

import math
from typing import Final

_LONGEST: Final = 4096
"""Bits of a whole number, far beyond any quantity; Python writes none of more than 4300 digits."""


def unplain(value: object, path: str = "") -> str:
    """Return what is first in a parsed document that no body can carry, beginning with its path; "" if nothing is."""
    match value:
        case dict():
            if not all(isinstance(name, str) for name in value):
                return f"{path or 'manifest'}: has a name that is no text; put it into quotes"
            if any(_is_broken(name) for name in value):
                return f"{path or 'manifest'}: has a name that is not text but a part of a letter (a surrogate)"
            return next((said for name in value if (said := unplain(value[name], join(path, shown(name))))), "")
        case list():
            return next((said for at, each in enumerate(value) if (said := unplain(each, f"{path}[{at}]"))), "")
        case float():
            return "" if math.isfinite(value) else f"{path}: not a number that JSON has"
        case int():
            return "" if value.bit_length() <= _LONGEST else f"{path}: not a number that anybody reads"
        case str():
            return f"{path}: not text but a part of a letter (a surrogate)" if _is_broken(value) else ""
        case None:
            return ""
        case _:
            return f"{path}: not a value that JSON has; put it into quotes"


def shown(name: str) -> str:
    """Return a member's name as a message can have it."""
    return "".join(each if each.isprintable() else "?" for each in name[:60])


def join(path: str, name: str) -> str:
    """Return the path of a member; `path` is "" for the document."""
    return f"{path}.{name}" if path else name


def _is_broken(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)
