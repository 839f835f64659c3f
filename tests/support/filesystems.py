"""Small file systems of a test's own, to be filled up, made read-only, and taken away again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A tmpfs at `place`."""

    def __init__(self, place: Path) -> None:
        """Take a mounted one; see `small_disk`."""
        self.place = place

    def fill(self) -> None:
        """Leave not a byte of room."""
        with (self.place / "filler").open("ab", buffering=0) as filler, pytest.raises(OSError, match="No space"):
            while True:
                filler.write(b"\0" * 4096)

    def free(self) -> None:
        """Take back what `fill` did."""
        (self.place / "filler").unlink()

    def read_only(self, yes: bool) -> None:
        """Make it read-only, or writable again, under whoever uses it."""
        _run("mount", "-o", "remount,ro" if yes else "remount,rw", str(self.place))


@contextmanager
def small_disk(place: Path, size: str = "512k") -> Iterator[SmallDisk]:
    """Mount a tmpfs of `size` at the new directory `place`; needs root and CAP_SYS_ADMIN."""
    place.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", str(place))
    try:
        yield SmallDisk(place)
    finally:
        _run("umount", "--lazy", str(place))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
