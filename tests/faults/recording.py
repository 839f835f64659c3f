"""A file system that forgets: records what the store asks of the kernel, and replays what a power cut may leave of it.

Each operation is durable once the file or directory that it changed was fsynced after it. Of the others, every prefix
and every subset may be what is found at the next boot; a write may also be torn.
"""

from __future__ import annotations

import os
import random
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import margod

SECTOR = 512
"""Bytes that a disk writes at once."""

TREE = dict[str, bytes | None]
"""Path below the root -> content; None for a directory."""


_MARGOD = str(Path(margod.__file__).parent) + os.sep


class Killed(BaseException):
    """The process ended here: nothing of its own runs any more."""


@dataclass(frozen=True)
class Operation:
    """One change: to which inode (a directory for entries, a file for data), what, and from where in the code."""

    kind: str
    inode: int
    name: str = ""
    target: int = 0
    new_inode: int = 0
    new_name: str = ""
    offset: int = 0
    data: bytes = b""
    site: str = ""


@dataclass
class Disk:
    """Records through the functions of `os`; `kill_at` ends the process before that operation (counted from 1)."""

    root: Path
    operations: list[Operation] = field(default_factory=list)
    kill_at: int = 0
    fail: Callable[[Operation], int] = lambda _operation: 0
    """Returns the errno with which an operation fails, 0 for none."""
    _entries: dict[int, dict[str, int]] = field(default_factory=lambda: {1: {}})
    _next: int = 2
    _open: dict[int, list[int]] = field(default_factory=dict)

    def find(self, path: Any) -> tuple[int, str]:
        """Return the inode of the directory that holds `path`, and the last name; (0, "") outside of the root."""
        try:
            parts = Path(path).relative_to(self.root).parts
        except ValueError:
            return 0, ""
        inode = 1
        for part in parts[:-1]:
            inode = self._entries.get(inode, {}).get(part, 0)
        return inode, parts[-1] if parts else ""

    def inode(self, path: Any) -> int:
        """Return the inode at `path`, 1 for the root, 0 if it is not known."""
        if Path(path) == self.root:
            return 1
        parent, name = self.find(path)
        return self._entries.get(parent, {}).get(name, 0)

    def close_all(self) -> None:
        """Close what a killed process had open, the locks with it."""
        for fd in list(self._open):
            os.close(fd)

    def note(self, operation: Operation) -> None:
        """Take up one operation, before it is carried out: it may fail, or the process may end instead."""
        if self.kill_at and len(self.operations) + 1 >= self.kill_at:
            raise Killed
        if error := self.fail(operation):
            raise OSError(error, os.strerror(error))
        self.operations.append(operation)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put the recording functions in the place of those of `os`."""
        real = {name: getattr(os, name) for name in ("open", "write", "fsync", "rename", "mkdir", "unlink", "rmdir")}
        real_close = os.close

        def open_(path: Any, flags: int, mode: int = 0o777, **rest: Any) -> int:
            parent, name = self.find(path)
            if parent and flags & os.O_CREAT and not os.path.lexists(path):
                self.note(Operation("create", parent, name, self._next, site=_site()))
                self._entries[parent][name] = self._next
                self._next += 1
            fd: int = real["open"](path, flags, mode, **rest)
            if inode := self.inode(path):
                self._open[fd] = [inode, os.fstat(fd).st_size if flags & os.O_APPEND else 0]
            return fd

        def close(fd: int) -> None:
            self._open.pop(fd, None)
            real_close(fd)

        def write(fd: int, data: Any) -> int:
            if fd not in self._open:
                return int(real["write"](fd, data))
            inode, offset = self._open[fd]
            self.note(Operation("write", inode, offset=offset, data=bytes(data), site=_site()))
            written = int(real["write"](fd, data))
            self._open[fd][1] += written
            return written

        def fsync(fd: int) -> None:
            self.note(Operation("fsync", self._open[fd][0], site=_site()))

        def rename(source: Any, target: Any) -> None:
            (old, old_name), (new, new_name) = self.find(source), self.find(target)
            inode = self.inode(source)
            self.note(Operation("rename", old, old_name, inode, new, new_name, site=_site()))
            real["rename"](source, target)
            self._entries[new][new_name] = self._entries[old].pop(old_name)

        def mkdir(path: Any, mode: int = 0o777, **rest: Any) -> None:
            parent, name = self.find(path)
            self.note(Operation("mkdir", parent, name, self._next, site=_site()))
            real["mkdir"](path, mode, **rest)
            self._entries[parent][name] = self._next
            self._entries[self._next] = {}
            self._next += 1

        def unlink(path: Any, **rest: Any) -> None:
            parent, name = self.find(path)
            self.note(Operation("unlink", parent, name, site=_site()))
            real["unlink"](path, **rest)
            self._entries[parent].pop(name, None)

        def rmdir(path: Any, **rest: Any) -> None:
            parent, name = self.find(path)
            self.note(Operation("rmdir", parent, name, site=_site()))
            real["rmdir"](path, **rest)
            self._entries[parent].pop(name, None)

        for name, function in {
            "open": open_, "close": close, "write": write, "fsync": fsync,
            "rename": rename, "mkdir": mkdir, "unlink": unlink, "rmdir": rmdir,
        }.items():  # fmt: skip
            patch.setattr(os, name, function)


def remains(operations: list[Operation], ignored: str | None, rng: random.Random, most: int) -> Iterator[TREE]:
    """Yield what may be on the disk if the power fails after `operations`; `ignored` names a site whose fsync is void.

    All subsets of what is not durable, up to `most`; beyond that `most` chosen ones. A subset is a reordering too: the
    later operation is there and the earlier one is not. Of each there is one more where what was written is torn.
    """
    durable = [False] * len(operations)
    for at, operation in enumerate(operations):
        if operation.kind == "fsync" and operation.site != ignored:
            for before in range(at):
                durable[before] |= operation.inode in (operations[before].inode, operations[before].new_inode)
    changes = [(op, done) for op, done in zip(operations, durable, strict=True) if op.kind != "fsync"]
    open_ = [at for at, (_, done) in enumerate(changes) if not done]
    if 2 ** len(open_) <= most:
        subsets = [set(compress(open_, bits)) for bits in product((0, 1), repeat=len(open_))]
    else:
        subsets = [set(), set(open_), *({at for at in open_ if rng.random() < 0.5} for _ in range(most - 2))]
    for subset in subsets:
        chosen = [(op, done) for at, (op, done) in enumerate(changes) if done or at in subset]
        yield _replay([op for op, _ in chosen])
        if any(op.kind == "write" and not done for op, done in chosen):
            halved = [_half(op) if op.kind == "write" and not done else op for op, done in chosen]
            yield _replay(halved)
            yield _replay([_torn(op, rng) if op.kind == "write" and not done else op for op, done in chosen])


def _half(operation: Operation) -> Operation:
    """Return a write of which the second half never arrived."""
    return replace(operation, data=operation.data[: len(operation.data) // 2])


def _torn(operation: Operation, rng: random.Random) -> Operation:
    """Return a write of which a beginning arrived, or its length and zeros, or some of its sectors."""
    data, size = operation.data, len(operation.data)
    cut = rng.randrange(size + 1)
    kind = rng.randrange(4)
    if kind == 0:
        return replace(operation, data=data[:cut])
    if kind == 1:
        return replace(operation, data=data[:cut] + bytes(size - cut))
    if kind == 2:
        return replace(operation, data=bytes(size))
    sectors = [data[at : at + SECTOR] for at in range(0, size, SECTOR)]
    return replace(operation, data=b"".join(part if rng.random() < 0.5 else bytes(len(part)) for part in sectors))


def compress(items: list[int], bits: tuple[int, ...]) -> list[int]:
    """Return the items whose bit is set."""
    return [item for item, bit in zip(items, bits, strict=True) if bit]


def lay_out(tree: TREE, root: Path) -> None:
    """Make the files of `tree` below `root`."""
    root.mkdir(mode=0o700)
    for name, data in tree.items():
        if data is None:
            (root / name).mkdir(mode=0o700)
        else:
            (root / name).write_bytes(data)
            (root / name).chmod(0o600)


def _replay(operations: list[Operation]) -> TREE:
    entries: dict[int, dict[str, int]] = {1: {}}
    data: dict[int, bytearray] = {}
    for op in operations:
        if op.kind == "write":
            content = data.setdefault(op.inode, bytearray())
            content.extend(b"\0" * (op.offset - len(content)))
            content[op.offset : op.offset + len(op.data)] = op.data
        elif op.kind in ("create", "mkdir"):
            entries.setdefault(op.inode, {})[op.name] = op.target
            if op.kind == "mkdir":
                entries.setdefault(op.target, {})
        elif op.kind == "rename":
            here = entries.setdefault(op.inode, {})
            if here.get(op.name) == op.target:
                del here[op.name]
                entries.setdefault(op.new_inode, {})[op.new_name] = op.target
        else:
            entries.setdefault(op.inode, {}).pop(op.name, None)
    tree: TREE = {}

    def walk(inode: int, prefix: str) -> None:
        for name, child in sorted(entries[inode].items()):
            if child in entries:
                tree[prefix + name] = None
                walk(child, f"{prefix}{name}/")
            else:
                tree[prefix + name] = bytes(data.get(child, b""))

    walk(1, "")
    return tree


def _site() -> str:
    """Return which of margod's functions led here, innermost last: the place of this call in the code.

    Within the vault from there: who called it does not make another place of it.
    """
    frames = [f for f in traceback.extract_stack() if f.filename.startswith(_MARGOD)]
    vault = next((n for n, f in enumerate(frames) if f.filename.startswith(_MARGOD + "vault")), 0)
    return ">".join(f.name for f in frames[vault:]) or "test"
