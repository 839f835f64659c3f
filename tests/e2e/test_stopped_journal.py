"""Standard error that nobody reads: the journal has stopped, the daemon has not."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.daemon import TIMEOUT, Daemon
from tests.support.devwfm import DevWfm

pytestmark = pytest.mark.e2e


def full_pipe() -> tuple[int, int]:
    """Return a pipe into which not one byte more goes."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"\n" * 4096)
    os.set_blocking(writer, True)  # as every process is given its standard error
    return reader, writer


async def test_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    """It starts, onboards, answers and stops all the same; once somebody reads, a line says how many were left out."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        reader, writer = full_pipe()
        command = (sys.executable, "-m", "margod", "run", *daemon.options, "--runtime-dir", str(daemon.runtime))
        process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stderr=writer)
        os.close(writer)
        try:
            code, out, _ = await daemon.command("wait", "--for", "enrolled", "--timeout", "25s")
            assert (code, out.split()[0]) == (0, "enrolled")
            assert (await daemon.get("/v1/health"))["healthy"] is True
            with suppress(BlockingIOError):
                os.set_blocking(reader, False)
                while os.read(reader, 65_536):
                    pass
            assert (await daemon.reload())["result"] == "unchanged"
            line = os.read(reader, 65_536).decode()
            assert "admin-request" in line
            assert int(line.partition("left_out=")[2].split()[0]) > 5
        finally:
            process.terminate()
            async with asyncio.timeout(TIMEOUT):
                assert await process.wait() == 0
            os.close(reader)
