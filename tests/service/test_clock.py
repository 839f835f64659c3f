"""What the system says of its clock."""

from __future__ import annotations

import shutil
import subprocess
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
