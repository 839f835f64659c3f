"""The state directory as it should not be: each case is an error that says what to do, and nothing is changed."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from margod.model.errors import StateInUse, StateNotWritable, StateUnusable
from margod.model.reasons import STATE_IN_USE, STATE_NOT_WRITABLE, STATE_UNUSABLE
from margod.vault import Vault
from tests.vault.support import IDENTITY, answer, enrolled, opened, snapshot

AS_ROOT = os.geteuid() == 0
HOLDER = """
import sys
from pathlib import Path
from margod.vault import Vault
vault = Vault.open(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    if not AS_ROOT:
        pytest.skip("needs root to mount a small tmpfs")
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.decode(errors='replace').strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_missing_parent(tmp_path: Path) -> None:
    """Only the directory itself is ever made; for more there is a command."""
    with pytest.raises(StateUnusable, match=r"does not exist: `mkdir -p .*install -d -o \w+ -m 0700 ") as caught:
        Vault.open(tmp_path / "no" / "margod")
    assert caught.value.reason is STATE_UNUSABLE
    assert not (tmp_path / "no").exists()


def test_mode_0755_and_its_mending_command(tmp_path: Path) -> None:
    """A directory that others may enter is refused; running the command from the message mends it."""
    directory = tmp_path / "margod"
    enrolled(directory)
    directory.chmod(0o755)
    before = snapshot(directory)
    with pytest.raises(StateUnusable, match=r"has mode 0755: `chmod 0700 ") as caught:
        Vault.open(directory)
    assert snapshot(directory) == before
    command = re.search(r"`(.*)`", caught.value.message)
    assert command
    subprocess.run(["sh", "-c", command[1]], check=True)
    with opened(directory) as vault:
        assert vault.records["enrolment.json"] == b"client-1"


@pytest.mark.parametrize("name", ["gen-000002", "gen-000002/identity.key", "gen-000002/manifest.json", "answer.log"])
def test_exposed_parts_are_refused_with_their_command(name: str, tmp_path: Path) -> None:
    """A record, log or generation that others may read blocks, names itself, and is not moved away."""
    directory = tmp_path / "margod"
    enrolled(directory)
    (directory / name).chmod(0o755)
    before = snapshot(directory)
    with pytest.raises(StateUnusable, match=rf"{name} has mode 0755: `chmod 0[67]00 .*{name}`"):
        Vault.open(directory)
    assert snapshot(directory) == before


def test_wrong_owner(tmp_path: Path) -> None:
    """A directory of another user is refused with the command, whatever its mode."""
    directory = tmp_path / "margod"
    if AS_ROOT:
        directory.mkdir(mode=0o700)
        os.chown(directory, 65534, 65534)
    else:
        directory = Path("/usr")
    with pytest.raises(StateUnusable, match=r"belongs to \w+, not to \w+: `chown \w+: "):
        Vault.open(directory)


def test_a_record_of_another_owner(tmp_path: Path) -> None:
    """Also one file of another user inside blocks, instead of reading as damage."""
    if not AS_ROOT:
        pytest.skip("needs root to give a file away")
    enrolled(tmp_path / "margod")
    os.chown(tmp_path / "margod/gen-000002/identity.key", 65534, 65534)
    with pytest.raises(StateUnusable, match=r"identity.key belongs to "):
        Vault.open(tmp_path / "margod")
    assert not (tmp_path / "margod/quarantine").exists()


@pytest.mark.parametrize("kind", ["file", "fifo", "symlink", "dangling", "loop"])
def test_something_else_in_its_place(kind: str, tmp_path: Path) -> None:
    """A file, FIFO or symbolic link is not followed, opened, replaced or removed."""
    directory, elsewhere = tmp_path / "margod", tmp_path / "elsewhere"
    if kind == "file":
        directory.write_text("precious")
    elif kind == "fifo":
        os.mkfifo(directory)
    else:
        if kind == "symlink":
            elsewhere.mkdir(mode=0o700)
        directory.symlink_to(directory if kind == "loop" else elsewhere)
    with pytest.raises(StateUnusable, match="not a directory" if kind in ("file", "fifo") else "symbolic link"):
        Vault.open(directory)
    assert directory.is_symlink() or not directory.is_dir()
    assert not elsewhere.exists() or list(elsewhere.iterdir()) == []


def test_a_file_where_the_parent_should_be(tmp_path: Path) -> None:
    """ENOTDIR is an error for a person as well."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnusable, match="Not a directory"):
        Vault.open(tmp_path / "file" / "margod")


def test_another_process_holds_the_lock(tmp_path: Path) -> None:
    """The second margod is told so, until the first is gone; deleting the lock file does not let it in."""
    directory = tmp_path / "margod"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        try:
            assert holder.stdout.readline() == b"held\n"
            for _ in range(2):
                with pytest.raises(StateInUse, match="Another margod") as caught:
                    Vault.open(directory)
                assert caught.value.reason is STATE_IN_USE
                (directory / "lock").unlink(missing_ok=True)
        finally:
            holder.kill()
            holder.wait(10)
    with opened(directory) as vault:
        assert vault.findings == ()


@pytest.mark.parametrize("kind", ["symlink", "directory", "fifo"])
def test_a_lock_that_is_no_file(kind: str, tmp_path: Path) -> None:
    """What is in the lock's place is not followed and not opened."""
    lock = tmp_path / "margod/lock"
    lock.parent.mkdir(mode=0o700)
    if kind == "symlink":
        lock.symlink_to(tmp_path / "elsewhere")
    elif kind == "directory":
        lock.mkdir()
    else:
        os.mkfifo(lock)
    with pytest.raises(StateUnusable, match="not a regular file"):
        Vault.open(tmp_path / "margod")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.system
def test_a_full_disk_keeps_the_old_and_heals(small: Path) -> None:
    """ENOSPC at every fill level: commit and append say so, change nothing, and succeed once there is room."""
    directory = small / "margod"
    enrolled(directory)
    padding = small / "padding"
    refused = 0
    for left in range(0, 40_960, 4096):
        with opened(directory) as vault:
            before = dict(vault.records)
            _fill(padding, small, left)
            try:
                vault.commit({"ledger.json": bytes([left // 4096]) * 9000}, "a")
            except StateNotWritable as error:
                refused += 1
                assert error.reason is STATE_NOT_WRITABLE
                assert os.strerror(errno.ENOSPC) in error.message
                assert dict(vault.records) == before
        with opened(directory) as vault:
            assert vault.findings == ()
            assert vault.records["enrolment.json"] == b"client-1"
            padding.unlink()
            vault.commit({"ledger.json": b""}, "a")
    assert refused > 2


@pytest.mark.system
def test_a_full_disk_and_the_log(small: Path) -> None:
    """An append that does not fit is not half there afterwards, and the next one with room is."""
    directory = small / "margod"
    enrolled(directory)
    with opened(directory) as vault:
        _fill(small / "padding", small, 0)
        for _ in range(2):
            with pytest.raises(StateNotWritable):
                vault.append(answer("c" * 9000))
        assert vault.records["enrolment.json"] == b"client-1"
        (small / "padding").unlink()
        vault.append(answer("client-2"))
    with opened(directory) as vault:
        assert vault.findings == ()
        assert vault.entries == (answer("client-2"),)


@pytest.mark.system
def test_an_existing_vault_opens_on_a_full_and_on_a_read_only_disk(small: Path) -> None:
    """The daemon goes on with the identity it has: opening writes nothing that it needs."""
    directory = small / "margod"
    enrolled(directory)
    (directory / "lock").unlink()
    _fill(small / "padding", small, 0)
    with opened(directory) as vault:
        assert vault.records["enrolment.json"] == b"client-1"
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    with opened(directory) as vault:
        assert vault.records["enrolment.json"] == b"client-1"
        with pytest.raises(StateNotWritable, match="Read-only file system"):
            vault.commit(IDENTITY, "a")
        with pytest.raises(StateNotWritable, match="Read-only file system"):
            vault.append(answer("client-2"))
    with pytest.raises(StateNotWritable, match="Read-only file system"):
        Vault.open(small / "other")


def _fill(padding: Path, place: Path, left: int) -> None:
    """Write into `padding` until only `left` bytes (whole pages) are free."""
    room = os.statvfs(place)
    with padding.open("wb") as file:
        file.write(bytes(max(0, room.f_bavail * room.f_bsize - left)))
