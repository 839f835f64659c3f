"""What the child may say, and what it costs to hear it when somebody else speaks through it."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from margod.gitfetch.answer import HEADER_LIMIT, encode_failed, encode_fetched, read_answer
from margod.gitfetch.job import Failed, Fetched, Limits, Refusal
from margod.gitfetch.trees import safe_name

COMMIT = "ab" * 20


async def read(pieces: Iterable[bytes], limits: Limits | None = None) -> Fetched | Failed:
    """Return what the pieces are, through a pipe that is never further than its reader wants."""
    reader = asyncio.StreamReader(limit=HEADER_LIMIT)
    transport = _Transport()
    reader.set_transport(transport)

    async def feed() -> None:
        for piece in pieces:
            for at in range(0, len(piece), 65_536):
                while transport.paused:
                    await asyncio.sleep(0)
                reader.feed_data(piece[at : at + 65_536])
                await asyncio.sleep(0)
        reader.feed_eof()

    feeding = asyncio.create_task(feed())
    try:
        return await read_answer(reader, limits or Limits())
    finally:
        feeding.cancel()


class _Transport(asyncio.ReadTransport):
    paused = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def head(**said: Any) -> bytes:
    """Return a first line."""
    return json.dumps({"commit": COMMIT, "rewound": False, "notes": [], "files": 1, **said}).encode() + b"\n"


async def test_it_is_read_as_it_was_written() -> None:
    """Files, nothing new, and a failure."""
    files = {"a b.yaml": b"1\n2 3\n", "ä/leer": b"", "z": bytes(200_000)}
    for fetched in (Fetched(COMMIT, files, True, ("left out",)), Fetched(COMMIT, None), Fetched(COMMIT, {})):
        assert await read(encode_fetched(fetched)) == fetched
    failed = Failed("busy", "later", 7.0)
    assert await read(encode_failed(failed)) == failed
    assert await read(encode_failed(replace(failed, retry_after=None))) == replace(failed, retry_after=None)


async def test_every_name_that_a_tree_may_have_comes_through() -> None:
    """Each character of three planes that a file's name is taken with: a no-break space and what is like it, too."""

    def is_taken(character: str) -> bool:
        try:
            return safe_name(f"n{character}".encode()) == f"n{character}"
        except (Refusal, UnicodeEncodeError):
            return False

    taken = "".join(filter(is_taken, map(chr, range(0x30000))))
    assert {" ", "\u00a0", "\u202f", "\u3000"} <= {*taken}
    files = {f"n{taken[at : at + 60]}/n": b"" for at in range(0, len(taken), 60)}
    fetched = Fetched(COMMIT, files)
    assert await read([b"".join(encode_fetched(fetched))]) == fetched


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\n",
        b"[]\n",
        b"1\n",
        b"{}\n",
        head(files=1),
        head(files=-1),
        head(files=9_000),
        head(files=[["a", 1]]) + b"a",
        head(commit="x"),
        head(notes=["x"] * 65),
        head(files=0) + b"more",
        head() + b"1 a\n",
        head() + b"1 a\nab",
        head() + b"2 a\nb",
        head() + b"-1 a\nb",
        head() + b"1 ../a\nb",
        head() + b"1 \nb",
        head() + b"1 a\\b\nb",
        head() + b"1 " + b"a" * 1_025 + b"\nb",
        head() + b"1 \xff\nb",
        head(files=2) + b"1 a\nb1 a\nb",
        head() + b"33554433 a\n" + bytes((32 << 20) + 1),
        head() + b"9" * 5_000 + b" a\n",
        b'{"error":"busy","detail":["x"],"retry_after":null}\n',
        b'{"error":"none of them","detail":"","retry_after":null}\n',
        b"[" * 60_000 + b"\n",
    ],
    ids=range(27),
)
async def test_what_a_child_never_says(said: bytes) -> None:
    """Each is refused, and raises nothing but what its reader knows."""
    with pytest.raises((ValueError, KeyError, TypeError, RecursionError, EOFError)):
        await read([said])


@pytest.mark.parametrize("said", [b"[" + b"[]," * (12 << 20), b'{"error":"' + b"x" * (36 << 20)], ids=["lists", "text"])
async def test_a_first_line_that_never_ends_is_not_parsed(said: bytes) -> None:
    """36 MiB of empty lists would be a gigabyte."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="never ends"):
            await read([said])
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


async def test_files_are_not_copied_while_they_come() -> None:
    """The most that there may be takes its own size, and once more the largest of them."""
    large = bytes(8 << 20)
    pieces = [head(files=4), *(piece for name in "abcd" for piece in (f"{len(large)} {name}\n".encode(), large))]
    tracemalloc.start()
    try:
        found = await read(pieces)
        assert isinstance(found, Fetched)
        assert found.files == dict.fromkeys("abcd", large)
        assert tracemalloc.get_traced_memory()[1] < 52 << 20
    finally:
        tracemalloc.stop()
