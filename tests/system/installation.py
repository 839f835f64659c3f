"""margod as the README installs it: a virtual environment for /opt/margod, made with the system's own Python.

The locked dependencies are installed once and kept under .cache/; margod itself is built and added for every session.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).parents[2]
PREFIX: Final = "/opt/margod"
SYSTEM_PYTHON: Final = "/usr/bin/python3"

_LOCK: Final = PROJECT / "requirements" / "runtime.lock"
_CACHE: Final = PROJECT / ".cache" / "system-box"

# A virtual environment knows its own path. Under a tmpfs that only this command sees, `$1` is /opt/margod.
_AT_PREFIX: Final = """
set -eu
mount -t tmpfs tmpfs /opt
mkdir /opt/margod
mount --bind "$1" /opt/margod
shift
exec "$@"
"""


def install(target: Path) -> None:
    """Fill the empty folder `target` with what belongs into /opt/margod. Takes seconds, the first time a minute."""
    subprocess.run(["cp", "-a", "--reflink=auto", f"{dependencies()}/.", str(target)], check=True, timeout=60)
    with tempfile.TemporaryDirectory(prefix="margod-wheel-") as scratch:
        wheel = _wheel(Path(scratch))
        _run(_at_prefix(target, f"{PREFIX}/bin/python", *_PIP_INSTALL, "--no-deps", "--no-index", str(wheel)))


_PIP_INSTALL: Final = (
    "-I",
    "-m",
    "pip",
    "install",
    "--quiet",
    "--disable-pip-version-check",
    "--root-user-action=ignore",
)


def dependencies() -> Path:
    """Return the folder with an environment that holds the locked dependencies, made when it is not there."""
    version = subprocess.run([SYSTEM_PYTHON, "-VV"], capture_output=True, check=True, timeout=10).stdout
    ready = _CACHE / hashlib.sha256(version + _LOCK.read_bytes()).hexdigest()[:16]
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.is_dir():
            building = Path(tempfile.mkdtemp(prefix="building-", dir=_CACHE))
            try:
                building.chmod(0o755)
                _run(_at_prefix(building, SYSTEM_PYTHON, "-I", "-m", "venv", PREFIX))
                locked = ("--require-hashes", "--only-binary=:all:", "-r", str(_LOCK))
                _run(_at_prefix(building, f"{PREFIX}/bin/python", *_PIP_INSTALL, *locked))
                building.rename(ready)
            finally:
                shutil.rmtree(building, ignore_errors=True)
    return ready


def _wheel(scratch: Path) -> Path:
    """Build margod's wheel from a copy, so that nothing appears in the working tree."""
    source, out = scratch / "source", scratch / "out"
    shutil.copytree(PROJECT / "margod", source / "margod", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    _run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(out), str(source)])
    return next(out.glob("margod-*.whl"))


def _at_prefix(folder: Path, *command: str) -> list[str]:
    unshared = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _AT_PREFIX, "at-prefix"]
    return [*unshared, str(folder), *command]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd="/")
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
