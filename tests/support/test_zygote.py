"""A process that is forked is as one that was started, and none is left."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support import zygote as module
from tests.support.zygote import Child, Zygote, margod

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parent.parent.parent
PROBE = "tests.support.probe"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "ONLY_HERE": "yes"}
TIMEOUT = 30.0
KEEPS_ONE = """
import asyncio, os
from tests.support.zygote import PIPE, Zygote
async def main():
    zygote = Zygote(module="tests.support.probe")
    child = await zygote.start("hang", env=os.environ, stdout=PIPE)
    await child.stdout.readline()
    print(zygote.pid, child.pid, flush=True)
    await child.wait()
asyncio.run(main())
"""


@pytest.fixture
async def zygote() -> AsyncIterator[Zygote]:
    """One whose children are probes."""
    async with Zygote(module=PROBE) as zygote:
        yield zygote


async def look(zygote: Zygote, limits: dict[int, tuple[int, int]] | None = None) -> Child:
    """Return a child that says what it finds."""
    return await zygote.start("look", env=ENVIRONMENT, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, limits=limits)


async def said(process: Child | asyncio.subprocess.Process) -> dict[str, Any]:
    """Return what a probe finds."""
    async with asyncio.timeout(TIMEOUT):
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"error\n")
    return dict(json.loads(out))


async def hanging(zygote: Zygote) -> Child:
    """Return a child that does not end by itself."""
    child = await zygote.start("hang", env=ENVIRONMENT, stdout=PIPE)
    assert child.stdout is not None
    assert await child.stdout.readline() == b"hangs\n"
    return child


async def gone(*pids: int) -> None:
    """Wait until no process has one of these ids."""
    async with asyncio.timeout(TIMEOUT):
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            await asyncio.sleep(0.02)  # whose child it is not is told by nobody


async def test_as_a_process_of_its_own(zygote: Zygote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that it inherits is the asker's: environment, directory, descriptors, mask, handlers, umask, limits."""
    await said(await look(zygote))
    monkeypatch.chdir(tmp_path)
    umask, (soft, hard) = os.umask(0o027), resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (4096, hard))
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR2,))
    try:
        forked = await look(zygote)
        started = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", PROBE, "look"), env=ENVIRONMENT, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGUSR2,))
        os.umask(umask)
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    found, wanted = await said(forked), await said(started)
    assert found.pop("random") != wanted.pop("random")
    assert found == wanted
    assert (found["directory"], found["umask"], found["core"]) == (str(tmp_path), 0o027, [4096, hard])
    assert found["environment"]["ONLY_HERE"] == "yes"
    assert found["descriptors"] == [0, 1, 2]


async def test_random_numbers_of_its_own(zygote: Zygote) -> None:
    """No two children throw the same dice, in whatever order they are asked for."""
    probes = [await zygote.start("look", env=ENVIRONMENT, stdin=DEVNULL, stdout=PIPE, stderr=PIPE) for _ in range(4)]
    assert len({(await said(each))["random"] for each in probes}) == 4


async def test_ends(zygote: Zygote) -> None:
    """The exit code is told, and a signal as the negative of its number; children beside it are not disturbed."""
    stays = await hanging(zygote)
    for code in (0, 75, 78):
        assert await (await zygote.start("end", str(code), env=ENVIRONMENT)).wait() == code
    for number in (signal.SIGTERM, signal.SIGKILL):
        child = await hanging(zygote)
        child.send_signal(number)
        assert await child.wait() == child.returncode == -number
        child.send_signal(number)  # nobody has it any more
    assert stays.returncode is None
    assert Path(f"/proc/{stays.pid}").exists()


async def test_ctrl_c(zygote: Zygote) -> None:
    """SIGINT is for the children, as for any Python; who forks them goes on."""
    child = await hanging(zygote)
    os.kill(zygote.pid, signal.SIGINT)
    child.send_signal(signal.SIGINT)
    assert await child.wait() == -signal.SIGINT  # as Python ends by a KeyboardInterrupt that nobody catches
    assert await (await zygote.start("end", "3", env=ENVIRONMENT)).wait() == 3


async def test_limits_of_its_own(zygote: Zygote) -> None:
    """A limit that was asked for is the child's alone."""
    assert (await said(await look(zygote, {resource.RLIMIT_CPU: (77, 78)})))["processor"] == [77, 78]
    assert (await said(await look(zygote)))["processor"] == list(resource.getrlimit(resource.RLIMIT_CPU))


async def test_nothing_is_left_at_the_end() -> None:
    """With the zygote go its children, whether it ends or is killed, and then they count as killed, too."""
    for kill in (False, True):
        zygote = Zygote(module=PROBE)
        children = [await hanging(zygote), await hanging(zygote)]
        if kill:
            os.kill(zygote.pid, signal.SIGKILL)
        zygote.end()
        async with asyncio.timeout(TIMEOUT):
            assert [await child.wait() for child in children] == [-signal.SIGKILL] * 2
        await gone(zygote.pid, *(child.pid for child in children))


async def test_who_does_not_wait_for_the_id(zygote: Zygote) -> None:
    """Nobody has what was asked for then: it is killed."""
    asking = asyncio.ensure_future(hanging(zygote))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert asking.cancelled()
    async with asyncio.timeout(TIMEOUT):
        assert await (await zygote.start("end", "0", env=ENVIRONMENT)).wait() == 0  # all before it is forked, too
        while Path(f"/proc/{zygote.pid}/task/{zygote.pid}/children").read_text():
            await asyncio.sleep(0.02)  # as above


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_child_that_is_let_go_of() -> None:
    """It is killed, as a subprocess is."""
    zygote = Zygote(module=PROBE)

    async def begin() -> int:
        return (await hanging(zygote)).pid

    pid = asyncio.run(begin())
    gc.collect()
    asyncio.run(gone(pid))
    zygote.end()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_nothing_is_left_of_an_asker(number: signal.Signals) -> None:
    """However a process ends that has one: it goes, too, and all its children."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KEEPS_ONE), env=ENVIRONMENT, stdout=PIPE, stderr=DEVNULL
    )
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT):
        pids = [int(pid) for pid in (await process.stdout.readline()).split()]
        process.send_signal(number)
        await process.communicate()
    assert len(pids) == 2
    await gone(*pids)


async def test_what_is_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """margod itself, unless its start would be another one: then it is a process from the beginning."""
    monkeypatch.setattr(module, "_zygotes", {})
    try:
        start = partial(margod, "run", "--nonsense", stdout=DEVNULL, stderr=PIPE)
        forked = await start(env=os.environ)
        assert isinstance(forked, Child)
        started = [
            await start(env=os.environ, fresh=True),
            await start(env=os.environ, prefix=["nice"]),
            await start(env={**os.environ, "LD_PRELOAD": ""}),
            await start(env={**os.environ, "PYTHONUTF8": "1"}),
        ]
        assert not [process for process in started if isinstance(process, Child)]
        _, text = await forked.communicate()
        assert text.startswith(b"usage: margod run ")
        for process in started:
            assert (await process.communicate())[1] == text
            assert process.returncode == forked.returncode == 2
    finally:
        module.end()
