"""Whether what is written to a directory is still there after a restart, as far as the table of mounts says.

Pure but for `volatile`, which reads /proc/self/mountinfo (proc(5)) and /etc/fstab (fstab(5)), both bounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from margod.store.files import read_regular

MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs", "rootfs"})
"""File systems that are gone with the power."""
FSTAB: Final = Path("/etc/fstab")
_LIMIT: Final = 1 << 20
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system: where, of which type, with which options of its own; which directory of which device."""

    point: PurePosixPath
    kind: str
    options: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    root: PurePosixPath = field(default_factory=lambda: PurePosixPath("/"))


def volatile(directory: Path) -> str | None:
    """Return why what is written to `directory` is lost at a restart, in words; None if nothing speaks for that."""
    mounts = read_mounts(_read(Path("/proc/self/mountinfo")))
    return judge(PurePosixPath(directory.resolve()), mounts, fstab_points(_read(FSTAB)))


def judge(directory: PurePosixPath, mounts: Sequence[Mount], expected: Sequence[PurePosixPath]) -> str | None:
    """Decide it. `directory` without links; `mounts` in the order of mountinfo; `expected`: the points of fstab.

    An overlay is as lasting as its upper directory. One whose upper directory is not to be found among the mounts (a
    container's, a live system's) is taken for one that does not last.
    """
    mount = _holding(directory, mounts)
    if mount is None:
        return None
    there = _without_binds(mount, mounts).point
    for point in expected:
        if point != PurePosixPath("/") and _below(directory, point) and len(point.parts) > len(there.parts):
            return f"{point} is in /etc/fstab and not mounted"
    if mount.kind in MEMORY:
        return f"{directory} is on a {mount.kind}"
    if mount.kind == "overlay":
        upper = mount.options.get("upperdir")
        if upper is None:
            return f"{directory} is on an overlay that cannot be written"
        under = _holding(PurePosixPath(upper), mounts) if Path(upper).is_dir() else None
        if under is None:
            return f"{directory} is on an overlay whose upper directory is not to be seen from here"
        if under.kind in MEMORY or under.kind == "overlay":
            return f"{directory} is on an overlay whose upper directory is on a {under.kind}"
    return None


def read_mounts(data: bytes) -> list[Mount]:
    """Return the mounts of a mountinfo; lines that cannot be read are left out."""
    mounts = []
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        words, last = before.split(" "), after.split(" ")
        if len(words) >= 6 and len(last) >= 3:
            pairs = (option.partition("=") for option in last[2].split(","))
            options = {name: _plain(value) for name, _, value in pairs}
            root, point = (PurePosixPath(_plain(word)) for word in words[3:5])
            mounts.append(Mount(point, last[0], options, words[2], root))
    return mounts


def fstab_points(data: bytes) -> list[PurePosixPath]:
    """Return the mount points of an fstab, but for directories bound on themselves: no disk is missed there."""
    lines = (line.split() for line in data.decode("utf-8", "surrogateescape").splitlines())
    return [
        PurePosixPath(_plain(words[1]))
        for words in lines
        if len(words) >= 3 and not words[0].startswith("#") and words[1].startswith("/") and words[0] != words[1]
    ]


def _holding(path: PurePosixPath, mounts: Sequence[Mount]) -> Mount | None:
    """Return the mount that `path` is on: the deepest point, of several there the last."""
    found: Mount | None = None
    for mount in mounts:
        if _below(path, mount.point) and (found is None or len(mount.point.parts) >= len(found.point.parts)):
            found = mount
    return found


def _without_binds(mount: Mount, mounts: Sequence[Mount]) -> Mount:
    """Return what `mount` is on if it is a directory that is mounted on itself, as in a service manager's sandbox.

    On btrfs that is what a subvolume in its place looks like, too: there it counts as mounted.
    """
    above = _holding(mount.point.parent, mounts) if mount.point.name and mount.kind != "btrfs" else None
    if above is None or above.device != mount.device:
        return mount
    if above.root / mount.point.relative_to(above.point) != mount.root:
        return mount
    return _without_binds(above, mounts)


def _below(path: PurePosixPath, point: PurePosixPath) -> bool:
    return path == point or point in path.parents


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, _LIMIT, follow=True)
    except OSError:
        return b""
