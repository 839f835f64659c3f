"""An installation without the development WFM, as the Debian package margod is."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import margod

PACKAGE = Path(margod.__file__).parent


@pytest.fixture(scope="module")
def without_devwfm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with margod as it is on a device in the field."""
    folder = tmp_path_factory.mktemp("field")
    shutil.copytree(PACKAGE, folder / "margod", ignore=shutil.ignore_patterns("__pycache__", "devwfm", "demo"))
    for command in ("devwfm", "demo"):  # the pattern leaves out folders and nothing else
        assert not (folder / "margod" / command).exists()
        assert (folder / "margod" / "cli" / f"{command}.py").exists()
    return folder


def margod_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the margod of `folder`; with -S the editable installation that these tests run from is not seen."""
    return subprocess.run(
        [sys.executable, "-S", "-m", "margod", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": f"{folder}:{sysconfig.get_path('purelib')}"},
        cwd=folder,
    )


@pytest.mark.parametrize("command", ["demo", "devwfm", "devwfm list", "devwfm approve 1"])
def test_what_is_not_installed_says_what_to_install(without_devwfm: Path, command: str) -> None:
    """The commands are known, say which package they come from, and end with 1 and no traceback."""
    done = margod_in(without_devwfm, *command.split())
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("margod: The development WFM is not part of this installation.\n  Install")


def test_help_needs_none_of_it(without_devwfm: Path) -> None:
    """`margod --help` lists every command, also those of the other package."""
    done = margod_in(without_devwfm, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "devwfm" in done.stdout
