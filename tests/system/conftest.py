"""One box for the whole session, with margod installed in it as the README says."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.system import installation
from tests.system.box import Box
from tests.system.packages import Packages

_PACKAGES: Final = {"systemd-nspawn": "systemd-container", "nsenter": "util-linux", "systemd-analyze": "systemd"}


@pytest.fixture(scope="session")
def installed_box() -> Iterator[Box]:
    """Give a booted box in which systemd/install.sh has run; nothing is started yet."""
    _require_box()
    with tempfile.TemporaryDirectory(prefix="margod-opt-") as folder:
        target = Path(folder) / "margod"
        target.mkdir(mode=0o755)
        installation.install(target)
        name = f"margod-{os.getpid()}"
        box = Box(name, [(target, installation.PREFIX), (installation.PROJECT, "/mnt/margod")])
        try:
            box.run("/mnt/margod/systemd/install.sh")
            yield box
        finally:
            box.close()


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """Give the Debian packages of this margod, and those of a version before it."""
    if shutil.which("dpkg-deb") is None or not Path(installation.SYSTEM_PYTHON).exists():
        pytest.skip("packages are built on the Debian that they are for")
    return Packages(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="module")
def bare_box(packages: Packages) -> Iterator[Box]:
    """Give a booted box without margod, with the packages in /mnt/packages."""
    _require_box()
    box = Box(f"margod-deb-{os.getpid()}", [(packages.folder, "/mnt/packages")])
    try:
        yield box
    finally:
        box.close()


def _require_box() -> None:
    """Skip, or fail in CI, where no box can be made."""
    missing = _missing()
    if missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"tests of the service cannot run: {missing}", pytrace=False)
        pytest.skip(missing)


def _missing() -> str:
    """Return why no box can be made, after having installed what can be; empty when one can."""
    if os.geteuid() != 0:
        return "a box with a real systemd needs root"
    if not Path(installation.SYSTEM_PYTHON).exists():
        return f"no {installation.SYSTEM_PYTHON}"
    packages = {package for tool, package in _PACKAGES.items() if shutil.which(tool) is None}
    if subprocess.run(
        [installation.SYSTEM_PYTHON, "-Ic", "import ensurepip"], capture_output=True, check=False
    ).returncode:
        packages.add("python3-venv")
    problem = _install_packages(sorted(packages)) if packages else ""
    if problem:
        return problem
    mounting = ["unshare", "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if subprocess.run(mounting, capture_output=True, check=False, timeout=10).returncode:
        return "this container may not mount: a box needs CAP_SYS_ADMIN"
    return ""


def _install_packages(packages: list[str]) -> str:
    """Install Debian packages; return what went wrong, or nothing."""
    if shutil.which("apt-get") is None:
        return f"needed for a box with a real systemd: {', '.join(packages)}"
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "-q", "-y", "install", "--no-install-recommends", *packages]
    for command in (["apt-get", "-q", "update"], install):
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=300)
        if done.returncode and command is install:
            return f"`{' '.join(command)}` failed: {done.stderr.strip()[-300:]}"
    return ""
