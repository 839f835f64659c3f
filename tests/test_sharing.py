"""How several processes share one run of the tests: nothing twice, nothing left out, and a loss is noticed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.sharing import SHARED, missing

_MODULE = """
import os, pathlib, time, pytest

@pytest.mark.parametrize("n", range(3))
def test(n):
    while len(list(pathlib.Path(os.environ["{shared}"]).glob("*.wanted"))) < 2:
        time.sleep(0.01)  # until the other process is there too
    {deed}
"""


def run(folder: Path, shared: Path, deeds: Sequence[str]) -> list[int]:
    """Let two processes share files that do this; return their exit codes."""
    shared.mkdir()
    folder.mkdir()
    (folder / "conftest.py").write_text("from tests.sharing import pytest_runtestloop\n")
    for number, deed in enumerate(deeds):
        (folder / f"test_{number}.py").write_text(_MODULE.format(shared=SHARED, deed=deed))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    environment = {**os.environ, SHARED: str(shared)}
    both = [
        subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    return [process.wait(60) for process in both]


def test_nothing_twice_and_nothing_left_out(tmp_path: Path) -> None:
    """Every test is run by one process."""
    assert set(run(tmp_path / "tests", tmp_path / "shared", ["pass"] * 6)) <= {0}
    ended = [line for file in (tmp_path / "shared").glob("*.ended") for line in file.read_text().splitlines()]
    assert len(ended) == len(set(ended)) == 18
    assert missing(tmp_path / "shared") == []


def test_what_a_process_leaves_behind_is_noticed(tmp_path: Path) -> None:
    """One that ends in the middle fails, and what it had taken is named."""
    codes = run(tmp_path / "tests", tmp_path / "shared", ["pass", "os._exit(0)", "pass"])
    assert len(codes) == 2
    assert [test for test in missing(tmp_path / "shared") if "test_1.py" in test]
    said = subprocess.run(
        [sys.executable, "-m", "tests.sharing", tmp_path / "shared"],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 1
    assert "never run to its end: " in said.stdout
    assert "not everything ran" in said.stderr
