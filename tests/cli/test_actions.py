"""`margod retry`, `margod reload` and `margod reset`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from margod.local import LocalServer
from margod.model.errors import MargodError
from margod.model.reasons import STATE_NOT_WRITABLE
from tests.support.local_api import SteeredController, run_margod

pytestmark = pytest.mark.usefixtures("server")


async def test_retry(controller: SteeredController, directory: Path) -> None:
    """Pins that the daemon is asked once, over the admin socket, and its words are shown."""
    code, out, err = await run_margod("retry", "--runtime-dir", str(directory))
    assert (code, err, controller.retries) == (0, "", 1)
    assert out == "The next attempt is brought forward.\nNext attempt: 2026-11-21T18:00:30Z\n"


async def test_retry_refused(controller: SteeredController, directory: Path) -> None:
    """Pins the daemon's own reason and hint."""
    controller.failure = MargodError(STATE_NOT_WRITABLE)
    code, out, err = await run_margod("retry", env={"MARGOD_RUNTIME_DIR": str(directory)})
    assert (code, out) == (1, "")
    assert err == f"margod: {STATE_NOT_WRITABLE.says}\n  {STATE_NOT_WRITABLE.hint}\n"


@pytest.mark.parametrize(("result", "expected"), [("reloaded", 0), ("unchanged", 0), ("kept", 78)])
async def test_reload(
    server: LocalServer, controller: SteeredController, directory: Path, result: str, expected: int
) -> None:
    """Pins the exit code, and that every problem is shown."""
    controller.reloaded = {"result": result, "problems": ["margod.yaml:3: wfm.url: no host\x1b[2J"]}
    code, out, err = await run_margod("reload", "--runtime-dir", str(directory))
    assert code == expected
    assert "  margod.yaml:3: wfm.url: no host [2J\n" in (err if expected else out)
    assert (out if expected else err) == ""


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], (False, False, False)),
        (["--unregister", "--new-identity"], (True, True, False)),
        (["--wipe", "--unregister"], (True, False, True)),
    ],
)
async def test_reset(
    controller: SteeredController, directory: Path, flags: list[str], expected: tuple[bool, ...]
) -> None:
    """Pins that the flags arrive, each for itself, and that without them and a terminal nothing is asked of anybody."""
    code, out, err = await run_margod("reset", "--runtime-dir", str(directory), *flags)
    assert (code, out, "--yes" in err, controller.resets) == (2, "", True, [])
    code, out, err = await run_margod("reset", "--yes", "--runtime-dir", str(directory), *flags)
    assert (code, out, err) == (0, "Reset.\n", "")
    names = ("unregister", "new_identity", "wipe")
    assert [tuple(order[name] for name in names) for order in controller.resets] == [expected]


@pytest.mark.parametrize(
    ("flags", "typed", "done"),
    [([], "reset", 1), ([], "yes", 0), (["--wipe"], "reset", 0), (["--wipe"], "wipe", 1), ([], "\x04", 0)],
)
async def test_the_question(
    controller: SteeredController, directory: Path, flags: list[str], typed: str, done: int
) -> None:
    """Pins that on a terminal the word of what is about to happen has to be typed, and nothing else goes on."""
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "margod", "reset", "--runtime-dir", str(directory), *flags),
        stdin=theirs,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(theirs)
    os.write(ours, typed.encode() + (b"" if typed == "\x04" else b"\n"))
    async with asyncio.timeout(30):
        out, error = await process.communicate()
    os.close(ours)
    assert b"Traceback" not in error
    assert (process.returncode, len(controller.resets)) == (0 if done else 1, done)
    assert (b"Reset." in out) is bool(done)
    assert (b"nothing was done" in error) is not bool(done)
