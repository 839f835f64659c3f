"""What every suite is given, and how a suite says that a promise is broken."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


class Broken(AssertionError):
    """A promise does not hold."""


class Impossible(Exception):
    """A suite cannot be carried out here; says why."""


def need(*programs: str, root: bool = False, mounts: bool = False) -> None:
    """Raise Impossible unless the programs are installed, this is root, and file systems may be mounted here."""
    if absent := [program for program in programs if shutil.which(program) is None]:
        raise Impossible(f"not installed: {', '.join(absent)}")
    if (root or mounts) and os.geteuid() != 0:
        raise Impossible("needs root")
    if mounts:
        with room() as place:
            mount = ["mount", "-t", "tmpfs", "tmpfs", str(place)]
            if subprocess.run(mount, capture_output=True, check=False, timeout=30).returncode:
                raise Impossible("this container may not mount")
            subprocess.run(["umount", str(place)], check=True, timeout=30)


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
    gaps: list[str] = field(default_factory=list)
    """What could not be done here, and why."""
    seconds_taken: float = 0.0
    processor_seconds: float = 0.0
    """What it used of all cores, its children too: the same on a machine that has others to serve."""

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
        run, began, used = Run(seed, scale, place), time.monotonic(), _processor_seconds()
        suite(run)
        run.seconds_taken = time.monotonic() - began
        run.processor_seconds = _processor_seconds() - used
        return run


def _processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
