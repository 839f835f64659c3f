"""`margod retry` and `margod reload`."""

from __future__ import annotations

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
