"""A server of the local API with a controller that a test steers, as fixtures for the rooms that talk to one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from margod.local import LocalServer
from tests.support.local_api import SteeredController, serving, short_directory


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as path:
        yield path


@pytest.fixture
async def controller() -> SteeredController:
    return SteeredController()


@pytest.fixture
async def server(directory: Path, controller: SteeredController) -> AsyncIterator[LocalServer]:
    async with serving(directory, controller) as running:
        yield running
