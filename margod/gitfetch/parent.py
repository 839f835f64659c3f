"""Runs the child: job in, answer out, both bounded in size and time; whatever happens it does not outlive the call."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import Final

from margod.gitfetch.answer import HEADER_LIMIT, read_answer
from margod.gitfetch.job import MALFORMED, TIMED_OUT, UNREACHABLE, Failed, Fetched, Job

_BOOT: Final = "import sys; sys.path[:] = sys.argv[2:]; from margod.gitfetch.child import main; main(int(sys.argv[1]))"
"""The child finds modules where this process does, wherever margod is installed; its arguments are its parent and those
folders."""
_GONE_WITHIN: Final = 5.0
"""Seconds in which a process that was killed is waited for: one that waits for a disk or a network is gone later."""


async def fetch(job: Job) -> Fetched | Failed:
    """Fetch one branch. Never raises but CancelledError; the child is killed when it returns or is cancelled."""
    try:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-B", "-c", _BOOT, str(os.getpid()), *filter(None, sys.path)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=HEADER_LIMIT,
            env={"LC_ALL": "C.UTF-8"},
            cwd="/",
            start_new_session=True,  # whatever it starts is in its group, which ends as one
        )
    except OSError as error:  # no memory, no more tasks
        return Failed(UNREACHABLE, f"its process cannot be started: {error.strerror or error}")
    try:
        async with asyncio.timeout(job.limits.seconds):
            return await _converse(child, job)
    except TimeoutError:
        return Failed(TIMED_OUT, f"it took longer than {job.limits.seconds:.0f} s")
    except (ValueError, KeyError, TypeError, RecursionError, EOFError):
        return Failed(MALFORMED, "the fetch ended without an answer")
    finally:
        await _ended(child)


async def _converse(child: asyncio.subprocess.Process, job: Job) -> Fetched | Failed:
    assert child.stdin is not None
    assert child.stdout is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        child.stdin.write(job.encode())
        await child.stdin.drain()
        child.stdin.close()
    return await read_answer(child.stdout, job.limits)


async def _ended(child: asyncio.subprocess.Process) -> None:
    """End the child and whatever it started, whatever it said, cancelled or not."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)  # Process.kill would reap it before asyncio does, which then complains
    try:
        await asyncio.wait_for(asyncio.shield(child.wait()), _GONE_WITHIN)
    except TimeoutError:
        child._transport.close()  # type: ignore[attr-defined]  # the pipes, which something may still hold
