"""Fixtures of the devwfm tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _placeholder_loop() -> Iterator[None]:
    """Hold and close the main thread's own loop.

    pytest-asyncio asks for it beside each test's loop; on Python 3.11 asyncio then makes one that nobody closes, and
    its ResourceWarning fails whatever test the garbage collector happens to run in.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()
