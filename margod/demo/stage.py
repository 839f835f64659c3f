"""The temporary directory and the processes in it: the development WFM, the daemon, and commands for a person.

    <directory>/wfm/          the WFM's CA, clients and requests        wfm.log       what it wrote
    <directory>/margod.yaml   the device's configuration                margod.log    the daemon's journal
    <directory>/state/, run/  the daemon's own                      agent/, agent.log  the example agent's

Whatever was started is ended by its own id when the stage is left, however that happens; then the directory goes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from margod.client import Client, StatusDocument, status_socket
from margod.demo.stopping import Signals
from margod.devwfm.control import call
from margod.devwfm.problems import DevWfmError
from margod.model.errors import DaemonUnreachable, MargodError

STEP: Final = 20.0
"""Seconds that one step may take; on a machine at rest the longest takes one."""
GRACE: Final = 3.0
"""Seconds that a process is given to end after SIGTERM."""
LAST_LINES: Final = 8
"""Lines of each journal that a failure shows."""

_POLL: Final = 0.02
_SOCKET_PATH: Final = 107
"""Bytes of a Unix socket's path (unix(7))."""
_KEPT: Final = ("PATH", "HOME", "LANG", "LANGUAGE", "TERM", "NO_COLOR", "TZ", "TMPDIR", "VIRTUAL_ENV")
_HOPELESS: Final = ("untrusted", "blocked")


class DemoFailed(Exception):
    """A step did not go as it must; the message says which and how."""


