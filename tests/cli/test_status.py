"""`margod status` in a process of its own, against a real socket."""

from __future__ import annotations

import asyncio
import json
import os
import pty
from contextlib import suppress
from pathlib import Path

import pytest

from margod.local import LocalServer
from tests.support.local_api import FINGERPRINT, TIMEOUT, SteeredController, run_margod, serving, start_margod


@pytest.mark.parametrize(
    ("state", "code"), [("enrolled", 0), ("onboarding", 3), ("starting", 3), ("pending-approval", 4), ("blocked", 5)]
)
async def test_exit_codes(
    server: LocalServer, controller: SteeredController, directory: Path, state: str, code: int
) -> None:
    """Pins the exit code of a state, with and without --json."""
    await controller.set(state=state)
    for more in ([], ["--json"]):
        got, _, err = await run_margod("status", *more, "--runtime-dir", str(directory))
        assert (got, err) == (code, "")


async def test_json(server: LocalServer, controller: SteeredController, directory: Path) -> None:
    """Pins that --json is the daemon's document, and that --socket names it."""
    _, out, _ = await run_margod("status", "--json", "--socket", str(directory / "status.sock"))
    assert json.loads(out) == controller.document


async def test_words(server: LocalServer, controller: SteeredController, directory: Path) -> None:
    """Pins what a person gets to know, within 80 columns, without colours into a pipe."""
    _, out, _ = await run_margod("status", "--runtime-dir", str(directory))
    assert max(len(line) for line in out.splitlines()) <= 80
    assert "\x1b" not in out
    words = " ".join(out.split())
    for said in (
        "onboarding since 2026-11-21 18:00:00 UTC",
        "The WFM's host name cannot be resolved.",
        "Name or service not known",
        "the network",
        "attempt 4 now",
        "Check the host in wfm.url",
        "timed-out",
        "https://wfm.example/prefix",
        FINGERPRINT,
        "CN=Plant Root",
        "config-last-good",
    ):
        assert said in words


async def test_hostile_words(server: LocalServer, controller: SteeredController, directory: Path) -> None:
    """Pins that nothing from outside steers the terminal or breaks the 80 columns."""
    await controller.set(detail="\x1b[2J\u202eevil\r\n" + "x" * 190, client_id="c" * 300, next_attempt_at="soon")
    code, out, err = await run_margod("status", "--runtime-dir", str(directory))
    assert (code, err) == (3, "")
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert max(len(line) for line in out.splitlines()) <= 80


@pytest.mark.parametrize(("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
async def test_colours(server: LocalServer, directory: Path, env: dict[str, str], coloured: bool) -> None:
    """Pins colours on a terminal that wants them only."""
    screen = Screen()
    process = await screen.start("status", "--runtime-dir", str(directory), env={"TERM": "xterm", **env})
    shown = await screen.until(b"Warning")
    await process.wait()
    screen.close()
    assert (b"\x1b[1;36monboarding\x1b[0m" in shown) is coloured


async def test_watch_in_a_pipe(directory: Path, controller: SteeredController) -> None:
    """Pins one line for each change, none for none, over a restart of the daemon."""
    process = await start_margod("status", "--watch", "--runtime-dir", str(directory))
    assert process.stdout is not None
    lines = process.stdout
    async with asyncio.timeout(TIMEOUT):
        assert b" unreachable daemon-unreachable" in await lines.readline()
        async with serving(directory, controller):
            assert b" onboarding dns-failed connection=offline attempt=3 next=" in await lines.readline()
            await controller.set(hint="another hint")
            await controller.set(state="enrolled", reason="enrolled", attempt=0, next_attempt_at=None)
            assert b" enrolled enrolled connection=offline attempt=0 warning=" in await lines.readline()
        assert b" unreachable daemon-unreachable" in await lines.readline()
        async with serving(directory, controller):
            assert b" enrolled enrolled " in await lines.readline()
    process.terminate()
    await process.wait()


async def test_watch_as_json(server: LocalServer, directory: Path, controller: SteeredController) -> None:
    """Pins one document a line."""
    process = await start_margod("status", "--watch", "--json", "--runtime-dir", str(directory))
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT):
        assert json.loads(await process.stdout.readline())["state"] == "onboarding"
        await controller.set(state="enrolled")
        assert json.loads(await process.stdout.readline())["state"] == "enrolled"
    process.terminate()
    await process.wait()


async def test_watch_on_a_terminal(server: LocalServer, directory: Path, controller: SteeredController) -> None:
    """Pins that the screen is painted anew at a change."""
    screen = Screen()
    process = await screen.start("status", "--watch", "--runtime-dir", str(directory), env={"NO_COLOR": "1"})
    assert b"\x1b[H\x1b[2J" in await screen.until(b"Warning")
    await controller.set(state="enrolled")
    assert b"\x1b[H\x1b[2J" in await screen.until(b"enrolled since")
    process.terminate()
    await process.wait()
    screen.close()


class Screen:
    """A terminal that a process writes to."""

    def __init__(self) -> None:
        self._ours, self._theirs = pty.openpty()
        self._reader = asyncio.StreamReader()

    async def start(self, *arguments: str, env: dict[str, str]) -> asyncio.subprocess.Process:
        import sys

        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "margod", *arguments), stdout=self._theirs, env=os.environ | env
        )
        os.set_blocking(self._ours, False)
        asyncio.get_running_loop().add_reader(self._ours, self._read)
        return process

    async def until(self, text: bytes) -> bytes:
        """Return what was written up to `text`."""
        async with asyncio.timeout(TIMEOUT):
            return await self._reader.readuntil(text)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._ours)
        os.close(self._ours)
        os.close(self._theirs)

    def _read(self) -> None:
        with suppress(OSError):
            self._reader.feed_data(os.read(self._ours, 65_536))
