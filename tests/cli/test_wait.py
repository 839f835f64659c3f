"""`margod wait`: for scripts and units."""

from __future__ import annotations

import asyncio
from pathlib import Path

from margod.local import LocalServer
from tests.support.local_api import TIMEOUT, SteeredController, run_margod, serving, start_margod


async def test_already_there(server: LocalServer, controller: SteeredController, directory: Path) -> None:
    """Pins that a state that has been reached ends the wait at once, whatever it is."""
    code, out, err = await run_margod("wait", "--for", "onboarding", "--runtime-dir", str(directory))
    assert (code, err) == (0, "")
    assert out.startswith("onboarding dns-failed ")


async def test_over_a_restart(directory: Path, controller: SteeredController) -> None:
    """Pins that a daemon which is down, comes, goes and comes again is waited for, and that a change is heard."""
    process = await start_margod("wait", "--for", "enrolled", "--timeout", "1m", "--runtime-dir", str(directory))
    async with asyncio.timeout(TIMEOUT):
        for _ in range(2):
            async with serving(directory, controller):
                await controller.until_listeners(1)
        async with serving(directory, controller):
            await controller.until_listeners(1)
            await controller.set(state="enrolled", reason="enrolled")
            out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert out.startswith(b"enrolled enrolled ")


async def test_not_in_time(server: LocalServer, controller: SteeredController, directory: Path) -> None:
    """Pins the exit code of where the device is, and why on standard error."""
    await controller.set(state="pending-approval", message="The WFM waits.")
    code, out, err = await run_margod("wait", "--for", "enrolled", "--timeout", "0s", "--runtime-dir", str(directory))
    assert code == 4
    assert out.startswith("pending-approval ")
    assert err == "margod: enrolled was not reached in time: The WFM waits.\n"


async def test_gone_in_the_end(directory: Path, controller: SteeredController) -> None:
    """Pins 1 when the daemon was heard of, but is down at the timeout."""
    async with asyncio.timeout(TIMEOUT):
        async with serving(directory, controller):  # it has to be heard of in time, however slowly a process begins
            wait = ("wait", "--for", "enrolled", "--timeout", "4s", "--runtime-dir", str(directory))
            process = await start_margod(*wait)
            await controller.until_listeners(1)
        _, err = await process.communicate()
    assert process.returncode == 1
    assert b"No margod answers" in err
