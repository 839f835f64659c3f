"""Settings that are lists: words that replace, add to or take from what is found, names of fields, paths."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from margod.config import url
from margod.config.refusal import Refusal
from margod.config.values import Kind, Raw, path, refuse_type
from margod.model.text import clean

NOTHING: Final = "none"
"""The word for an empty list."""
MOST: Final = 64
MOST_PATHS: Final = 256


def amendments(words: tuple[str, ...], *, details: int = 0) -> Kind:
    """A list of `words`: alone they replace what is found, with + they are added, with - left out; or `none`.

    `details`: up to so many texts of 1 to 128 characters may follow a word, each after a colon. The value is a tuple of
    the entries as written.
    """
    expected = f"a list of {', '.join(words[:-1])}{' or ' if words[1:] else ''}{words[-1]}, each alone or with + or -"
    if details:
        expected += ", and perhaps :manufacturer:model behind it"

    def read(raw: Raw) -> tuple[str, ...]:
        entries = _texts(raw, expected, MOST)
        for entry in entries:
            word, *more = entry.removeprefix("+").removeprefix("-").split(":")
            if (word not in words and entry != NOTHING) or len(more) > details:
                raise Refusal(f"expected {expected}, not {clean(entry, 60)!r}")
            if not all(len(text) <= 128 and text.isprintable() and text == text.strip() for text in more):
                raise Refusal("has control characters, spaces at an end, or more than 128 characters in a detail")
        signed = [entry for entry in entries if entry[0] in "+-"]
        if signed and len(signed) != len(entries):
            hint = "write + or - before all of them, or before none"
            raise Refusal("replaces what is found and adds to it or takes from it at once", hint)
        if NOTHING in entries and len(entries) > 1:
            raise Refusal(f"says {NOTHING} and something else")
        return entries

    return Kind(expected, _schema(MOST), read, ", ".join)


def names(*words: str) -> Kind:
    """A list of some of `words`, each once; a tuple in the order written."""
    expected = f"a list of {', '.join(words[:-1])} or {words[-1]}"

    def read(raw: Raw) -> tuple[str, ...]:
        entries = _texts(raw, expected, len(words))
        for entry in entries:
            if entry not in words:
                raise Refusal(f"expected {expected}, not {clean(entry, 60)!r}")
        return entries

    return Kind(expected, _schema(len(words)), read, ", ".join)


def paths() -> Kind:
    """One absolute path, or a list of them; a tuple of Paths."""
    expected, one = "an absolute path, or a list of them", path()

    def read(raw: Raw) -> tuple[Path, ...]:
        return tuple(one.read(Raw(text)) for text in _texts(raw, expected, MOST_PATHS))

    def write(value: tuple[Path, ...]) -> str:
        return ", ".join(map(str, value))

    return Kind(expected, _schema(MOST_PATHS), read, write)


def authorities() -> Kind:
    """Hosts, each with its port if it has one, in their normal form (`url.authority` has the rules)."""
    expected = "a host such as git.example:8443, or a list of them"

    def read(raw: Raw) -> tuple[str, ...]:
        return tuple(dict.fromkeys(url.authority(text) for text in _texts(raw, expected, MOST)))

    return Kind(expected, _schema(MOST), read, ", ".join)


def _texts(raw: Raw, expected: str, most: int) -> tuple[str, ...]:
    if raw.stray:
        raise Refusal(f"has an entry that is no text: {clean(raw.stray, 60)}", "put each entry into quotes")
    if raw.type not in ("text", "list") or not (raw.text or raw.items):
        raise refuse_type(raw, expected, f"for an empty list write {NOTHING}" if raw.type == "list" else "")
    entries = tuple(dict.fromkeys(raw.items or re.split(r"\s*,\s*", raw.text.strip())))
    if any("," in entry for entry in entries):  # commas divide the entries where the value is one text
        raise Refusal("has a comma within an entry")
    if len(entries) > most or not all(entries):
        raise Refusal(f"expected {expected}, at most {most} of them")
    return entries


def _schema(most: int) -> dict[str, object]:
    return {
        "type": ["string", "array"],
        "minLength": 1,
        "minItems": 1,
        "maxItems": most,
        "items": {"type": "string", "minLength": 1},
    }
