"""A namespace of mounts of a test's own, alive for as long as the test wants; needs root."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


class Mounts:
    """The namespace that process `pid` holds."""

    def __init__(self, pid: int) -> None:
        """Take a living one; see `mounts`."""
        self.prefix = ["nsenter", f"--mount=/proc/{pid}/ns/mnt"]
        """The command that runs the one after it there."""

    def run(self, *command: str) -> None:
        """Run a command there, to its end."""
        done = subprocess.run([*self.prefix, *command], capture_output=True, check=False, timeout=30)
        assert done.returncode == 0, done.stderr.decode(errors="replace")


@contextmanager
def mounts() -> Iterator[Mounts]:
    """Make one; what is mounted in it is gone with it."""
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo made; exec cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"made\n"
        yield Mounts(holder.pid)
        assert holder.stdin is not None
        holder.stdin.close()
