"""The kinds of value that a setting takes: how each is read, written, described and put into JSON Schema.

A kind works on a value as it was written, not as YAML understood it: so `1.2` and `no` and `0123` can be refused, or
taken, for what the person meant, and the message can say how to write it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from margod.config import proxy, url
from margod.config.refusal import Refusal
from margod.model.text import clean

RawType = Literal["text", "integer", "number", "boolean", "null", "date", "list", "mapping", "other"]


@dataclass(frozen=True, slots=True)
class Raw:
    """One value as written: its text without quotes, and what YAML takes it for.

    A list of texts is given as them with commas between, a mapping and any other list as "".
    """

    text: str
    type: RawType = "text"
    items: tuple[str, ...] = ()
    """The texts of a list of texts, commas and all; of any other value none."""
    empty: bool = False
    """It is a list without anything in it."""
    stray: str = ""
    """The first entry of a list that is no text, as written; of a list or mapping within it what it is."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How values of one kind are read and written.

    `read` turns a Raw into the value or raises Refusal; `write` is its inverse and gives what JSON can hold. `plain`
    values stand in YAML without quotes. `schema` is a JSON Schema (2020-12) of what may be written.
    """

    expected: str
    schema: Mapping[str, object]
    read: Callable[[Raw], Any]
    write: Callable[[Any], str | int | bool | list[str]]
    plain: bool = False


def refuse_type(raw: Raw, expected: str, hint: str = "") -> Refusal:
    """Return the refusal of a value of the wrong type."""
    return Refusal(f"expected {expected}, not {'an empty list' if raw.empty else _ARTICLES[raw.type]}", hint)


def text(longest: int, *, pattern: re.Pattern[str] | None = None, what: str = "") -> Kind:
    """Text on one line: 1 to `longest` printable characters, no space at either end, matching `pattern` whole."""
    expected = what or f"text of 1 to {longest} characters on one line"

    def read(raw: Raw) -> str:
        if raw.type != "text":
            quotable = raw.type in ("integer", "number", "boolean", "date")
            raise refuse_type(raw, expected, f'put it into quotes: "{clean(raw.text, 60)}"' if quotable else "")
        if not raw.text:
            raise Refusal(f"is empty; expected {expected}")
        if len(raw.text) > longest:
            raise Refusal(f"expected {expected}, not {len(raw.text)} characters")
        if not raw.text.isprintable() or raw.text != raw.text.strip():
            raise Refusal("has control characters, line breaks, or spaces at an end")
        if pattern is not None and not pattern.fullmatch(raw.text):
            raise Refusal(f"expected {expected}, not {clean(raw.text, 60)!r}")
        return raw.text

    schema: dict[str, object] = {"type": "string", "minLength": 1, "maxLength": longest}
    if pattern is not None:
        schema["pattern"] = f"^(?:{pattern.pattern})$"
    return Kind(expected, schema, read, str)


def choice(*values: str) -> Kind:
    """One of a few words. Those that look like numbers (`1.2`) or switches (`off`) are taken without quotes too."""
    expected = values[0] if len(values) == 1 else f"{', '.join(values[:-1])} or {values[-1]}"
    numbers = [value for value in values if _NUMBER.fullmatch(value)]
    switches = [value for value in values if value in _MEANT]

    def read(raw: Raw) -> str:
        if raw.type not in ("text", "number") and not (raw.type == "boolean" and raw.text in switches):
            raise refuse_type(raw, expected)
        if raw.text not in values:
            meant = raw.text.strip().lower()
            hint = f"write {meant}" if meant in values else _did_you_mean(meant, values)
            raise Refusal(f"expected {expected}, not {clean(raw.text, 60)!r}", hint)
        return raw.text

    plain = not numbers and not switches  # YAML 1.1 would take them for something else
    return Kind(expected, {"enum": [*values, *map(float, numbers)]}, read, str, plain=plain)


def _read_boolean(raw: Raw) -> bool:
    if raw.type == "boolean" and raw.text.lower() in ("true", "false"):
        return raw.text.lower() == "true"
    meant = _MEANT.get(raw.text.strip().lower())
    raise refuse_type(raw, "true or false", "" if meant is None else f"write {meant}, without quotes")


BOOLEAN: Final = Kind(
    "true or false", {"type": "boolean"}, _read_boolean, bool, plain=True
)  # not yes, no, on, off of YAML 1.1


def integer(least: int, most: int) -> Kind:
    """A whole number in decimal digits, from `least` >= 0 to `most`."""
    expected = f"a whole number from {least} to {most}"

    def read(raw: Raw) -> int:
        if raw.type == "text" and _DIGITS.fullmatch(raw.text):
            raise refuse_type(raw, expected, f"write {raw.text}, without quotes")
        if raw.type not in ("integer", "number"):
            raise refuse_type(raw, expected)
        if not _DIGITS.fullmatch(raw.text) or not least <= int(raw.text) <= most:
            raise Refusal(f"expected {expected}, not {clean(raw.text, 30)}")
        return int(raw.text)

    return Kind(expected, {"type": "integer", "minimum": least, "maximum": most}, read, int, plain=True)


def duration(least: str, most: str, *, off: bool = False) -> Kind:
    """A length of time with its unit, s, m, h or d, from `least` to `most`; the value is in seconds (float).

    `off`: the word `off` is taken too, and its value is 0.
    """
    expected = f"a duration from {least} to {most}" + (", or off" if off else "")
    pattern = f"^({_DURATION.pattern}|off)$" if off else f"^{_DURATION.pattern}$"

    def read(raw: Raw) -> float:
        if off and raw.text == "off" and raw.type in ("text", "boolean"):  # YAML 1.1 takes it for a switch
            return 0.0
        if off and re.fullmatch("0+[smhd]?", raw.text):
            raise Refusal(f"expected {expected}, not {clean(raw.text, 30)}", "write off")
        if raw.type in ("integer", "number"):
            hint = f"add a unit: {raw.text}s" if _DIGITS.fullmatch(raw.text) else "write it as 30s, 5m, 6h or 20d"
            raise refuse_type(raw, expected, hint)
        if raw.type != "text":
            raise refuse_type(raw, expected)
        if not _DURATION.fullmatch(raw.text):
            raise Refusal(f"expected {expected}, not {clean(raw.text, 30)!r}", "write it as 30s, 5m, 6h or 20d")
        if not _seconds(least) <= _seconds(raw.text) <= _seconds(most):
            raise Refusal(f"expected {expected}, not {raw.text}")
        return _seconds(raw.text)

    return Kind(expected, {"type": "string", "pattern": pattern}, read, _write_duration, plain=not off)


def _read_size(raw: Raw) -> int:
    expected = "a size such as 512 Mi, 59 Gi or 1 Ti"
    if raw.type != "text":
        raise refuse_type(raw, expected, "add a unit: Ki, Mi, Gi or Ti" if raw.type in ("integer", "number") else "")
    if not (match := _SIZE.fullmatch(raw.text)):
        hint = "whole numbers of the binary units Ki, Mi, Gi and Ti"
        raise Refusal(f"expected {expected}, not {clean(raw.text, 30)!r}", hint)
    return int(match[1]) * _UNITS[match[2]]


def _write_size(size: int) -> str:
    unit = next(unit for unit in ("Ti", "Gi", "Mi", "Ki") if size % _UNITS[unit] == 0)
    return f"{size // _UNITS[unit]} {unit}"


_SIZE: Final = re.compile(r"([1-9][0-9]{0,5}) ?(Ki|Mi|Gi|Ti)")
_UNITS: Final = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}

SIZE: Final = Kind(
    "a size such as 512 Mi, 59 Gi or 1 Ti",
    {"type": "string", "pattern": f"^{_SIZE.pattern}$"},
    _read_size,
    _write_size,
    plain=True,
)
"""An amount of memory or storage; the value is in bytes."""


def path(longest: int = 4095) -> Kind:
    """An absolute path of at most `longest` bytes.

    Relative paths are refused: between drop-ins, the environment and the last good copy nobody could say relative to
    what. The file itself is looked at when it is used, because its faults are not faults of the YAML.
    """
    expected = "an absolute path"

    def read(raw: Raw) -> Path:
        if raw.type != "text":
            raise refuse_type(raw, expected)
        if not raw.text.isprintable():
            raise Refusal("has control characters or line breaks")
        if not raw.text.startswith("/"):
            raise Refusal(f"expected {expected}", "begin it with a slash")  # it may be the secret itself: not shown
        if ".." in raw.text.split("/"):
            raise Refusal(f"expected {expected} without `..`")
        if len(raw.text.encode()) > longest:
            raise Refusal(f"expected {expected} of at most {longest} bytes")
        return Path("/" + raw.text.lstrip("/"))

    return Kind(expected, {"type": "string", "pattern": "^/", "maxLength": longest}, read, str)


def host_names(most: int) -> Kind:
    """One to `most` DNS names, as a list or as one text with commas between; a tuple of lower-case names."""
    expected = "a host name, or a list of them"

    def read(raw: Raw) -> tuple[str, ...]:
        if raw.type not in ("text", "list") or (raw.type == "list" and not raw.text):
            raise refuse_type(raw, expected)
        names = tuple(dict.fromkeys(name.strip().lower() for name in raw.text.split(",")))
        for name in names:
            labels = name.split(".")
            if len(name) > 253 or labels[-1].isdigit() or not all(_LABEL.fullmatch(label) for label in labels):
                raise Refusal(f"expected {expected}, not {clean(name, 60)!r}", "addresses and wildcards are not taken")
        if len(names) > most:
            raise Refusal(f"has more than {most} names")
        return names

    schema: dict[str, object] = {"type": ["string", "array"], "minLength": 1, "minItems": 1, "maxItems": most}
    schema["items"] = {"type": "string", "minLength": 1}
    return Kind(expected, schema, read, ", ".join)


def _read_url(raw: Raw) -> str:
    if raw.type != "text":
        raise refuse_type(raw, _URL_EXPECTED)
    return url.normalise(raw.text)


_URL_EXPECTED: Final = "an https URL such as https://wfm.example:8443/margo"
URL: Final = Kind(
    _URL_EXPECTED,
    {"type": "string", "pattern": r"^[Hh][Tt][Tt][Pp][Ss]://[^\s/?#@\\][^\s?#@\\]*$", "maxLength": url.LONGEST},
    _read_url,
    str,
)
"""The WFM's root URL; `url.normalise` has the rules."""


