"""A child that somebody has taken over: what it can still do, and that it is gone with the fetch and the daemon."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from margod.gitfetch import Failed, Job, Limits, fetch, parent

JOB = Job("https://localhost:1/device.git", "main", "", "oauth2", "token-1", limits=Limits(seconds=60.0))
OK = '{"commit":"%s","rewound":false,"notes":[],"files":null}' % ("a" * 40)
LANDLOCK = ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint(1)) > 0


def gone(pid: int) -> bool:
    """Return whether no process of this id is left, in some seconds."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize(
    "after",
    [
        "os.close(1); time.sleep(1000)",
        "pid = os.fork() or time.sleep(1000); note(pid); os._exit(0)",
        "pid = os.fork() or (os.close(1), time.sleep(1000)); note(pid); os._exit(0)",
        "pid = os.fork() or (os.close(1), time.sleep(1000)); note(pid); os.close(1); time.sleep(1000)",
    ],
    ids=["stays", "fork holds the pipe", "fork", "both stay"],
)
async def test_nothing_outlives_a_fetch(after: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it says, and whether it ends or not: the process and what it started are gone when the fetch is over."""
    notes = tmp_path / "pids"
    boot = (
        f"import os, signal, sys, time; note = lambda pid: open({str(notes)!r}, 'a').write(f'{{pid}}\\n')\n"
        "note(os.getpid()); sys.stdin.buffer.read()\n"
        f"os.write(1, b'{OK}\\n')\n{after}"
    )
    monkeypatch.setattr(parent, "_BOOT", boot)
    # What is held open ends by this, and whoever holds it has to have begun by then.
    limits = Limits(seconds=8.0 if after.startswith("pid = os.fork() or time") else 60.0)
    async with asyncio.timeout(50):
        await fetch(Job(JOB.url, "main", "", "oauth2", "token-1", limits=limits))
    pids = [int(line) for line in notes.read_text().split()]
    assert len(pids) == (1 if after.startswith("os.close") else 2)
    assert all(gone(pid) for pid in pids)


async def test_a_wait_for_what_holds_the_pipe_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What left the group (root may) is not waited for longer than is bounded."""
    notes = tmp_path / "pid"
    boot = (
        "import os, sys, time; sys.stdin.buffer.read()\n"
        "if not os.fork():\n    os.setsid()\n"
        f"    open({str(notes)!r}, 'w').write(str(os.getpid()))\n    time.sleep(1000)\n"
        "time.sleep(1000)"
    )
    monkeypatch.setattr(parent, "_BOOT", boot)
    monkeypatch.setattr(parent, "_GONE_WITHIN", 0.5)
    try:
        async with asyncio.timeout(50):
            result = await fetch(Job(JOB.url, "main", "", "oauth2", "token-1", limits=Limits(seconds=8.0)))
        assert isinstance(result, Failed)
        assert result.code == "timed-out"
    finally:
        os.kill(int(notes.read_text()), signal.SIGKILL)


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    """A daemon that is killed while its child waits for the job leaves none."""
    starts = (
        "import os, subprocess, sys, time; from margod.gitfetch import parent\n"
        "child = subprocess.Popen([sys.executable, '-c', parent._BOOT, str(os.getpid()), *sys.path],"
        " stdin=int(sys.argv[1]), pass_fds=[int(sys.argv[1])], start_new_session=True)\n"
        "print(child.pid, flush=True); time.sleep(1000)"
    )
    read, write = os.pipe()  # this process holds the pipe's other end: its end does not tell the child
    daemon = subprocess.Popen([sys.executable, "-c", starts, str(read)], stdout=subprocess.PIPE, pass_fds=[read])
    try:
        assert daemon.stdout is not None
        child = int(daemon.stdout.readline())
        until = time.monotonic() + 60
        while b"pipe_read" not in waits(child) and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(child, 0)
    finally:
        daemon.kill()
        daemon.wait()
        daemon.stdout.close()  # type: ignore[union-attr]
    assert gone(child)
    os.close(read)
    os.close(write)


def waits(pid: int) -> bytes:
    """Return in what of the kernel's a process waits."""
    return Path(f"/proc/{pid}/wchan").read_bytes()


def test_without_its_parent_it_does_not_begin() -> None:
    """It was gone before the child could ask to be told."""
    done = subprocess.run(
        [sys.executable, "-c", parent._BOOT, "1", *sys.path], input=JOB.encode(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_from_any_folder() -> None:
    """margod may be found by an importer of its own, as an editable install is: its folder is in no list of folders."""
    script = (
        "import asyncio, sys; from margod.gitfetch import Job, fetch;"
        "print(asyncio.run(fetch(Job.decode(sys.stdin.buffer.read()))).code)"
    )
    given = [sys.executable, "-I", "-c", script]
    done = subprocess.run(given, input=JOB.encode(), capture_output=True, check=True, cwd="/")
    assert done.stdout == b"untrusted\n", "it came as far as the root CA, which this job has none of"


_TRIES = """
import json, os, socket, sys
from margod.gitfetch.confine import confine
from margod.gitfetch.job import Job
job, state, ca, daemon = Job.decode(sys.stdin.buffer.read()), *sys.argv[1:]
found = {"kernel": confine(job)}

def attempt(name, call):
    try:
        call()
        found[name] = "ok"
    except OSError as error:
        found[name] = type(error).__name__

def connect(port):
    with socket.create_connection(("127.0.0.1", port)):
        pass

attempt("read a key", lambda: open(state).read())
attempt("list the state", lambda: os.listdir(os.path.dirname(state)))
attempt("make a file", lambda: open(state + ".new", "w"))
attempt("empty a key", lambda: os.truncate(state, 0))
attempt("remove a key", lambda: os.unlink(state))
attempt("memory of the daemon", lambda: open(f"/proc/{daemon}/mem", "rb"))
attempt("environment of the daemon", lambda: open(f"/proc/{daemon}/environ", "rb"))
attempt("configuration", lambda: open("/etc/shadow"))
attempt("execute", lambda: os.execv("/bin/true", ["true"]))
attempt("signal", lambda: os.kill(int(daemon), 0))
attempt("connect elsewhere", lambda: connect(2))
attempt("connect", lambda: connect(1))
attempt("anchors", lambda: open(ca).read())
attempt("names", lambda: socket.getaddrinfo("localhost", 1))
attempt("hosts", lambda: open("/etc/hosts").read())
attempt("more of Python", lambda: __import__("xml.dom.minidom"))
print(json.dumps(found))
"""


def test_what_it_may_not_do(tmp_path: Path) -> None:
    """No key, no memory of the daemon, nothing written or executed, one port; what a fetch needs is there.

    A kernel without Landlock denies none of it, and the fetch is told so.
    """
    key, anchors = tmp_path / "state" / "key.pem", tmp_path / "anchors" / "ca.pem"
    for file in (key, anchors):
        file.parent.mkdir()
        file.write_text("secret")
    job = Job(JOB.url, "main", "", "oauth2", "token-1", system=(str(anchors), ""))
    given = [sys.executable, "-c", _TRIES, str(key), str(anchors), str(os.getpid())]
    done = subprocess.run(given, input=job.encode(), capture_output=True, check=True)
    found = json.loads(done.stdout)
    version = ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    allowed = {"anchors", "names", "hosts", "more of Python"}
    assert {name: found.pop(name) for name in allowed} == dict.fromkeys(allowed, "ok")
    assert found.pop("kernel") is LANDLOCK
    if not LANDLOCK:
        return
    assert found.pop("connect") == "ConnectionRefusedError", "nobody listens there, and it may ask"
    if version < 4:
        found.pop("connect elsewhere")
    if version < 6:
        found.pop("signal")
    if version < 3:
        found.pop("empty a key")
    assert found == dict.fromkeys(found, "PermissionError")
    assert key.read_text() == "secret"
