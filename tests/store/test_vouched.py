"""Links on the way to a secret: whose are followed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from margod.store import read_vouched

ME = {os.geteuid(), 0}
NOBODY = {os.geteuid() + 1}


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    """Return a directory as an orchestrator mounts it: the name leads over a directory that is a link."""
    real = tmp_path.resolve()
    (real / "..2026").mkdir()
    (real / "..2026" / "token").write_bytes(b"secret")
    (real / "..data").symlink_to("..2026")
    (real / "token").symlink_to("..data/./token")
    (real / "far").symlink_to(real / ".." / real.name / "token")
    return real


def test_links_of_who_is_trusted_are_followed(mount: Path) -> None:
    """Relative ones, absolute ones, and those in the middle of the way."""
    for name in ("token", "far", "..data/token", "..2026/token"):
        assert read_vouched(mount / name, 6, ME) == b"secret", name


def test_links_of_others_are_not(mount: Path) -> None:
    """Neither the last one nor one on the way; where there is none, it does not matter whose the file is."""
    for name in ("token", "far", "..data/token"):
        with pytest.raises(PermissionError, match="symbolic link of another user"):
            read_vouched(mount / name, 6, NOBODY)
    assert read_vouched(mount / "..2026" / "token", 6, NOBODY) == b"secret"


def test_what_is_no_file_of_that_size(mount: Path) -> None:
    """A directory, a FIFO (never opened), a file that is too large, a circle of links, nothing; and none stays open."""
    os.mkfifo(mount / "fifo")
    (mount / "circle").symlink_to("circle")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in (mount, mount / "fifo", mount / "circle", mount / "none", mount / "token" / "x", Path("/")):
        with pytest.raises(OSError):  # each in its own words
            read_vouched(path, 6, ME)
    with pytest.raises(OSError, match="larger than 5 bytes"):
        read_vouched(mount / "token", 5, ME)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
