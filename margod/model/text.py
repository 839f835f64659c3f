"""Text from outside, made fit to be shown: bounded, on one line, without control or direction characters."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Final

SHOWN_LIMIT: Final = 200
"""Characters of foreign text that status, journal and terminal show (design: the local sockets)."""

# Cc control, Cf format (bidi overrides, zero width), Cs surrogates, Co private use, Cn unassigned, Zl/Zp separators.
_UNSHOWN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def clean(text: str | bytes, limit: int = SHOWN_LIMIT) -> str:
    """Return `text` on one line, at most `limit` characters (>= 1) long, with nothing that steers a terminal.

    Bytes are read as UTF-8 with replacement. Runs of unshown characters and white space become one space; what is cut
    ends in an ellipsis. Only the first 8 x `limit` characters are looked at, so that a long body costs nothing.
    """
    if isinstance(text, bytes):
        text = text[: 32 * limit].decode("utf-8", "replace")
    looked_at = text[: 8 * limit]
    spaced = "".join(" " if unicodedata.category(c) in _UNSHOWN else c for c in looked_at)
    line = " ".join(spaced.split())
    if len(line) > limit or len(text) > len(looked_at):
        return line[: limit - 1].rstrip() + "…"
    return line


def timestamp(wall: float) -> str:
    """Return Unix seconds as RFC 3339 UTC with whole seconds, clamped to the years 1 to 9999."""
    bounded = min(max(wall, -62_135_596_800.0), 253_402_300_799.0)
    return datetime.fromtimestamp(bounded, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def duration(seconds: float) -> str:
    """Return a length of time for people: `0s`, `45s`, `5m`, `2h 5m`, `3d 4h`; negative counts as zero."""
    whole = max(0, round(seconds))
    for size, unit, lower, lower_unit in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // lower
            return f"{whole // size}{unit} {rest}{lower_unit}" if rest else f"{whole // size}{unit}"
    return f"{whole}s"
