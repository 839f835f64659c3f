"""What every suite is given, and how a suite says that a promise is broken."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


class Broken(AssertionError):
    """A promise does not hold."""


def promise(holds: object, said: str) -> None:
    """Raise Broken with what was `said` unless it `holds`."""
    if not holds:
        raise Broken(said)


@dataclass
class Run:
    """One run of one suite. `scale` is the share of the long campaign, above 0 and up to 1."""

    seed: int
    scale: float
    place: Path
    """An empty directory, in memory where there is some."""
    figures: Counter[str] = field(default_factory=Counter)
    """What was done, for the table."""
    seconds_taken: float = 0.0

    @property
    def rng(self) -> random.Random:
        """A generator that depends on the seed alone: the same each time it is asked for."""
        return random.Random(self.seed)

    def of(self, most: int, least: int = 1) -> int:
        """Return how many of `most` in the long campaign are to be done in this one."""
        return max(least, round(most * self.scale))

    def count(self, what: str, number: int = 1) -> None:
        """Add to the figures."""
        self.figures[what] += number


Suite = Callable[[Run], None]


@contextmanager
def room() -> Iterator[Path]:
    """Give an empty directory, on /dev/shm where there is one, and take it away again."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="margod-", dir=memory))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def carry_out(suite: Suite, seed: int, scale: float) -> Run:
    """Run a suite and return what it did. Raises Broken."""
    with room() as place:
        run, began = Run(seed, scale, place), time.monotonic()
        suite(run)
        run.seconds_taken = time.monotonic() - began
        return run
