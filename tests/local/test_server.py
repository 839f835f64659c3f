"""Start, stop and rights of the two sockets."""

from __future__ import annotations

import asyncio
import grp
import os
import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from margod.local import LocalServer
from margod.model.errors import MargodError
from tests.support.local_api import TIMEOUT, SteeredController, exchange, get, head_and_json, serving
from tests.support.patience import within

NOBODY_IN_PARTICULAR = 61_234
OVERFLOW = 65_534
CALLER = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(sys.argv[1])
except OSError as error:
    sys.exit(type(error).__name__)
s.sendall(b"POST /v1/retry HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
print(s.recv(65536).decode())
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def mode(path: Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


async def call_as(uid: int, path: Path) -> tuple[int | None, str]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *("/usr/bin/env", "python3", "-c", CALLER, str(path)), stdout=pipe, stderr=pipe, user=uid, group=uid
    )
    async with asyncio.timeout(TIMEOUT):
        out, err = await process.communicate()
    return process.returncode, (out + err).decode()


async def test_rights_are_files(server: LocalServer, directory: Path) -> None:
    """Pins the modes: without their groups the sockets are the owner's; the admin one and its directory always."""
    assert mode(directory / "status.sock") == 0o600
    assert (mode(directory / "agent"), mode(directory / "agent" / "agent.sock")) == (0o700, 0o600)
    assert mode(directory / "admin") == 0o700
    assert mode(directory / "admin" / "admin.sock") == 0o600


async def test_the_group_reads(directory: Path, controller: SteeredController) -> None:
    """Pins 0660 and the groups of the status and agent sockets where the system has them."""
    own = grp.getgrgid(os.getgid()).gr_name
    server = LocalServer(directory, controller, group=own, agents=own)
    await server.start()
    found = [os.lstat(directory / name) for name in ("status.sock", "agent/agent.sock", "agent")]
    await server.stop()
    assert [(stat.S_IMODE(one.st_mode), one.st_gid) for one in found] == [
        (0o660, os.getgid()),
        (0o660, os.getgid()),
        (0o750, os.getgid()),
    ]


async def test_a_group_that_the_system_lacks(directory: Path, controller: SteeredController) -> None:
    """Pins that a missing group narrows the rights, does not stop the daemon, and is said once."""
    server = LocalServer(directory, controller, group="no-such-group-here", agents="nor-this-one")
    with capture_logs() as logs:
        for _ in range(2):
            await server.start()
            assert mode(directory / "status.sock") == 0o600
            await server.stop()
    said = [(line["log_level"], line["event"], line["group"]) for line in logs]
    assert said == [("info", "socket-group", "no-such-group-here"), ("info", "socket-group", "nor-this-one")]


async def test_nothing_is_left_behind(directory: Path, controller: SteeredController) -> None:
    """Pins that stopping removes the sockets, can be repeated, and that the same object starts again."""
    server = LocalServer(directory, controller, group=None, agents=None)
    for _ in range(2):
        await server.start()
        status, _, _ = head_and_json(await exchange(directory / "status.sock", get("/v1/health")))
        assert status == 200
        await server.stop()
        await server.stop()
        assert [p for p in directory.rglob("*") if not p.is_dir()] == []


async def test_stopping_does_not_wait_for_listeners(directory: Path, controller: SteeredController) -> None:
    """Pins that open event streams end at a stop, orderly and within its bound."""
    async with serving(directory, controller) as server:
        stream = asyncio.create_task(exchange(directory / "status.sock", get("/v1/events")))
        await controller.until_listeners(1)
        async with within(1.5):
            await server.stop()
        assert (await stream).endswith(b"0\r\n\r\n")
        assert controller.listeners == 0


async def test_a_start_that_fails_leaves_nothing_open(directory: Path, controller: SteeredController) -> None:
    """Pins that the second socket's failure takes the first one down again."""
    directory.mkdir()
    (directory / "admin").write_text("in the way")
    with pytest.raises(MargodError, match="has to be a directory"):
        await LocalServer(directory, controller, group=None, agents=None).start()
    assert sorted(p.name for p in directory.iterdir()) == ["admin", "agent"]


@needs_root
async def test_a_caller_without_the_right(server: LocalServer, directory: Path) -> None:
    """Pins that the kernel keeps another user out of the sockets."""
    directory.parent.chmod(0o755)
    for name in ("status.sock", "agent/agent.sock", "admin/admin.sock"):
        code, said = await call_as(NOBODY_IN_PARTICULAR, directory / name)
        assert (code, said.strip()) == (1, "PermissionError")


@needs_root
async def test_hidden_callers_do_not_administer(
    server: LocalServer, directory: Path, controller: SteeredController
) -> None:
    """Pins that the overflow uid is refused even where file modes would let it in, and others are recorded."""
    for path in (directory.parent, directory, directory / "admin"):
        path.chmod(0o755)
    (directory / "admin" / "admin.sock").chmod(0o666)
    with capture_logs() as logs:
        code, said = await call_as(OVERFLOW, directory / "admin" / "admin.sock")
        assert (code, said.splitlines()[0]) == (0, "HTTP/1.1 403 Forbidden")
        assert "user namespace" in said
        assert "group" not in said
        assert controller.retries == 0
        code, said = await call_as(NOBODY_IN_PARTICULAR, directory / "admin" / "admin.sock")
        assert said.splitlines()[0] == "HTTP/1.1 202 Accepted"
    assert [(entry["event"], entry["uid"]) for entry in logs] == [
        ("admin-refused", OVERFLOW),
        ("admin-request", NOBODY_IN_PARTICULAR),
    ]
