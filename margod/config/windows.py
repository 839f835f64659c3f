"""Windows of time in the YAML: one, or a list of them; model/windows.py has what one may say."""

from __future__ import annotations

from typing import Final

from margod.config.refusal import Refusal
from margod.config.values import Kind, Raw, refuse_type
from margod.model.text import clean
from margod.model.windows import EXAMPLES, Window, parse

MOST: Final = 32
"""Windows in a list: shutdowns of several years, and weekly hours of each day."""

_EXPECTED: Final = "a window of time, or a list of them"
_HINT: Final = f"write {EXAMPLES}; each window of a list in quotes"
_SCHEMA: Final = {"type": "string", "minLength": 1}


def _read(raw: Raw) -> tuple[Window, ...]:
    """Return the windows without repeats, in order."""
    texts = (raw.text,) if raw.type == "text" else raw.items
    if raw.type not in ("text", "list") or not texts:
        raise refuse_type(raw, _EXPECTED, _HINT)
    if len(texts) > MOST:
        raise Refusal(f"has more than {MOST} windows")
    return tuple(_one(text) for text in dict.fromkeys(text.strip() for text in texts))


def _one(text: str) -> Window:
    try:
        return parse(text)
    except ValueError as error:
        said = clean(str(error), 160)
        why = (
            f"{clean(text, 60)!r}: {said}" if EXAMPLES not in said else f"expected {_EXPECTED}, not {clean(text, 60)!r}"
        )
        raise Refusal(why, _HINT) from None


def _write(windows: tuple[Window, ...]) -> str | list[str]:
    return windows[0].text if len(windows) == 1 else [window.text for window in windows]


WINDOWS: Final = Kind(
    _EXPECTED,
    {"type": ["string", "array"], "minLength": 1, "minItems": 1, "maxItems": MOST, "items": _SCHEMA},
    _read,
    _write,
)
"""One window or a list; the value is a tuple of `margod.model.windows.Window`."""
