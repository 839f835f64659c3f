"""What came of a fetch, as it comes through the pipe: a line of JSON, and for each file a line and its bytes.

It is read as it comes, each piece bounded before it is taken, so that a child which says what it was never written to
say costs the daemon no more than the files may have.
"""

from __future__ import annotations

import asyncio
import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any, Final

from margod.gitfetch.job import CODES, Failed, Fetched, Limits
from margod.model.text import clean

HEADER_LIMIT: Final = 64 << 10
"""Bytes of a line, the first one too: what JSON makes of so many is small, and soon made."""
NOTES_LIMIT: Final = 64
_ID: Final = re.compile("[0-9a-f]{40}")
_DIGITS: Final = re.compile("[0-9]{1,12}")


def encode_fetched(fetched: Fetched) -> Iterator[bytes]:
    """Yield the answer in pieces: the head, then for each file its size, a blank and its path on a line, its bytes."""
    files = fetched.files
    head = {
        "commit": fetched.commit,
        "rewound": fetched.rewound,
        "notes": fetched.notes,
        "files": None if files is None else len(files),
    }
    yield json.dumps(head).encode() + b"\n"
    for path, data in (files or {}).items():
        yield f"{len(data)} {path}\n".encode()
        yield data


def encode_failed(failed: Failed) -> Iterator[bytes]:
    """Yield the answer of a fetch that came to nothing."""
    said = {"error": failed.code, "detail": failed.detail, "retry_after": failed.retry_after}
    yield json.dumps(said).encode() + b"\n"


async def read_answer(reader: asyncio.StreamReader, limits: Limits) -> Fetched | Failed:
    """Return what the child answers, to its end. Raises ValueError, TypeError, KeyError, RecursionError or EOFError.

    They are for what it never says: it has parsed what a server sent, so that it still says what it was written to say
    is looked at, not believed. The reader's own limit has to be HEADER_LIMIT.
    """
    value = json.loads(await _line(reader))
    if "error" in value:
        answer: Fetched | Failed = _failed(value["error"], value["detail"], value["retry_after"])
    else:
        commit, notes = value["commit"], value["notes"]
        if not _ID.fullmatch(commit) or not isinstance(notes, list) or len(notes) > NOTES_LIMIT:
            raise ValueError("not a commit, or no notes")
        files = None if value["files"] is None else await _files(reader, value["files"], limits)
        answer = Fetched(commit, files, value["rewound"] is True, tuple(clean(str(note)) for note in notes))
    if await reader.read(1):
        raise ValueError("there is more than the files that are named")
    return answer


async def _line(reader: asyncio.StreamReader) -> str:
    try:
        return (await reader.readuntil())[:-1].decode()
    except asyncio.LimitOverrunError:
        raise ValueError("a line that never ends") from None


async def _files(reader: asyncio.StreamReader, count: Any, limits: Limits) -> dict[str, bytes]:
    if not isinstance(count, int) or not 0 <= count <= limits.entries:
        raise ValueError("more files than there may be")
    files: dict[str, bytes] = {}
    left = limits.total
    for _ in range(count):
        size, _, path = (await _line(reader)).partition(" ")
        if not _DIGITS.fullmatch(size) or len(path.encode()) > limits.path or not all(map(_plain, path.split("/"))):
            raise ValueError("a file that cannot be one")
        left -= int(size)
        if left < 0 or path in files:
            raise ValueError("the files are larger than they may be, or one comes twice")
        files[path] = await reader.readexactly(int(size))
    return files


def _failed(code: Any, detail: Any, retry_after: object) -> Failed:
    if code not in CODES or not isinstance(detail, str):
        raise ValueError("a code that there is not, or no detail")
    wait: float | None = None
    if isinstance(retry_after, int | float) and not isinstance(retry_after, bool) and 0 <= retry_after < 1e12:
        wait = float(retry_after)
    return Failed(code, clean(detail), wait)


def _plain(name: str) -> bool:
    """Return whether a name may be one of a tree (trees.safe_name): any space can be seen, not only the usual one."""
    if name in ("", ".", "..") or "\\" in name:
        return False
    return name.isprintable() or all(each.isprintable() or unicodedata.category(each) == "Zs" for each in name)
