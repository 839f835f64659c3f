"""A directory in memory for the tests that open thousands of vaults: a real disk would only make them wait."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Return an empty directory, on /dev/shm where there is one."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="margod-", dir=memory))
    yield path
    shutil.rmtree(path)
