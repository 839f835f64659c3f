"""Whether a directory survives a restart, by the table of mounts."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from margod.store import lasting
from margod.store.lasting import fstab_points, judge, read_mounts

STATE = PurePosixPath("/var/lib/margod")
ROOT = "22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw"
UPPER = "30 22 0:40 / {upper} rw shared:2 - {kind} none rw"
OVERLAY = "31 22 0:41 / /var rw,relatime - overlay overlay rw,lowerdir=/l,upperdir={upper}/up,workdir={upper}/w"


def lost(*lines: str, fstab: str = "") -> str | None:
    """Return why the state directory is lost under these mounts."""
    return judge(STATE, read_mounts("\n".join(lines).encode()), fstab_points(fstab.encode()))


@pytest.mark.parametrize("kind", ["tmpfs", "ramfs"])
def test_memory(kind: str) -> None:
    """A file system in memory, at the directory or above it; not one that is elsewhere or below another mount."""
    memory = f"30 22 0:40 / /var/lib rw - {kind} none rw"
    assert lost(ROOT) is None
    assert lost(ROOT, memory) == f"/var/lib/margod is on a {kind}"
    assert lost(ROOT, f"30 22 0:40 / /var/lib/mar rw - {kind} none rw") is None
    assert lost(ROOT, memory, "32 30 259:2 / /var/lib/margod rw - ext4 /dev/b rw") is None
    assert lost(ROOT, memory, "32 30 259:2 / /var/lib rw - ext4 /dev/b rw") is None, "the last one there counts"


def test_overlay(tmp_path: Path) -> None:
    """An overlay lasts as long as its upper directory; one that is not to be seen from here is none that lasts."""
    (tmp_path / "up").mkdir()
    upper = str(tmp_path)
    over = OVERLAY.format(upper=upper)
    assert lost(ROOT, UPPER.format(upper=upper, kind="ext4"), over) is None
    assert "on a tmpfs" in str(lost(ROOT, UPPER.format(upper=upper, kind="tmpfs"), over))
    assert "not to be seen" in str(lost(ROOT, OVERLAY.format(upper="/nowhere/at/all")))
    assert "cannot be written" in str(lost(ROOT, "31 22 0:41 / /var ro - overlay overlay ro,lowerdir=/l"))


def test_a_partition_that_is_not_mounted() -> None:
    """What fstab says belongs there is missed; the root, comments, swap and what is mounted are not."""
    fstab = "# /x /var ext4\n/dev/a / ext4 defaults 0 1\n/dev/s none swap sw 0 0\n/dev/b /var/lib ext4 defaults 0 2\n"
    assert lost(ROOT, fstab=fstab) == "/var/lib is in /etc/fstab and not mounted"
    assert lost(ROOT, "30 22 259:2 / /var/lib rw - ext4 /dev/b rw", fstab=fstab) is None
    assert lost(ROOT, "30 22 259:2 / /var/lib/margod rw - ext4 /dev/c rw", fstab=fstab) is None
    assert lost(ROOT, fstab="/dev/b /srv ext4 defaults 0 2\n") is None


SANDBOX = "30 22 {device} {root} /var/lib/margod rw - {kind} /dev/root rw"


@pytest.mark.parametrize("point", ["/var/lib", "/var/lib/margod"])
def test_a_partition_that_is_not_mounted_in_a_service_sandbox(point: str) -> None:
    """A service manager mounts the state directory on itself: that is not the disk that fstab wants there."""
    fstab = f"/dev/b {point} ext4 defaults,nofail 0 2\n"
    bound = SANDBOX.format(device="259:1", root=STATE, kind="ext4")
    assert lost(ROOT, bound, fstab=fstab) == f"{point} is in /etc/fstab and not mounted"
    assert lost(ROOT, bound, bound, fstab=fstab) == f"{point} is in /etc/fstab and not mounted"
    disk = f"29 22 259:2 / {point} rw - ext4 /dev/b rw"
    inside = "/" if point == str(STATE) else "/margod"
    assert lost(ROOT, disk, SANDBOX.format(device="259:2", root=inside, kind="ext4"), fstab=fstab) is None
    assert lost(ROOT, SANDBOX.format(device="259:1", root="/data/margod", kind="ext4"), fstab=fstab) is None, "a bind"
    assert lost(ROOT, SANDBOX.format(device="259:1", root=STATE, kind="btrfs"), fstab=fstab) is None, "a subvolume"
    assert lost(ROOT, bound, fstab=f"{point} {point} none bind,noexec 0 0\n") is None, "nothing else belongs there"


def test_an_fstab_that_is_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that are put together have it elsewhere: it counts all the same."""
    (tmp_path / "real").write_text(f"/dev/b {tmp_path}/state ext4 defaults 0 2\n")
    (tmp_path / "fstab").symlink_to(tmp_path / "real")
    monkeypatch.setattr(lasting, "FSTAB", tmp_path / "fstab")
    assert lasting.volatile(tmp_path / "state") == f"{tmp_path}/state is in /etc/fstab and not mounted"


def test_what_cannot_be_read() -> None:
    """Without a table nothing is claimed; escaped blanks are blanks."""
    assert lost("", "rubbish - x") is None
    assert read_mounts(b"1 0 0:1 / /a\\040b rw - tmpfs t rw")[0].point == PurePosixPath("/a b")
