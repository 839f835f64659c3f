"""Structured field values (RFC 9651, which holds RFC 8941): strict parsing and serialising.

    dictionary(text) -> {key: Item | InnerList}      a field that is a Dictionary (RFC 9651 4.2.2)
    serialise(Item | InnerList) -> text              the canonical text (RFC 9651 4.1)

Strict where the RFC leaves a choice: base64 must be padded and canonical. Everything malformed raises `Malformed`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final, TypeAlias


class Malformed(ValueError):
    """The text is not the structured field that it should be."""


class Token(str):
    """A Token (3.3.4), told apart from a String by its type."""

    __slots__ = ()


class DisplayString(str):
    """A Display String (3.3.8), told apart from a String by its type."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Date:
    """A Date (3.3.7) in Unix seconds."""

    seconds: int


BareItem: TypeAlias = int | Decimal | str | bytes | bool | Token | DisplayString | Date
Parameters: TypeAlias = Mapping[str, BareItem]


@dataclass(frozen=True, slots=True)
class Item:
    """An Item (3.3) with its parameters in order."""

    value: BareItem
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InnerList:
    """An Inner List (3.1.1) with its parameters in order."""

    items: tuple[Item, ...]
    parameters: Parameters = field(default_factory=dict)


Member: TypeAlias = Item | InnerList

_KEY: Final = re.compile(r"[a-z*][a-z0-9_\-.*]*")
_TOKEN: Final = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]*)?")
_STRING: Final = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_BYTES: Final = re.compile(r":([A-Za-z0-9+/]*={0,2}):")
_DISPLAY: Final = re.compile(r'%"((?:[\x20-\x21\x23\x24\x26-\x7e]|%[0-9a-f]{2})*)"')
_ESCAPED: Final = re.compile(r'\\(["\\])')
_OCTET: Final = re.compile(rb"%([0-9a-f]{2})")


def dictionary(text: str) -> dict[str, Member]:
    """Parse a Dictionary. A key that comes twice keeps its last value, as RFC 9651 4.2.2 says."""
    reader = _Reader(text.strip(" "))
    members: dict[str, Member] = {}
    while not reader.done():
        key = reader.key()
        members[key] = _member(reader) if reader.take("=") else Item(True, _parameters(reader))
        reader.skip(" \t")
        if reader.done():
            return members
        if not reader.take(","):
            raise Malformed(f"a comma is missing at position {reader.at}")
        reader.skip(" \t")
        if reader.done():
            raise Malformed("the dictionary ends in a comma")
    return members


def serialise(member: Member) -> str:
    """Return the one canonical text of `member` (RFC 9651 4.1.1.1 and 4.1.3)."""
    if isinstance(member, InnerList):
        inside = " ".join(serialise(item) for item in member.items)
        return f"({inside}){_serialise_parameters(member.parameters)}"
    return _serialise_bare(member.value) + _serialise_parameters(member.parameters)


class _Reader:
    """The text and how far it was read."""

    def __init__(self, text: str) -> None:
        if not text.isascii():
            raise Malformed("not ASCII")
        self.text = text
        self.at = 0

    def done(self) -> bool:
        return self.at >= len(self.text)

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, character: str) -> bool:
        if self.peek() != character:
            return False
        self.at += 1
        return True

    def skip(self, characters: str) -> None:
        while not self.done() and self.text[self.at] in characters:
            self.at += 1

    def match(self, pattern: re.Pattern[str], what: str) -> re.Match[str]:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise Malformed(f"no {what} at position {self.at}")
        self.at = found.end()
        return found

    def key(self) -> str:
        return self.match(_KEY, "key").group()


def _member(reader: _Reader) -> Member:
    if not reader.take("("):
        return Item(_bare(reader), _parameters(reader))
    items: list[Item] = []
    while True:
        reader.skip(" ")
        if reader.take(")"):
            return InnerList(tuple(items), _parameters(reader))
        items.append(Item(_bare(reader), _parameters(reader)))
        if reader.peek() not in {" ", ")"} or reader.done():
            raise Malformed(f"the inner list is broken at position {reader.at}")


def _parameters(reader: _Reader) -> dict[str, BareItem]:
    parameters: dict[str, BareItem] = {}
    while reader.take(";"):
        reader.skip(" ")
        key = reader.key()
        parameters[key] = _bare(reader) if reader.take("=") else True
    return parameters


def _bare(reader: _Reader) -> BareItem:
    first = reader.peek()
    if first == '"':
        return _ESCAPED.sub(r"\1", reader.match(_STRING, "string").group(1))
    if first == ":":
        return _decode(reader.match(_BYTES, "byte sequence").group(1))
    if first == "?":
        return reader.match(re.compile(r"\?([01])"), "boolean").group(1) == "1"
    if first == "@":
        reader.at += 1
        seconds = _number(reader)
        if not isinstance(seconds, int):
            raise Malformed("a date is a whole number")
        return Date(seconds)
    if first == "%":
        return _display(reader.match(_DISPLAY, "display string").group(1))
    if first == "-" or first.isdigit():
        return _number(reader)
    return Token(reader.match(_TOKEN, "item").group())


def _number(reader: _Reader) -> int | Decimal:
    text = reader.match(_NUMBER, "number").group()
    whole, point, fraction = text.lstrip("-").partition(".")
    if not point:
        if len(whole) > 15:
            raise Malformed("an integer has at most 15 digits")
        return int(text)
    if len(whole) > 12 or not 1 <= len(fraction) <= 3:
        raise Malformed("a decimal has at most 12 digits, a point and 1 to 3 digits")
    return Decimal(text)


def _decode(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Malformed(f"byte sequence: {error}") from None
    if base64.b64encode(data).decode() != text:
        raise Malformed("byte sequence: not canonical base64")
    return data


def _display(text: str) -> DisplayString:
    data = _OCTET.sub(lambda octet: bytes.fromhex(octet.group(1).decode()), text.encode("ascii"))
    try:
        return DisplayString(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise Malformed("display string: not UTF-8") from None


def _serialise_parameters(parameters: Parameters) -> str:
    return "".join(
        f";{key}" if value is True else f";{key}={_serialise_bare(value)}" for key, value in parameters.items()
    )


def _serialise_bare(value: BareItem) -> str:
    if isinstance(value, bool):
        return "?1" if value else "?0"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        text = format(value.quantize(Decimal("0.001"), ROUND_HALF_EVEN), "f").rstrip("0")
        return f"{text}0" if text.endswith(".") else text
    if isinstance(value, bytes):
        return f":{base64.b64encode(value).decode()}:"
    if isinstance(value, Token):
        return str(value)
    if isinstance(value, Date):
        return f"@{value.seconds}"
    if isinstance(value, DisplayString):
        octets = value.encode("utf-8")
        return '%"' + "".join(chr(o) if 0x20 <= o < 0x7F and o not in b'%"' else f"%{o:02x}" for o in octets) + '"'
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
