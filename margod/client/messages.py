"""HTTP/1.1 over a Unix socket as bytes in and bytes out: knows no socket, so that both clients speak by it.

A reading is a generator that says what it needs next: `LINE`, or so many bytes (fewer at the end of what there is), and
is sent them. It raises ValueError for what is no such answer.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Final, NamedTuple

LINE: Final = 0
"""Needed next: a line with its end, at most `LINE_LIMIT` bytes."""
LINE_LIMIT: Final = 8192
"""Bytes of one line of an answer's head."""
_LINES_LIMIT: Final = 64
"""Lines of an answer's head."""
_PIECE: Final = 65_536


class Head(NamedTuple):
    """Status and headers of an answer; names are lower-case."""

    status: int
    headers: dict[str, str]


class Answer(NamedTuple):
    """A whole answer; names of headers are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes


def request(method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> bytes:
    """Return a request that asks for the connection to be closed after it.

    Raises ValueError for what would break it, and for HEAD, which the door has not, and whose answer `answer` would
    wait for the body of.
    """
    if method.upper() == "HEAD":
        raise ValueError("the door has no HEAD")
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines += [f"Content-Length: {len(body)}"] if body or method != "GET" else []
    if any(not line.isascii() or not line.isprintable() for line in lines) or " " in target:
        raise ValueError("the request has characters that HTTP does not take")
    return "\r\n".join([*lines, "", ""]).encode() + body


def head() -> Generator[int, bytes, Head]:
    """Read an answer's head."""
    version, _, rest = (yield from _line()).partition(b" ")
    if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
        raise ValueError("it does not speak HTTP")
    headers: dict[str, str] = {}
    for _ in range(_LINES_LIMIT):
        if not (line := (yield from _line())):
            return Head(int(rest[:3]), headers)
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    raise ValueError("its answer's head is too long")


def answer(limit: int) -> Generator[int, bytes, Answer]:
    """Read a whole answer with a body of at most `limit` bytes."""
    first = yield from head()
    return Answer(first.status, first.headers, (yield from body(first, limit)))


def body(first: Head, limit: int) -> Generator[int, bytes, bytes]:
    """Read the body that belongs to a head, of at most `limit` bytes."""
    if first.status in (204, 304):
        return b""
    if first.headers.get("transfer-encoding", "").lower() == "chunked":
        return (yield from _chunks(limit))
    found, length = bytearray(), first.headers.get("content-length")
    if length is not None and not (length.isascii() and length.isdigit()):
        raise ValueError("its answer has no length that can be read")
    wanted = limit + 1 if length is None else int(length)
    if length is not None and wanted > limit:
        raise ValueError("its answer is too large")
    while len(found) < wanted:
        piece = yield min(_PIECE, wanted - len(found))
        if not piece:
            break
        found += piece
    if len(found) > limit:
        raise ValueError("its answer is too large")
    if length is not None and len(found) < wanted:
        raise ValueError("its answer ends early")
    return bytes(found)


def _chunks(limit: int) -> Generator[int, bytes, bytes]:
    """Read a body in chunks (RFC 9112, 7.1)."""
    body = bytearray()
    while True:
        size = (yield from _line()).partition(b";")[0].strip()
        try:
            length = int(size, 16) if len(size) <= 8 and size.isalnum() else -1
        except ValueError:
            length = -1
        if length < 0:
            raise ValueError("its answer has a chunk without a size")
        if len(body) + length > limit:
            raise ValueError("its answer is too large")
        end = len(body) + length
        while len(body) < end:
            piece = yield min(_PIECE, end - len(body))
            if not piece:
                raise ValueError("its answer ends early")
            body += piece
        if (yield from _line()):
            raise ValueError("its answer has a chunk that is longer than it says")
        if length == 0:
            return bytes(body)


def event(limit: int) -> Generator[int, bytes, bytes | None]:
    """Read the next event's data, None at the end (HTML standard, 9.2.6: lines of fields, ended by an empty one)."""
    data: list[bytes] = []
    size = 0
    while line := (yield LINE):
        size += len(line)
        if size > limit:
            raise ValueError("an event is too large")
        stripped = line.rstrip(b"\r\n")
        if not stripped and data:
            return b"\n".join(data)
        if stripped.startswith(b"data:"):
            data.append(stripped[5:].removeprefix(b" "))
    return None


def _line() -> Generator[int, bytes, bytes]:
    line = yield LINE
    if not line.endswith(b"\n") or len(line) > LINE_LIMIT:
        raise ValueError("its answer is cut or has a line that is too long")
    return line.rstrip(b"\r\n")
