"""A real systemd in a container over an overlay of the running root, with its own network, users and resource limits.

Booted by systemd-nspawn in about a second. What is written inside goes to a tmpfs that ends with the box; the root that
it is laid over is never changed. Works whatever this machine's own PID 1 is, with cgroup v1, v2 or both.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")
_V1: Final = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd", "unified")

# $1 box folder, $2 list of cgroup folders, then systemd-nspawn's own command line. Runs in a mount namespace of its
# own: the tmpfs under the overlay and nspawn's runtime folder vanish with it.
_STAGE: Final = """
set -eu
box=$1; groups=$2; shift 2
for group in $groups; do echo $$ >"$group/cgroup.procs"; done
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn
mount -t tmpfs tmpfs "$box/layers"
mkdir "$box/layers/upper" "$box/layers/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$box/layers/upper,workdir=$box/layers/work" "$box/root"
exec "$@"
"""


class Box:
    """One booted container. `run` executes inside it; `close` ends it and leaves nothing behind."""

    def __init__(self, name: str, binds: Sequence[tuple[Path, str]] = ()) -> None:
        """Boot. `binds` are (folder here, absolute path inside), read-only. Raises BoxError with nspawn's words."""
        self._folder = Path(tempfile.mkdtemp(prefix="margod-box-"))
        self._groups: list[Path] = []
        self._leader = 0
        for part in ("layers", "root"):
            (self._folder / part).mkdir()
        self._log = self._folder / "log"
        try:
            self._groups = _own_cgroups(name)
            self._process = self._boot(name, binds)
            self._wait_for_systemd()
        except BaseException:
            self.close()
            raise

    @property
    def root(self) -> Path:
        """The container's root directory as seen from here, for reading and preparing files."""
        return Path(f"/proc/{self._leader}/root")

    def run(self, *command: str, check: bool = True, timeout: float = 90, text: str = "") -> Result:
        """Execute `command` inside as root, with `text` on its standard input. Raises BoxError unless it ends in 0."""
        inside = ["nsenter", "--target", str(self._leader), "--all", "--", "env", "-i", *_ENVIRONMENT, *command]
        done = subprocess.run(inside, input=text, capture_output=True, text=True, timeout=timeout, check=False)
        if check and done.returncode:
            raise BoxError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def shell(self, script: str, *, check: bool = True, timeout: float = 90) -> Result:
        """Execute a `sh` script inside; as `run`."""
        return self.run("sh", "-euc", script, check=check, timeout=timeout)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Put a file of root's into the box, making its folder."""
        self.run("install", "-D", "-m", f"{mode:o}", "/dev/stdin", path, text=text)

    def close(self) -> None:
        """End the container as a power cut does, and remove its folders."""
        process = getattr(self, "_process", None)
        if process is not None:
            self._power_off(process)
        for group in reversed(self._groups):
            _remove_cgroup(group)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _boot(self, name: str, binds: Sequence[tuple[Path, str]]) -> subprocess.Popen[bytes]:
        nspawn = ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--link-journal=no"]
        nspawn += ["--console=pipe", "--private-network", "--capability=CAP_BPF,CAP_NET_ADMIN,CAP_PERFMON"]
        # What a device's own systemd lets through as well, and nspawn 252 does not know of.
        calls = "bpf landlock_create_ruleset landlock_add_rule landlock_restrict_self"
        nspawn += [f"--system-call-filter={calls}", f"--machine={name}", f"--directory={self._folder / 'root'}"]
        nspawn += [f"--bind-ro={here}:{inside}" for here, inside in binds]
        # After `systemd.unit=` everything is init's, not nspawn's.
        stage = ["sh", "-c", _STAGE, "stage", str(self._folder), " ".join(map(str, self._groups)), *nspawn]
        with self._log.open("wb") as log:
            return subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", *stage, "systemd.unit=basic.target"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=_host_environment(),
            )

    def _wait_for_systemd(self) -> None:
        """Wait for the container's PID 1 and its socket, let it have its limits, wait for the end of the boot."""
        await_true(self._has_booted, 60, lambda: f"the box did not boot:\n{self._log.read_text(errors='replace')}")
        for hierarchy in _V1[:-2]:  # nspawn mounts these read-only: without this no limit of a unit takes effect
            mounted = f"/sys/fs/cgroup/{hierarchy}"
            remount = ["nsenter", "--target", str(self._leader), "--mount", "mount", "-o", "remount,rw,bind", mounted]
            subprocess.run(remount, capture_output=True, check=False, timeout=10)
        self.run("systemctl", "daemon-reexec")
        self.run("systemctl", "is-system-running", "--wait", check=False)

    def _has_booted(self) -> bool:
        if self._process.poll() is not None:
            raise BoxError(f"systemd-nspawn ended:\n{self._log.read_text(errors='replace')}")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    self._leader = int(child)
        return bool(self._leader) and (self.root / "run/systemd/private").is_socket()

    def _power_off(self, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._leader:
                os.kill(self._leader, signal.SIGKILL)  # nothing in it is kept, so no service has to be stopped in order
        try:
            process.wait(30 if self._leader else 0.1)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


class BoxError(Exception):
    """The box did not boot, or a command inside it failed."""


Result = subprocess.CompletedProcess[str]


def await_true(what: Callable[[], object], seconds: float, message: str | Callable[[], str]) -> None:
    """Ask `what` every few hundredths of a second until it holds; BoxError with `message` after `seconds`."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise BoxError(message if isinstance(message, str) else message())
        time.sleep(0.03)


_ENVIRONMENT: Final = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
    "HOME=/root",
)


def _host_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in _ENVIRONMENT)


def _own_cgroups(name: str) -> list[Path]:
    """Make a cgroup for the box in every hierarchy that is mounted, below the one we are in."""
    ours = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, names, path = line.split(":", 2)
        for hierarchy in ["unified"] if number == "0" else names.removeprefix("name=").split(","):
            ours[hierarchy] = path.strip("/")
    if (CGROUPS / "cgroup.controllers").exists():  # version 2 alone
        places = [CGROUPS / ours.get("unified", "") / name]
    else:
        places = [CGROUPS / h / ours.get(h, "") / name for h in _V1 if (CGROUPS / h).is_dir()]
    for place in places:
        place.mkdir(exist_ok=True)
        for limits in ("cpuset.cpus", "cpuset.mems"):
            with contextlib.suppress(OSError):
                (place / limits).write_text((place.parent / limits).read_text())
    return places


def _remove_cgroup(group: Path) -> None:
    """Remove a cgroup and those that the box made below it; what is still busy stays."""
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
