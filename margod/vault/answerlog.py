"""The answer log: one line per intent and per accepted answer, each with its own sum.

A line says on top of which generation and under which binding it was written. That is what makes it harmless when a
crash leaves it behind, and useful when the generation that absorbed it turns out damaged.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from margod.vault.check import Damaged, NewerFormat
from margod.vault.generation import check_record

LOG: Final = "answer.log"
LOG_LIMIT: Final = 4 << 20
"""Bytes of the log that are read."""
LINE_LIMIT: Final = 2 << 20
"""Bytes in one line as they are written."""
INTENT: Final = "intent"
ANSWER: Final = "answer"

_SUM_LENGTH: Final = 32


@dataclass(frozen=True, slots=True)
class Entry:
    """What was about to be asked (`intent`, no records) or what was accepted (`answer`, the records to keep).

    `at` is in Unix seconds; `about` is small and for the protocol's own use (which step, which dialect, ...).
    """

    kind: str
    at: float
    about: Mapping[str, str]
    records: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Line:
    """An entry, the generation on top of which it was written (0: none), its binding, and its bytes with newline."""

    generation: int
    binding: str
    entry: Entry
    raw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What is in a log: the good lines in order, whether the end was torn off, and how many lines are damaged."""

    lines: tuple[Line, ...] = ()
    torn: bool = False
    damaged: int = 0
    newer: bool = False


def encode(entry: Entry, generation: int, binding: str) -> Line:
    """Return the line for `entry`. Raises ValueError if it is not an entry as `Entry` describes it, or too long."""
    _check(entry)
    body = json.dumps(
        {
            "gen": generation,
            "binding": binding,
            "kind": entry.kind,
            "at": entry.at,
            "about": dict(entry.about),
            "records": {name: base64.b64encode(data).decode("ascii") for name, data in entry.records.items()},
        },
        separators=(",", ":"),
        allow_nan=False,
    ).encode("ascii")
    raw = _sum(body) + b" " + body + b"\n"
    if len(raw) > LINE_LIMIT:
        raise ValueError(f"a log line has at most {LINE_LIMIT} bytes, not {len(raw)}")
    return Line(generation, binding, entry, raw)


def parse(data: bytes) -> Parsed:
    """Return what the bytes of a log hold; damage never raises.

    Bytes after the last newline are what a power cut left of a line: dropped, unless only the newline is missing.
    A line with a right sum and an unknown content is a newer margod's.
    """
    *whole, rest = data.split(b"\n")
    lines, damaged, newer = [], 0, False
    for raw in whole:
        try:
            lines.append(_decode(raw))
        except Damaged:
            damaged += 1
        except NewerFormat:
            newer = True
    if rest:
        try:
            lines.append(_decode(rest))
        except Damaged:
            pass
        except NewerFormat:
            newer = True
    return Parsed(tuple(lines), torn=bool(rest), damaged=damaged, newer=newer)


def _decode(raw: bytes) -> Line:
    head, body = raw[:_SUM_LENGTH], raw[_SUM_LENGTH + 1 :]
    if raw[_SUM_LENGTH : _SUM_LENGTH + 1] != b" " or head != _sum(body):
        raise Damaged("a line does not match its sum")
    try:
        content = json.loads(body.decode("ascii"))
        generation, binding = content["gen"], content["binding"]
        if type(generation) is not int or generation < 0 or not isinstance(binding, str):
            raise NewerFormat("generation or binding")
        entry = Entry(content["kind"], content["at"], content["about"], _decode_records(content["records"]))
        _check(entry)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise NewerFormat("a line has a right sum and an unknown content") from error
    return Line(generation, binding, entry, raw + b"\n")


def _decode_records(records: Mapping[str, Any]) -> dict[str, bytes]:
    try:
        return {name: base64.b64decode(text, validate=True) for name, text in records.items()}
    except binascii.Error as error:
        raise ValueError("not base64") from error


def _check(entry: Entry) -> None:
    if entry.kind not in {INTENT, ANSWER} or (entry.kind == INTENT and entry.records):
        raise ValueError(f"{entry.kind!r} is not a kind of entry, or an intent has records")
    if type(entry.at) not in {int, float} or not math.isfinite(entry.at):
        raise ValueError("an entry's time is a finite number of Unix seconds")
    if not all(type(word) is str for word in (*entry.about.keys(), *entry.about.values())):
        raise ValueError("what an entry is about is told in strings")
    for name, data in entry.records.items():
        check_record(name, data)


def _sum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:_SUM_LENGTH].encode("ascii")
