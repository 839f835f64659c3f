"""What the system says of its clock."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from margod.service import clock


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_as_the_system_header_says(tmp_path: Path) -> None:
    """The status word is read from the place that <sys/timex.h> gives it, on this machine."""
    source, program = tmp_path / "adjtimex.c", tmp_path / "adjtimex"
    source.write_text(
        "#include <stdio.h>\n#include <sys/timex.h>\n"
        'int main(void) { struct timex t = {0}; int r = adjtimex(&t); printf("%d", r != 5 && !(t.status & 0x40)); }\n'
    )
    subprocess.run(["cc", "-o", str(program), str(source)], check=True)
    assert clock.synchronised() is (subprocess.check_output([str(program)]) == b"1")


def test_timesyncd_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd-timesyncd's file counts, whatever the kernel says: it marks the first synchronisation since boot."""
    file = tmp_path / "synchronized"
    file.touch()
    monkeypatch.setattr(clock, "TIMESYNCD", file)
    assert clock.synchronised() is True


def set_to_itself() -> None:
    """Set this machine's clock to what it says, microseconds apart: what the kernel tells of is the setting."""
    try:
        time.clock_settime_ns(time.CLOCK_REALTIME, time.time_ns())
    except PermissionError:
        pytest.skip("this user may not set the clock")


async def test_the_kernel_tells_when_the_clock_is_set() -> None:
    """Each time, and no more after it was closed."""
    told = asyncio.Event()
    watch = clock.StepWatch(told.set)
    assert [watch.works] == [True]
    for _ in range(3):
        set_to_itself()
        async with asyncio.timeout(10):
            await told.wait()
        told.clear()
    watch.close()
    assert [watch.works] == [False]
    set_to_itself()
    await asyncio.sleep(0.05)
    assert not told.is_set()
