"""margod without its imports: a process that has made them forks one daemon after the other.

A whole onboarding then takes a tenth of a second, which is what makes thousands of them worth killing. The daemon is
the one that `margod run` starts, from the command line on; only the interpreter's start is shared. Part of every
campaign starts real processes all the same.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Final

from tests.support.daemon import Daemon

LIFETIME: Final = 120
"""Seconds of processor time that a daemon may use: no end is waited for in vain."""

_PR_SET_PDEATHSIG: Final = 1


class Zygote:
    """One such process. It has one daemon at a time."""

    def __init__(self, **env: str) -> None:
        """`env` is added to the environment."""
        self._env = env
        self._process: asyncio.subprocess.Process | None = None
        self._daemon = 0

    async def __aenter__(self) -> Zygote:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.faults.zygote"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **self._env},
            cwd=Path(__file__).parent.parent.parent,
        )
        return self

    async def __aexit__(self, *_about: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        if self._daemon:
            os.kill(self._daemon, signal.SIGKILL)  # a broken promise left it: the zygote has not waited for it yet
        self._process.stdin.close()
        async with asyncio.timeout(30):
            await self._process.wait()

    async def spawn(self, arguments: list[str], journal: Path) -> int:
        """Start `margod ARGUMENTS`; return its process id."""
        assert self._process is not None
        assert self._process.stdin is not None
        order = {"arguments": arguments, "journal": str(journal)}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._daemon = await self._number()
        return self._daemon

    async def wait(self) -> int:
        """Wait for its end and return the exit code, negative: the signal."""
        code = await self._number()
        self._daemon = 0
        return code

    async def _number(self) -> int:
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(120):
            return int(await self._process.stdout.readline())


class Quick(Daemon):
    """A daemon that a zygote starts: like any other, its journal in a file."""

    def __init__(
        self, zygote: Zygote, directory: Path, *, url: str | None, ca_file: Path | None, yaml: str = ""
    ) -> None:
        super().__init__(directory, url=url, ca_file=ca_file, yaml=yaml)
        self._zygote = zygote
        self.pid = 0
        self.written = directory / "journal"

    async def start(self, *arguments: str, env: dict[str, str] | None = None, wait: bool = True) -> None:
        """Start it; with `wait` until its socket answers."""
        assert not env, "the zygote has its own"
        self.written.unlink(missing_ok=True)
        words = ["run", *self.options, "--runtime-dir", str(self.runtime), *arguments]
        self.pid = await self._zygote.spawn(words, self.written)
        if wait:
            await self.answering()

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
        if self.pid:
            os.kill(self.pid, number)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for the end."""
        self.pid = 0
        return await self._zygote.wait()

    @property
    def lines(self) -> list[str]:
        """What it has written to its journal until now."""
        return self.written.read_text(errors="replace").splitlines() if self.written.exists() else []


def main() -> None:
    """Fork what standard input asks for; say its id, then its end."""
    from margod.service import imports

    with imports.lean():
        import aiohttp
        import http_message_signatures

        import margod.cli
        import margod.cli.run
        import margod.daemon
        import margod.discovery
        import margod.shell.settings

        del aiohttp, http_message_signatures
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(order["arguments"], order["journal"], margod.cli.main)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(arguments: list[str], journal: str, run: object) -> None:
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_CPU, (LIFETIME, LIFETIME))
        os.dup2(os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(0, 1)
        assert callable(run)
        os._exit(run(arguments))
    finally:
        os._exit(99)


if __name__ == "__main__":
    main()
