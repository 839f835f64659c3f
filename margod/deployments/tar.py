"""The files in a tar archive that nobody trusts, walked header by header: what is unusual is refused, not understood.

Little of tar is needed where no name is ever written and each file is known by what it holds. Time and memory grow with
the archive, whatever it says of itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from margod.protocols.signed.desired import FILE_LIMIT
from margod.protocols.signed.manifest import COUNT_LIMIT, Unacceptable

BLOCK: Final = 512
HEADER_LIMIT: Final = 4 * COUNT_LIMIT
"""Headers of all kinds in one archive."""
EXTENSION_LIMIT: Final = 8 << 10
EXTENSIONS_LIMIT: Final = 256 << 10
"""Bytes of one pax header or long name, and of all of them together."""

_FILES: Final = frozenset({b"0", b"\0", b"7"})
_DIRECTORY: Final = b"5"
_LONG_NAME: Final = b"L"
_PAX: Final = frozenset({b"x", b"g"})
_EXTENSIONS: Final = _PAX | {_LONG_NAME, b"K"}
_OCTAL: Final = re.compile(rb" *([0-7]{1,12})[ \0]*")
_USTAR: Final = b"ustar\0"
_NOTHING: Final = bytes(BLOCK)

Read = Callable[[int], bytes]
"""Returns the next bytes, at most so many (> 0); none at the end."""


def files(read: Read) -> Iterator[tuple[str, bytes]]:
    """Yield name (for a person) and content of each regular file. Raises Unacceptable for all but a plain archive.

    Directories are passed over. Links, devices, sparse files, names that lead out, sizes that are not octal, files over
    `FILE_LIMIT` and more headers than the limits are refused, maybe after some files were yielded.
    """
    whole = _Whole(read)
    named = ""
    """The name that a header before this one gave to it."""
    extensions = 0
    for _ in range(HEADER_LIMIT):
        header = whole.header()
        if header is None:
            return
        kind, size = header[156:157], _size(header)
        if kind in _EXTENSIONS:
            extensions += size
            if size > EXTENSION_LIMIT or extensions > EXTENSIONS_LIMIT:
                raise Unacceptable("the bundle has more headers than deployments need")
            named = _named(kind, whole.content(size)) or named
            continue
        name, named = named or _name(header), ""
        _stays_in(name)
        if kind == _DIRECTORY or (kind == b"\0" and name.endswith("/")):
            if size:
                raise Unacceptable(f"the bundle is not a tar archive: the directory {name} has a size")
        elif kind not in _FILES:
            raise Unacceptable(f"the bundle has an entry that is no regular file: {name}")
        elif size > FILE_LIMIT:
            raise Unacceptable(f"{name} is larger than {FILE_LIMIT} bytes")
        else:
            yield name, whole.content(size)
    if whole.header() is not None:
        raise Unacceptable("the bundle has too many entries")


class _Whole:
    """Reads exactly what is asked for, and the padding behind it."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def header(self) -> bytes | None:
        """Return the next header; None at the end, behind which there is nothing but zeros."""
        block = self._exactly(BLOCK, may_end=True)
        if block in (b"", _NOTHING):
            while rest := self._read(1 << 16):
                if rest.count(0) < len(rest):
                    raise Unacceptable("the bundle is not a tar archive: something follows its end")
            return None
        told = _OCTAL.fullmatch(block[148:156])
        if told is None or int(told[1], 8) != sum(block) - sum(block[148:156]) + 8 * ord(" "):
            raise Unacceptable("the bundle is not a tar archive: the checksum of a header is wrong")
        return block

    def content(self, size: int) -> bytes:
        """Return the bytes that follow a header."""
        data = self._exactly(size)
        self._exactly(-size % BLOCK)
        return data

    def _exactly(self, size: int, *, may_end: bool = False) -> bytes:
        data = bytearray()
        while len(data) < size and (piece := self._read(size - len(data))):
            data += piece
        if len(data) < size and (data or not may_end):
            raise Unacceptable("the bundle is not a tar archive: it is cut off")
        return bytes(data)


def _size(header: bytes) -> int:
    told = _OCTAL.fullmatch(header[124:136])
    if told is None:
        raise Unacceptable("the bundle is not a tar archive: a size is no octal number")
    return int(told[1], 8)


def _name(header: bytes) -> str:
    name, prefix = (header[at:to].split(b"\0", 1)[0] for at, to in ((0, 100), (345, 500)))
    return _text(prefix + b"/" + name if prefix and header[257:263] == _USTAR else name)


def _named(kind: bytes, body: bytes) -> str:
    """Return the name that an extension gives to the entry behind it, "" for none."""
    if kind in _PAX:
        return _path(body)
    return _text(body.split(b"\0", 1)[0]) if kind == _LONG_NAME else ""


def _path(body: bytes) -> str:
    """Return the path of a pax header: records of a length, a key and a value, each looked at once."""
    path, at = b"", 0
    while at < len(body):
        space = body.find(b" ", at, at + 6)
        told = body[at:space] if space > 0 else b""
        end = at + int(told) if told.isdigit() else 0
        key, equals, value = body[space + 1 : end].partition(b"=")
        if not (space < end <= len(body) and equals and value.endswith(b"\n")):
            raise Unacceptable("the bundle is not a tar archive: a pax header is damaged")
        if key == b"size" or key.startswith(b"GNU.sparse"):
            raise Unacceptable("the bundle has an entry that is no regular file: its pax header changes its size")
        path = value[:-1] if key == b"path" else path
        at = end
    return _text(path)


def _text(name: bytes) -> str:
    return name.decode(errors="replace")


def _stays_in(name: str) -> None:
    if name.startswith("/") or ".." in name.split("/") or "\\" in name:
        raise Unacceptable(f"the bundle has an entry that leads out of it: {name}")