class Stage:
    """From `open` to `close`, which goes into a `finally` whose `try` has begun before `open`."""

    def __init__(self, signals: Signals, *, keep: bool) -> None:
        """Nothing is made before `open`."""
        self._signals = signals
        self._keep = keep
        self._children: list[subprocess.Popen[bytes]] = []
        self._daemon: subprocess.Popen[bytes] | None = None
        self._directory: Path | None = None
        self._heard = ""

    @property
    def directory(self) -> Path:
        """The temporary directory."""
        assert self._directory is not None, "not open"
        return self._directory

    @property
    def state(self) -> Path:
        """The daemon's state directory."""
        return self.directory / "state"

    @property
    def journal(self) -> Path:
        """What the daemon wrote, over all its starts."""
        return self.directory / "margod.log"

    def open(self) -> None:
        """Make the directory. OSError if that is not possible."""
        with self._signals.held():
            self._directory = _make_directory()

    def close(self) -> str:
        """End every process, remove the directory unless it is to be kept, and return what became of it in words."""
        self._signals.deafen()
        for child in self._children:
            if child.poll() is None:
                child.terminate()
        for child in self._children:
            try:
                child.wait(GRACE)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if self._directory is None:
            return "Nothing was made."
        if self._keep:
            return f"Kept: {self._directory}"
        try:
            shutil.rmtree(self._directory)
        except OSError as error:
            return f"{self._directory} is left over: {error}"
        return "Its directory is gone."

    def start_wfm(self, *options: str) -> dict[str, Any]:
        """Start the development WFM and return its ready file: url, ca_file, pid and how it was started."""
        child = self._start("wfm.log", "devwfm", "serve", "--directory", str(self._wfm), *options)
        ready = self._wfm / "ready.json"
        deadline = time.monotonic() + STEP
        while not ready.exists():
            if child.poll() is not None:
                raise DemoFailed(f"the development WFM ended with exit code {child.returncode}")
            if time.monotonic() > deadline:
                raise DemoFailed(f"the development WFM was not ready within {STEP:.0f} s")
            time.sleep(_POLL)
        return dict(json.loads(ready.read_bytes()))

    def configure(self, url: str, ca_file: str, *, protocol: str = "signed", polls: bool = False) -> None:
        """Write the device's configuration; `polls`: it asks what is to run on it, every second."""
        lines = (
            f"wfm: {{url: {json.dumps(url)}, protocol: {protocol}}}",
            f"trust: {{ca_file: {json.dumps(ca_file)}}}",
            f"state: {{directory: {json.dumps(str(self.state))}, allow_volatile: true}}",
            f"local: {{directory: {json.dumps(str(self.directory / 'run'))}}}",
            "log: {level: debug}",
            f"schedule: {{polling: {{rate: {'1s' if polls else 'off'}}}}}",
        )
        (self.directory / "margod.yaml").write_text("\n".join([*lines, ""]))

    def start_daemon(self) -> int:
        """Start the daemon and return its process id; `until` waits for it."""
        self._daemon = self._start("margod.log", "run", "--config", str(self.directory / "margod.yaml"))
        return self._daemon.pid

    def start_agent(self) -> Path:
        """Start the example agent and return its folder."""
        folder = self.directory / "agent"
        with (self.directory / "agent.log").open("ab") as out, self._signals.held():
            self._popen((str(folder),), stdout=out, stderr=out, module="margod.demo.example_agent")
        return folder

    def kill_daemon(self) -> int:
        """SIGKILL the daemon; return how it ended (negative: the signal)."""
        assert self._daemon is not None
        self._daemon.kill()
        return self._daemon.wait(STEP)

    def until(self, reached: Callable[[StatusDocument], bool], what: str) -> StatusDocument:
        """Follow the daemon's events until one is as wanted and return it.

        DemoFailed if that takes longer than `STEP`, if the daemon ends, or if it can go no further by itself.
        """
        status = self.within(STEP, reached, what)
        if status is None:
            raise DemoFailed(f"{what}: not within {STEP:.0f} s; {self._heard}")
        return status

    def within(self, seconds: float, reached: Callable[[StatusDocument], bool], what: str) -> StatusDocument | None:
        """Do as `until`, but return None after `seconds`."""
        deadline = time.monotonic() + seconds
        client = Client(status_socket(str(self.directory / "run")))
        self._heard = "the daemon never answered"
        while (left := deadline - time.monotonic()) > 0:
            try:
                for status in client.events(left):
                    self._heard = f"the daemon is {status['state']}: {status['message']} {status['detail']}".rstrip()
                    if reached(status):
                        return status
                    if status["state"] in _HOPELESS:
                        raise DemoFailed(f"{what}: {self._heard}")
            except DaemonUnreachable:
                time.sleep(_POLL)
            if self._daemon is not None and self._daemon.poll() is not None:
                raise DemoFailed(f"{what}: the daemon ended with exit code {self._daemon.returncode}")
        return None

    def wfm(self, method: str, path: str) -> Any:
        """Ask the WFM's control socket."""
        return call(self._wfm, method, path)

    def command(self, *arguments: str, shown: bool = False) -> tuple[int, str]:
        """Run `margod ARGUMENTS` as a person would; return exit code and output (with `shown`: it goes to ours)."""
        with self._signals.held():
            child = self._popen(
                arguments, stdout=None if shown else subprocess.PIPE, stderr=None if shown else subprocess.STDOUT
            )
        try:
            out, _ = child.communicate(timeout=STEP)
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"`margod {' '.join(arguments)}` did not end within {STEP:.0f} s") from None
        return child.returncode, (out or b"").decode("utf-8", "replace")

    def carried_out(self, *arguments: str) -> str:
        """Run `margod ARGUMENTS` and return what it said. DemoFailed unless it ends in 0."""
        code, said = self.command(*arguments)
        if code:
            raise DemoFailed(f"`margod {' '.join(arguments[:2])}` ended with exit code {code}: {said}")
        return said

    def journals(self) -> list[tuple[str, list[str]]]:
        """Return the last lines of what the daemon and the WFM wrote."""
        if self._directory is None:
            return []
        files = (
            ("the daemon's journal", self.journal),
            ("the development WFM's log", self.directory / "wfm.log"),
            ("what the agent said", self.directory / "agent.log"),
        )
        return [(name, _last_lines(file)) for name, file in files if file.exists()]

    @property
    def _wfm(self) -> Path:
        return self.directory / "wfm"

    def _start(self, log: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.directory / log).open("ab") as out, self._signals.held():
            return self._popen(arguments, stdout=out, stderr=out)

    def _popen(
        self, arguments: tuple[str, ...], *, stdout: Any, stderr: Any, module: str = "margod"
    ) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(  # noqa: S603 - our own program, with arguments that are ours
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**_clean(os.environ), "MARGOD_RUNTIME_DIR": str(self.directory / "run")},
            start_new_session=True,  # Ctrl-C is ours alone: it must not reach them before us
        )
        self._children.append(child)
        return child


def explained(error: Exception) -> str:
    """Return an error in words, whatever it is."""
    match error:
        case MargodError():
            return f"{error.message} {error.hint}".rstrip()
        case DemoFailed() | DevWfmError() | OSError():
            return str(error)
        case _:
            return f"an error that nobody foresaw, {type(error).__name__}: {error}"


def _make_directory() -> Path:
    path = Path(tempfile.mkdtemp(prefix="margod-demo-"))
    if len(os.fsencode(path / "run/admin/admin.sock")) > _SOCKET_PATH:
        path.rmdir()
        path = Path(tempfile.mkdtemp(prefix="margod-demo-", dir="/tmp"))
    return path


def _clean(env: Mapping[str, str]) -> dict[str, str]:
    """Return what our processes need of the environment: nothing that configures them or decides whom TLS trusts."""
    return {name: value for name, value in env.items() if name in _KEPT or name.startswith(("LC_", "PYTHON"))}


def _last_lines(file: Path) -> list[str]:
    with file.open(encoding="utf-8", errors="replace") as lines:
        return [line.rstrip("\n") for line in deque(lines, LAST_LINES)]
