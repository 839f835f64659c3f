"""A daemon that a zygote forks and that nobody reads along with, for campaigns of thousands.

A whole onboarding then takes a tenth of a second, which is what makes thousands of them worth killing. The daemon is
the one that `margod run` starts, from the command line on; only the interpreter's start is shared. Part of every
campaign starts real processes all the same.
"""

from __future__ import annotations

import asyncio
import resource
import signal
from pathlib import Path
from typing import Final

from tests.support.daemon import Daemon
from tests.support.zygote import Zygote

LIFETIME: Final = 120
"""Seconds of processor time that a daemon may use: no end is waited for in vain."""


class Quick(Daemon):
    """A daemon that this zygote forks: like any other, its journal in a file."""

    def __init__(
        self, zygote: Zygote, directory: Path, *, url: str | None, ca_file: Path | None, yaml: str = ""
    ) -> None:
        super().__init__(directory, url=url, ca_file=ca_file, yaml=yaml)
        self._zygote = zygote
        self.written = directory / "journal"

    async def start(self, *arguments: str, env: dict[str, str] | None = None, wait: bool = True) -> None:
        """Start it; with `wait` until its socket answers."""
        assert not env, "the zygote has its own"
        self.written.unlink(missing_ok=True)
        with self.written.open("ab") as journal:
            self.process = await self._zygote.start(
                *("run", *self.options, "--runtime-dir", str(self.runtime), *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=journal,
                env=self._zygote.environment,
                limits={resource.RLIMIT_CPU: (LIFETIME, LIFETIME)},
            )
        if wait:
            await self.answering()

    @property
    def pid(self) -> int:
        """Its process's id."""
        assert self.process is not None
        return self.process.pid

    async def answering(self) -> None:
        """Wait until the socket answers: the file may be one that a killed daemon left behind."""
        async with asyncio.timeout(60):
            while True:
                try:
                    _, writer = await asyncio.open_unix_connection(self.runtime / "status.sock")
                except OSError:
                    await asyncio.sleep(0.002)  # a socket that is not there tells nobody
                else:
                    writer.close()
                    return

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        assert self.process is not None
        self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for the end."""
        assert self.process is not None
        async with asyncio.timeout(120):
            return await self.process.wait()

    @property
    def lines(self) -> list[str]:
        """What it has written to its journal until now."""
        return self.written.read_text(errors="replace").splitlines() if self.written.exists() else []
