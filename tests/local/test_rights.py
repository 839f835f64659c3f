"""Who may do what on which socket: by user and group, as real users, and from a container that was given one."""

from __future__ import annotations

import asyncio
import grp
import json
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from margod.local import LocalServer
from tests.support.local_api import SteeredController

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

OPERATOR, AGENT, STRANGER, NOBODY = 61_231, 61_232, 61_233, 65_534
SOCKETS = ("status.sock", "agent/agent.sock", "admin/admin.sock")
ASKED = ("GET /v1/status", "GET /v1/wfm/x", "POST /v1/retry")
CALLER = """
import json, os, socket, sys
def ask(path, line):
    s = socket.socket(socket.AF_UNIX)
    try:
        s.connect(path)
    except OSError as error:
        return type(error).__name__
    s.sendall(f"{line} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n".encode())
    return int(s.recv(65536).split()[1])
root, sockets, asked = sys.argv[1], *map(json.loads, sys.argv[2:])
print(json.dumps([[ask(f"{root}/{name}", line) for line in asked] for name in sockets]))
print(json.dumps([os.getuid(), sorted(os.listdir(root))]))
"""
CONTAINER = """
set -e
mount -t tmpfs none "$1"
mkdir -p "$1/usr" "$1/run/margod/agent"
mount --rbind /usr "$1/usr"
for each in bin lib lib64; do ln -s "usr/$each" "$1/$each"; done
mount --bind "$2/agent" "$1/run/margod/agent"
root=$1
shift 2
exec chroot "$root" /usr/bin/python3 -c "$@"
"""


@pytest.fixture
def groups() -> tuple[grp.struct_group, grp.struct_group]:
    """Two groups of this system, for readers and for agents."""
    found = [group for group in grp.getgrall() if group.gr_gid not in (0, NOBODY)]
    return found[0], found[1]


@pytest.fixture
async def socketed(
    directory: Path, controller: SteeredController, groups: tuple[grp.struct_group, grp.struct_group]
) -> AsyncIterator[Path]:
    """Sockets with their groups, in a directory that anybody may enter."""
    readers, agents = groups
    server = LocalServer(directory, controller, group=readers.gr_name, agents=agents.gr_name)
    directory.parent.chmod(0o755)
    await server.start()
    yield directory
    await server.stop()


async def as_user(uid: int, gids: Sequence[int], *command: str) -> tuple[list[list[int | str]], int, list[str]]:
    """Run a caller as this user in these groups; return what each socket said to each request, uid and directory."""
    pipe = asyncio.subprocess.PIPE
    first, *rest = gids or (uid,)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=pipe, stderr=pipe, user=uid, group=first, extra_groups=rest, cwd="/"
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    said, about = out.decode().splitlines()
    uid, listed = json.loads(about)
    return json.loads(said), uid, listed


async def call(directory: Path, uid: int, *gids: int) -> list[list[int | str]]:
    """Ask every socket for everything as this user."""
    arguments = (str(directory), json.dumps(SOCKETS), json.dumps(ASKED))
    return (await as_user(uid, gids, "/usr/bin/python3", "-c", CALLER, *arguments))[0]


DENIED = ["PermissionError"] * 3
READS, WORKS, RULES = [200, 404, 404], [200, 404, 404], [200, 404, 202]


async def test_by_user_and_group(
    socketed: Path, controller: SteeredController, groups: tuple[grp.struct_group, grp.struct_group]
) -> None:
    """Readers read, agents have the door too, root administers; nobody reaches a socket that is not his."""
    readers, agents = (group.gr_gid for group in groups)
    assert await call(socketed, STRANGER) == [DENIED, DENIED, DENIED]
    assert await call(socketed, OPERATOR, readers) == [READS, DENIED, DENIED]
    assert controller.asked == [], "no door on the status socket"
    assert await call(socketed, AGENT, agents) == [DENIED, WORKS, DENIED]
    assert [asked.uid for asked, _ in controller.asked] == [AGENT]
    assert await call(socketed, AGENT, AGENT, agents, readers) == [READS, WORKS, DENIED]
    assert controller.retries == 0, "agents do not administer"
    assert await call(socketed, 0, 0) == [READS, WORKS, RULES]
    assert controller.retries == 1


async def test_uid_65534_on_the_agent_socket(
    socketed: Path, controller: SteeredController, groups: tuple[grp.struct_group, grp.struct_group]
) -> None:
    """Whom a user namespace hides is admitted by the socket's mode, as everybody is, and is nobody's user to a rule."""
    assert await call(socketed, NOBODY, groups[1].gr_gid) == [DENIED, WORKS, DENIED]
    assert [(asked.uid, asked.gid) for asked, _ in controller.asked] == [(NOBODY, groups[1].gr_gid)]


@pytest.mark.parametrize("rootless", [False, True])
async def test_from_a_container(
    socketed: Path,
    controller: SteeredController,
    groups: tuple[grp.struct_group, grp.struct_group],
    tmp_path: Path,
    rootless: bool,
) -> None:
    """With the agent's directory alone, a container has the agent socket and nothing else; its user is the host's."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not there")
    root = tmp_path / "root"
    for path in (tmp_path, *tmp_path.parents):  # one level more where several processes share the tests
        if path.stat().st_mode & 0o777 == 0o700:
            path.chmod(0o755)
    root.mkdir()
    namespaces = ["unshare", "--mount", "--pid", "--fork"]
    uid, gid = (AGENT, groups[1].gr_gid) if rootless else (0, 0)
    namespaces += ["--user", "--map-root-user"] if rootless else []
    os.chown(root, uid, gid)
    arguments = ("/run/margod", json.dumps(SOCKETS), json.dumps(ASKED))
    command = (*namespaces, "/bin/sh", "-c", CONTAINER, "sh", str(root), str(socketed), CALLER, *arguments)
    said, inside, listed = await as_user(uid, (gid,), *command)
    assert said == [["FileNotFoundError"] * 3, WORKS, ["FileNotFoundError"] * 3]
    assert (inside, listed) == (0, ["agent"])
    assert [(asked.uid, asked.gid) for asked, _ in controller.asked] == [(uid, gid)]
    assert controller.retries == 0
