"""margod's processes without the interpreter's start, most of what a short one costs: they are forked.

process = await margod("run", "--config", file, env={**os.environ}, stderr=PIPE)
... process.pid, process.stderr, process.send_signal(SIGTERM), await process.wait() ...

One process for each command makes the imports, once it is wanted, and forks whatever is asked of it from then on;
tests.support.forking is its code. It ends with this process, and with it all that it has forked.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import weakref
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, Final, Self

from tests.support.forking import IMPORTS, LARGEST

_ROOT: Final = Path(__file__).parent.parent.parent
_STOP_TIMEOUT: Final = 30.0
_OF_THE_START: Final = ("PYTHON", "LD_", "MALLOC_", "GLIBC_", "OPENSSL_", "LC_", "LANG", "TZ", "COVERAGE")
"""What variables begin with that are read when a process starts, and not again."""
_LIMITS: Final = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})

Stream = int | IO[Any] | None
"""As asyncio.create_subprocess_exec takes them: PIPE, DEVNULL, a file or its descriptor, None for one's own."""


class Child:
    """A process that was forked. Its face is that of asyncio.subprocess.Process; it is killed if it is let go of."""

    def __init__(self, pid: int, handle: int, told: socket.socket) -> None:
        """`handle` is a pidfd; on `told` its exit code comes."""
        self.pid = pid
        self.returncode: int | None = None
        self.stdout: asyncio.StreamReader | None = None
        self.stderr: asyncio.StreamReader | None = None
        self._handle = handle
        self._close = weakref.finalize(self, os.close, handle)
        self._told = told
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(told, self._end)

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._told)
        with self._told:
            code = self._told.recv(16)
        self.returncode = int(code) if code else -signal.SIGKILL  # who forked it is gone, and it with him
        self._close()
        self._ended.set()

    async def wait(self) -> int:
        """Wait for its end; return the exit code, negative: the signal."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    async def communicate(self) -> tuple[bytes, bytes]:
        """Wait for its end; return what came from its streams."""
        out, err = await asyncio.gather(_rest(self.stdout), _rest(self.stderr))
        await self.wait()
        return out, err

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Zygote:
    """One that forks processes for one command, as many at a time as are asked for."""

    def __init__(self, command: str = "run", *, module: str = "tests.support.forking", **env: str) -> None:
        """Start it, in this process's environment and `env`. `module` is its code."""
        self.environment = {**os.environ, **env}
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # It would end with the thread that starts it, which is this process only where that is the main one.
        with_parent = ["die"] if threading.current_thread() is threading.main_thread() else []
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, command, str(theirs.fileno()), *with_parent],
                stdin=DEVNULL,
                stdout=DEVNULL,
                pass_fds=[theirs.fileno()],
                env=self.environment,
                cwd=_ROOT,
            )

    async def __aenter__(self) -> Self:
        """Have it for a while."""
        return self

    async def __aexit__(self, *_about: object) -> None:
        """End it."""
        self.end()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    def serves(self, environment: Mapping[str, str]) -> bool:
        """Return whether a process that starts in this environment starts as this one did."""
        names = {name for name in {*environment, *self.environment} if name.startswith(_OF_THE_START)}
        return all(environment.get(name) == self.environment.get(name) for name in names)

    async def start(
        self,
        *arguments: str,
        env: Mapping[str, str],
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        limits: Mapping[int, tuple[int, int]] | None = None,
    ) -> Child:
        """Have `margod ARGUMENTS` forked. `limits` are resource limits that it has instead of this process's."""
        order = {
            "arguments": arguments,
            "environment": dict(env),
            "directory": str(Path.cwd()),
            "umask": _umask(),
            "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            "limits": [(number, (limits or {}).get(number) or resource.getrlimit(number)) for number in _LIMITS],
        }
        data = json.dumps(order).encode()
        assert len(data) < LARGEST
        told, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ExitStack() as stack, ExitStack() as failing:
            stack.enter_context(theirs)
            failing.enter_context(told)
            given = [_opened(stack, failing, *each) for each in ((stdin, 0), (stdout, 1), (stderr, 2))]
            socket.send_fds(self._socket, [data], [*(theirs_end for theirs_end, _ in given), theirs.fileno()])
            stack.close()  # what is the child's is its own: the end of a pipe is seen
            pid, handle = await _number(told)
            failing.pop_all()
        child = Child(pid, handle, told)
        child.stdout, child.stderr = [await _reader(ours) for _, ours in given[1:]]
        return child

    def end(self) -> None:
        """End it, and all that it has forked."""
        self._socket.close()
        self._process.wait(_STOP_TIMEOUT)


_zygotes: dict[str, Zygote] = {}


async def margod(
    *arguments: str,
    env: Mapping[str, str],
    prefix: Sequence[str] = (),
    fresh: bool = False,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
) -> asyncio.subprocess.Process | Child:
    """Start `margod ARGUMENTS`, forked where that is the same.

    With `fresh`, behind a `prefix`, for other commands, and where `env` has what counts at the start of an interpreter,
    it is a process from the beginning.
    """
    if not fresh and not prefix and arguments[0] in IMPORTS:
        zygote = _zygotes.get(arguments[0])
        if zygote is None or not zygote.alive:
            zygote = _zygotes[arguments[0]] = Zygote(arguments[0])
        if zygote.serves(env):
            return await zygote.start(*arguments, env=env, stdin=stdin, stdout=stdout, stderr=stderr)
    command = (*prefix, sys.executable, "-m", "margod", *arguments)
    return await asyncio.create_subprocess_exec(*command, env=env, stdin=stdin, stdout=stdout, stderr=stderr)


@atexit.register
def end() -> None:
    """End those that there are."""
    while _zygotes:
        _zygotes.popitem()[1].end()


async def _rest(stream: asyncio.StreamReader | None) -> bytes:
    return b"" if stream is None else await stream.read()


def _umask() -> int:
    found = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Umask:")]
    return int(found[0].split()[1], 8)


def _opened(stack: ExitStack, failing: ExitStack, stream: Stream, number: int) -> tuple[int, IO[bytes] | None]:
    """Return the child's descriptor, and our end if it is a pipe."""
    if stream == DEVNULL:
        return stack.enter_context(Path(os.devnull).open("r+b", 0)).fileno(), None
    if stream == PIPE:
        reading, writing = os.pipe()
        ours = failing.enter_context(os.fdopen(reading, "rb", 0))
        return stack.enter_context(os.fdopen(writing, "wb", 0)).fileno(), ours
    if stream is None:
        return number, None
    return (stream if isinstance(stream, int) else stream.fileno()), None


async def _reader(file: IO[bytes] | None) -> asyncio.StreamReader | None:
    if file is None:
        return None
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    return reader


async def _number(told: socket.socket) -> tuple[int, int]:
    """Wait for the id of a child; return it and its pidfd."""
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(told, came.set)
    try:
        await came.wait()
    finally:
        loop.remove_reader(told)
    data, handles, _, _ = socket.recv_fds(told, 16, 1)
    assert data, "the process that forks has ended: its standard error says why"
    return int(data), handles[0]
