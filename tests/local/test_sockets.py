"""Sockets as files: rights, stale ones, paths that do not do."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from margod.local.sockets import PATH_LIMIT, listen, own_directory, peer_of
from margod.model.errors import MargodError, StateInUse


def mode(path: Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


@pytest.fixture
def run(directory: Path) -> Path:
    directory.mkdir()
    return directory


def test_mode_and_group_are_exact(run: Path) -> None:
    """Pins that the umask neither widens nor narrows the rights."""
    before = os.umask(0o777)
    try:
        listener = listen(run / "a.sock", mode=0o660, gid=os.getgid())
    finally:
        os.umask(before)
    assert mode(run / "a.sock") == 0o660
    assert os.lstat(run / "a.sock").st_gid == os.getgid()
    listener.remove()


def test_never_wider_than_meant(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pins that the file is born with the owner's rights alone, even with no umask at all."""
    born: list[int] = []
    chmod = Path.chmod

    def watched(path: Path, to: int) -> None:
        born.append(mode(path))
        chmod(path, to)

    monkeypatch.setattr(Path, "chmod", watched)
    before = os.umask(0)
    try:
        listener = listen(run / "a.sock", mode=0o660, gid=None)
    finally:
        os.umask(before)
    assert born == [0o600]
    listener.remove()


def test_stale_sockets_are_replaced(run: Path) -> None:
    """Pins that what a killed daemon left behind, under both names, is no obstacle."""
    for name in ("a.sock", "a.sock~"):
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(run / name))
        left.close()
    listener = listen(run / "a.sock", mode=0o600, gid=None)
    caller = socket.socket(socket.AF_UNIX)
    caller.connect(str(run / "a.sock"))
    caller.close()
    listener.remove()
    assert list(run.iterdir()) == []


def test_only_our_own_file_is_removed(run: Path) -> None:
    """Pins that a later daemon's socket survives the end of an earlier one."""
    earlier = listen(run / "a.sock", mode=0o600, gid=None)
    earlier.socket.close()
    later = listen(run / "a.sock", mode=0o600, gid=None)
    earlier.remove()
    assert (run / "a.sock").exists()
    later.remove()
    assert not (run / "a.sock").exists()


def test_a_living_socket_is_not_taken(run: Path) -> None:
    """Pins that a daemon with another state directory is refused, and the first one's socket goes on."""
    first = listen(run / "a.sock", mode=0o600, gid=None)
    with pytest.raises(StateInUse, match="Another margod answers"):
        listen(run / "a.sock", mode=0o600, gid=None)
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(os.fspath(run / "a.sock"))
    first.remove()


def test_other_files_are_left_alone(run: Path) -> None:
    """Pins that a file in the socket's place is named, not overwritten."""
    (run / "a.sock").write_text("mine")
    with pytest.raises(MargodError, match="is not a socket") as caught:
        listen(run / "a.sock", mode=0o600, gid=None)
    assert caught.value.code == "local-socket-failed"
    assert (run / "a.sock").read_text() == "mine"


def test_path_too_long(run: Path) -> None:
    """Pins the bound of unix(7): the longest path works, one more says what to do."""
    longest = run / ("x" * (PATH_LIMIT - 2 - len(os.fsencode(run))))
    listen(longest, mode=0o600, gid=None).remove()
    with pytest.raises(MargodError, match="bytes long") as caught:
        listen(run / (longest.name + "x"), mode=0o600, gid=None)
    assert "local.directory" in caught.value.hint


def test_missing_directory(run: Path) -> None:
    """Pins that a system error names the socket."""
    with pytest.raises(MargodError, match=r"none/a\.sock could not be opened: No such file"):
        listen(run / "none" / "a.sock", mode=0o600, gid=None)


def test_private_directory_is_made_private(run: Path) -> None:
    """Pins 0700 for a new directory and for one that was wider."""
    own_directory(run / "new", mode=0o700)
    (run / "wide").mkdir(mode=0o755)
    own_directory(run / "wide", mode=0o700)
    assert (mode(run / "new"), mode(run / "wide")) == (0o700, 0o700)
    own_directory(run / "new", mode=0o750, gid=os.getgid())
    assert mode(run / "new") == 0o750


def test_private_directory_is_no_link(run: Path) -> None:
    """Pins that a link to somewhere else is refused."""
    (run / "link").symlink_to("/tmp")
    with pytest.raises(MargodError, match="has to be a directory"):
        own_directory(run / "link", mode=0o700)


def test_peer() -> None:
    """Pins that the kernel's word of who called is read right."""
    one, other = socket.socketpair()
    with one, other:
        peer = peer_of(one)
    assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.getuid(), os.getgid())
