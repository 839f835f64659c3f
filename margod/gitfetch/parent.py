"""Runs the child: job in, answer out, both bounded in size and time; whatever happens it does not outlive the call."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import Final

from margod.gitfetch.job import HEADER_LIMIT, MALFORMED, TIMED_OUT, TOO_LARGE, UNREACHABLE, Failed, Fetched, Job, decode

_BOOT: Final = "import sys; sys.path[:] = sys.argv[1:]; from margod.gitfetch.child import main; main()"
"""The child finds modules where this process does, wherever margod is installed; its arguments are those folders."""


async def fetch(job: Job) -> Fetched | Failed:
    """Fetch one branch. Never raises but CancelledError; the child is gone when it returns or is cancelled."""
    try:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-B", "-c", _BOOT, *filter(None, sys.path)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"LC_ALL": "C.UTF-8"},
            cwd="/",
        )
    except OSError as error:  # no memory, no more tasks
        return Failed(UNREACHABLE, f"its process cannot be started: {error.strerror or error}")
    try:
        async with asyncio.timeout(job.limits.seconds):
            answer = await _converse(child, job)
    except TimeoutError:
        return Failed(TIMED_OUT, f"it took longer than {job.limits.seconds:.0f} s")
    finally:
        await _ended(child)
    if answer is None:
        return Failed(TOO_LARGE, "the answer is longer than the files may be")
    try:
        return decode(answer)
    except (ValueError, KeyError, TypeError, RecursionError):
        return Failed(MALFORMED, "the fetch ended without an answer")


async def _converse(child: asyncio.subprocess.Process, job: Job) -> bytes | None:
    assert child.stdin is not None
    assert child.stdout is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        child.stdin.write(job.encode())
        await child.stdin.drain()
        child.stdin.close()
    received = bytearray()
    while data := await child.stdout.read(65_536):
        received += data
        if len(received) > HEADER_LIMIT + job.limits.total:
            return None
    return bytes(received)


async def _ended(child: asyncio.subprocess.Process) -> None:
    """Wait for the child, which ends by itself once it has answered; otherwise it is made to, cancelled or not."""
    if child.returncode is None and child.stdout is not None and not child.stdout.at_eof():
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)  # Process.kill would reap it before asyncio does, which then complains
    await asyncio.shield(child.wait())
