"""A development WFM inside the test's own loop, on loopback with real TLS; the control calls go to its objects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from margod.devwfm.server import DevServer, Settings


@asynccontextmanager
async def running(directory: Path, **settings: Any) -> AsyncIterator[DevServer]:
    """Run one in `directory`; `settings` are those of `Settings`."""
    server = DevServer(Settings(directory, quiet=True, **settings))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
