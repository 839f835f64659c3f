"""Objects to files: what a commit's tree holds, in paths that are safe wherever they are used.

A name that could mean something else than one file in its folder makes the whole tree refused. Symlinks and submodules
are never followed, wherever they point to: they are left out and named, and so are files that Git LFS keeps elsewhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final

from margod.gitfetch.job import HOSTILE, MALFORMED, TOO_LARGE, Limits, Refusal
from margod.gitfetch.pack import BLOB, COMMIT, TREE, Object
from margod.model.text import clean

NOTES: Final = 32
"""As many of what was left out are named; the rest is counted."""

_ID: Final = re.compile(r"[0-9a-f]{40}")
_FILES: Final = frozenset({b"100644", b"100755", b"100664"})
_LEFT_OUT: Final = {b"120000": "a symbolic link", b"160000": "a submodule"}
_LFS: Final = b"version https://git-lfs.github.com/spec/"
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def files_of(commit: str, objects: Mapping[str, Object], limits: Limits) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Return the files of a commit by path, in order, and notes of what was left out. Raises Refusal."""
    walk = _Walk(objects, limits)
    walk.folder(tree_of(commit, objects), "", 0)
    notes = walk.notes[:NOTES]
    if len(walk.notes) > NOTES:
        notes.append(f"and {len(walk.notes) - NOTES} more")
    return walk.files, tuple(notes)


def tree_of(commit: str, objects: Mapping[str, Object]) -> str:
    """Return the id of a commit's tree."""
    lines = _header(commit, objects)
    first = next(lines, "")
    if not first.startswith("tree ") or not _ID.fullmatch(first[5:]):
        raise Refusal(MALFORMED, "the commit names no tree")
    return first[5:]


def descends(commit: str, ancestor: str, objects: Mapping[str, Object]) -> bool:
    """Return whether `ancestor` is reached from `commit` over parents that are among the objects."""
    seen, todo = {commit}, [commit]
    while todo:
        here = todo.pop()
        if here == ancestor:
            return True
        if here in objects:
            parents = {line[7:] for line in _header(here, objects) if line.startswith("parent ")}
            todo += parents - seen
            seen |= parents
    return False


def _header(commit: str, objects: Mapping[str, Object]) -> Iterator[str]:
    kind, data = objects.get(commit, (0, b""))
    if kind != COMMIT:
        raise Refusal(MALFORMED, "the server did not send the commit that it named")
    yield from data.partition(b"\n\n")[0].decode("utf-8", "replace").split("\n")


class _Walk:
    def __init__(self, objects: Mapping[str, Object], limits: Limits) -> None:
        self.files: dict[str, bytes] = {}
        self.notes: list[str] = []
        self._objects = objects
        self._limits = limits
        self._entries = 0
        self._total = 0

    def folder(self, tree: str, path: str, depth: int) -> None:
        """Take everything in a tree."""
        if depth > self._limits.depth:
            raise Refusal(TOO_LARGE, f"folders are more than {self._limits.depth} deep")
        kind, data = self._objects.get(tree, (0, b""))
        if kind != TREE:
            raise Refusal(MALFORMED, f"the server did not send the folder {_shown(path)}")
        names: set[str] = set()
        for mode, raw, target in _entries(data):
            self._entries += 1
            if self._entries > self._limits.entries:
                raise Refusal(TOO_LARGE, f"more than {self._limits.entries} files and folders")
            name = safe_name(raw)
            if name in names:
                raise Refusal(HOSTILE, f"two of the name {_shown(name)} in one folder")
            names.add(name)
            self._entry(mode, f"{path}/{name}" if path else name, target, depth)

    def _entry(self, mode: bytes, path: str, target: str, depth: int) -> None:
        if len(path.encode()) > self._limits.path:
            raise Refusal(TOO_LARGE, f"a path is longer than {self._limits.path} bytes")
        if mode in (b"40000", b"040000"):
            self.folder(target, path, depth + 1)
        elif mode in _LEFT_OUT:
            self.notes.append(f"{_shown(path)}: {_LEFT_OUT[mode]}, which is not followed; left out")
        elif mode in _FILES:
            self._file(path, target)
        else:
            raise Refusal(HOSTILE, f"{_shown(path)} is of an unknown kind")

    def _file(self, path: str, target: str) -> None:
        kind, data = self._objects.get(target, (0, b""))
        if kind != BLOB:
            raise Refusal(MALFORMED, f"the server did not send the file {_shown(path)}")
        if data.startswith(_LFS):
            self.notes.append(f"{_shown(path)}: kept by Git LFS, which is not asked; left out")
            return
        self._total += len(data)
        if self._total > self._limits.total:
            raise Refusal(TOO_LARGE, f"the files have more than {self._limits.total} bytes together")
        self.files[path] = data


def safe_name(raw: bytes) -> str:
    """Return a name in a tree as text. Raises Refusal for what is no plain name of one file everywhere."""
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise Refusal(HOSTILE, f"the name {_shown(raw)} is not UTF-8") from None
    plain = name.rstrip(". ").casefold()
    if not plain or len(raw) > 255 or "/" in name or "\\" in name:
        raise Refusal(HOSTILE, f"the name {_shown(name)} is no file's")
    if plain == ".git" or re.fullmatch(r"git~[0-9]+", plain):
        raise Refusal(HOSTILE, "a folder of Git's own is in the tree")
    if any(unicodedata.category(each) in _UNSEEN for each in name):
        raise Refusal(HOSTILE, f"the name {_shown(name)} has characters that cannot be seen")
    return name


def _entries(data: bytes) -> Iterator[tuple[bytes, bytes, str]]:
    at = 0
    while at < len(data):
        blank, end = data.find(b" ", at, at + 8), data.find(b"\0", at)
        if blank < 0 or end < blank or end + 21 > len(data):
            raise Refusal(MALFORMED, "a folder in the pack cannot be read")
        yield data[at:blank], data[blank + 1 : end], data[end + 1 : end + 21].hex()
        at = end + 21


def _shown(name: str | bytes) -> str:
    return clean(name, 80) or "(empty)"
