"""margod under another clock: libfaketime moves the wall clock of a running process, and no other clock of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.checking import FAKETIME
from tests.support.daemon import Daemon

needs_faketime = pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed")
YEARS = 3650 * 86_400
"""Ten of them, seconds."""

ENVIRONMENT = {
    "LD_PRELOAD": str(FAKETIME),
    "FAKETIME_NO_CACHE": "1",
    "DONT_FAKE_MONOTONIC": "1",
    "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # its fix takes a thread's waits for the GIL for past, and so it spins
}
"""Under libfaketime, which then moves the wall clock alone."""


class OtherTime(Daemon):
    """A daemon whose clock is `ahead` seconds ahead of this machine's, until `set_clock` sets it otherwise.

    Its loop turns twice a second, as with a short watchdog: there libfaketime, unlike a real step, is noticed.
    """

    def __init__(self, directory: Path, *, ahead: float, turns: bool = True, **configuration: Any) -> None:
        """Write the configuration and the clock's file. Without `turns` the loop sleeps as long as it likes."""
        self.turns = turns
        directory.mkdir(exist_ok=True)
        super().__init__(directory, **configuration)
        self.clock = directory / "faketime"
        self.set_clock(ahead)

    def set_clock(self, ahead: float) -> None:
        """Set its clock."""
        aside = self.clock.with_suffix(".new")
        aside.write_text(f"{ahead:+.0f}\n")
        aside.replace(self.clock)

    async def start(self, *arguments: str, env: dict[str, str] | None = None, wait: bool = True) -> None:
        """Start it under that clock."""
        other = {
            **ENVIRONMENT,
            "FAKETIME_TIMESTAMP_FILE": str(self.clock),
            **({"WATCHDOG_USEC": "1000000"} if self.turns else {}),
        }
        await super().start(*arguments, env={**other, **(env or {})}, wait=wait)
