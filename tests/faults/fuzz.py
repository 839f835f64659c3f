"""Foreign bytes by the hundred thousand: mutated from a stored corpus, seeded, guided by what comes of them.

An input that ends in a way that was not seen before joins the corpus of its run. Each has to end in a value or in one
of the declared errors, in bounded time; at the end a part is fed again under tracemalloc, which must not grow.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from tests.faults import fuzz_targets, fuzz_token
from tests.faults.campaign import Run, promise

TARGETS: Final = {**fuzz_targets.TARGETS, **fuzz_token.TARGETS}
CORPUS: Final = Path(__file__).with_name("corpus")
LONGEST: Final = 4_096
"""Bytes of most inputs; one in fifty is blown up to what the limits of the parsers let in."""
PATIENCE: Final = 5.0
"""Seconds of processor time that one input may cost, on a machine that is busy otherwise."""
GROWTH: Final = 256 * 1024
"""Bytes that may stay behind after a part was fed again: caches of the standard library, filled once."""
KEPT: Final = 2_000
"""Inputs that a run keeps beside the stored corpus."""
_NUMBERS: Final = (0, 1, 127, 128, 255, 256, 32_767, 65_535, 2**31 - 1, 2**31, 2**32, 2**53, 2**63, 2**64, 10**30)
_WORDS: Final = (
    b"\x00", b"\xff\xfe", b"\xed\xa0\x80", "\u202e\u200b\u2028".encode(), b"NaN", b"-Infinity", b"1e999", b"null",
    b"true", b"{}", b"[]", b"[" * 60, b'{"a":' * 60, b'"', b"\\ud800", b"\r\n", b"\n", b": ", b"- ",
    b"? ", b"&a ", b"*a ",
    b"!!python/object ", b"<<", b"|", b">-", b"%", b"\x30\x82\xff\xff", b"\x30\x80", b"\xc0\x0c",
    b"-----BEGIN CERTIFICATE-----",
    b"-----END CERTIFICATE-----", b"HTTP/1.1 ", b"Retry-After: ", b"Transfer-Encoding: chunked", b"Content-Length: ",
    b"Thu, 01 Jan 1970 00:00:00 GMT", b"Mon, 32 Feb 99999 25:61:61 +9999", b"<title>", b"..", b"/", b"=",
)  # fmt: skip


class Mutator:
    """Makes inputs from a corpus. The same seed and corpus make the same ones."""

    def __init__(self, corpus: list[bytes], seed: int) -> None:
        """Begin with a corpus that is not empty."""
        self.corpus = corpus
        self.rng = random.Random(seed)

    def next(self) -> bytes:
        """Return an input."""
        rng = self.rng
        data = bytearray(rng.choice(self.corpus))
        for _ in range(rng.choice((1, 1, 2, 3, 5, 8))):
            at = rng.randrange(len(data) + 1)
            match rng.randrange(9):
                case 0 if data:
                    data[at % len(data)] ^= 1 << rng.randrange(8)
                case 1 if data:
                    data[at % len(data)] = rng.randrange(256)
                case 2:
                    del data[at : at + rng.choice((1, 2, 4, 16, 64))]
                case 3:
                    data[at:at] = rng.choice(_WORDS)
                case 4:
                    piece = data[at : at + rng.choice((1, 4, 16, 64))]
                    data[at:at] = piece * rng.choice((1, 2, 8))
                case 5:
                    other = rng.choice(self.corpus)
                    begin = rng.randrange(len(other) + 1)
                    data[at:] = other[begin:]
                case 6:
                    data[at:at] = str(rng.choice(_NUMBERS) * rng.choice((1, -1))).encode()
                case 7:
                    number = rng.choice(_NUMBERS) & 0xFFFFFFFF
                    width = rng.choice((1, 2, 4))
                    data[at : at + width] = (number & (256**width - 1)).to_bytes(width, "big")
                case _:
                    data[at : at + rng.choice((1, 2, 4))] = rng.randbytes(rng.choice((1, 2, 4, 8)))
        if rng.random() < 0.02 and data:
            at = rng.randrange(len(data))
            data[at:at] = data[at : at + 16] * rng.choice((16, 64, 256))
        return bytes(data[: LONGEST if rng.random() < 0.98 else 16 * LONGEST])


@dataclass(frozen=True)
class Fed:
    """What feeding one target came to."""

    inputs: int
    ways: int
    slowest: float
    """Seconds of processor time."""
    grown: int
    """Bytes."""


def stored(name: str) -> list[bytes]:
    """Return the stored corpus of a target."""
    return [file.read_bytes() for file in sorted((CORPUS / name).iterdir())]


def feed(name: str, seed: int, number: int, again: int) -> Fed:
    """Feed a target `number` inputs, and `again` so many under tracemalloc. Raises what the target must not raise."""
    corpus = stored(name)
    mutator = Mutator(corpus, seed)
    ways: set[object] = set()
    slowest = 0.0
    with TARGETS[name]() as target, _bounded() as bound:
        for data in corpus:
            ways.add(_one(target, data, bound))
        for _ in range(number):
            data = mutator.next()
            began = time.process_time()
            way = _one(target, data, bound)
            slowest = max(slowest, time.process_time() - began)
            if way not in ways and len(ways) < KEPT:
                ways.add(way)
                corpus.append(data)
        grown = _growth(target, Mutator(corpus, seed + 1), again, bound)
    return Fed(number + again, len(ways), slowest, grown)


def _one(target: Callable[[bytes], object], data: bytes, bound: Callable[[float], None]) -> object:
    bound(PATIENCE)
    try:
        return target(data)
    except BaseException as error:
        error.add_note(f"input: {data[:2000]!r}")
        raise
    finally:
        bound(0.0)


def _growth(target: Callable[[bytes], object], mutator: Mutator, number: int, bound: Callable[[float], None]) -> int:
    """Return how much more memory is held after `number` inputs than after the first third of them."""
    inputs = [mutator.next() for _ in range(number)]
    tracemalloc.start()
    try:
        for data in inputs[: number // 3]:
            _one(target, data, bound)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for data in inputs[number // 3 :]:
            _one(target, data, bound)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


@contextmanager
def _bounded() -> Iterator[Callable[[float], None]]:
    """Give a function that sets the bound on the processor time from now on; 0 takes it off."""

    def too_long(_number: int, _frame: object) -> None:
        raise TimeoutError(f"one input took more than {PATIENCE:.0f} s")

    def limit(seconds: float) -> None:
        signal.setitimer(signal.ITIMER_PROF, seconds)

    before = signal.signal(signal.SIGPROF, too_long)
    try:
        yield limit
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


SHARES: Final = {
    "answer": 80_000,
    "ca": 80_000,
    "date": 400_000,
    "local": 6_000,
    "log": 100_000,
    "manifest": 40_000,
    "desired": 60_000,
    "bundle": 20_000,
    "mdns": 80_000,
    "memory": 180_000,
    "txt": 300_000,
    "yaml": 10_000,
    **fuzz_token.SHARES,
}
"""Inputs of each target in the long campaign."""
PART: Final = 20_000
"""Inputs that one call of a worker feeds, so that both processors are busy to the end."""


def fuzz(run: Run) -> None:
    """Feed all targets. The long campaign does it on all processors, a short one here."""
    jobs = []
    for name, share in SHARES.items():
        left, part = run.of(share), 0
        while left > 0:
            number = min(left, PART)
            jobs.append((name, run.seed * 1_000 + part, number, max(60, number // 20)))
            left, part = left - number, part + 1
    if run.scale < 1.0:
        results = [feed(*job) for job in jobs]
    else:
        with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
            results = list(pool.map(feed, *zip(*jobs, strict=True)))
    for (name, *_), fed in zip(jobs, results, strict=True):
        promise(fed.grown <= GROWTH, f"{name}: {fed.grown} bytes stayed behind")
        run.count("inputs", fed.inputs)
        run.count(f"{name}: inputs", fed.inputs)
        run.figures[f"{name}: ways it ended"] = max(run.figures[f"{name}: ways it ended"], fed.ways)
        slowest = round(fed.slowest * 1000)
        run.figures[f"{name}: slowest, ms"] = max(run.figures[f"{name}: slowest, ms"], slowest)
