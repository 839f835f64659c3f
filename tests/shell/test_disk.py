"""The thread that waits for disks, and looks now and then whether a file has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from margod.shell.disk import Disk


async def test_watch() -> None:
    """The question is asked again and again, between other calls too; only a yes reaches the loop, errors are no."""
    disk = Disk()
    answers: Iterator[bool | OSError] = iter([False, OSError(), True])
    asked: list[int] = []
    changed = asyncio.Event()

    def question() -> bool:
        asked.append(1)
        answer = next(answers, False)
        if isinstance(answer, OSError):
            raise answer
        return answer

    disk.watch(question, changed.set, 0.02)
    async with asyncio.timeout(60):
        while not changed.is_set():
            assert await disk.run(lambda: 7) == 7
            await asyncio.sleep(0.001)
    assert len(asked) >= 3
    assert disk.close(5.0)


async def test_calls_do_not_put_a_look_off() -> None:
    """A disk that is busy is looked at all the same: the interval counts from look to look."""
    disk = Disk()
    changed = asyncio.Event()
    disk.watch(lambda: True, changed.set, 0.05)

    async def busy() -> None:
        while not changed.is_set():
            await disk.run(lambda: None)

    async with asyncio.timeout(60):
        await busy()
    assert disk.close(5.0)