def _checked(expected: str, normalise: Callable[[str], str], pattern: str) -> Kind:
    """Text in the normal form that `normalise` gives it or refuses."""

    def read(raw: Raw) -> str:
        if raw.type != "text":
            raise refuse_type(raw, expected)
        return normalise(raw.text)

    return Kind(expected, {"type": "string", "pattern": pattern, "maxLength": url.LONGEST}, read, str)


PROXY: Final = _checked(
    "an http:// proxy such as http://proxy.example:3128, or none",
    proxy.normalise,
    r"^(none|[Hh][Tt][Tt][Pp]://[^\s/?#@\\]+:[0-9]+/*)$",
)
"""A proxy; `proxy.normalise` has the rules."""

AUTHORITY: Final = _checked(
    "a host with its port, such as wfm.example:8443",
    url.authority,
    r"^[^\s/?#@\\]+$",
)
"""Host and port without scheme; `url.authority` has the rules."""


def _seconds(written: str) -> float:
    return float(int(written[:-1]) * _SECONDS[written[-1]])


def _write_duration(seconds: float) -> str:
    if seconds == 0:
        return "off"
    unit = next(unit for unit in ("d", "h", "m", "s") if seconds % _SECONDS[unit] == 0)
    return f"{int(seconds) // _SECONDS[unit]}{unit}"


def _did_you_mean(word: str, known: tuple[str, ...]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word[:60], known, n=1)
    return f"did you mean {close[0]}?" if close else ""


_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION: Final = re.compile(r"[1-9][0-9]{0,8}[smhd]")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_DIGITS: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_NUMBER: Final = re.compile(r"[0-9]+\.[0-9]+")
_MEANT: Final = {"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false"}
_ARTICLES: Final[dict[RawType, str]] = {
    "text": "text",
    "integer": "a number",
    "number": "a number",
    "boolean": "a boolean",
    "null": "nothing",
    "date": "a date",
    "list": "a list",
    "mapping": "a mapping",
    "other": "a tagged value",
}
