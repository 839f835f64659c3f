"""What the vault's tests share: an enrolled vault's records and entries, and how to look at one without changing it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from margod.vault import Entry, Vault

IDENTITY: dict[str, bytes | None] = {"identity.key": b"key-1", "identity.crt": b"certificate-1"}


def intent(at: float = 1.0) -> Entry:
    """Return an intent to enrol."""
    return Entry("intent", at, {"step": "enrol"})


def answer(client_id: str, at: float = 2.0) -> Entry:
    """Return an accepted answer with this client id."""
    return Entry("answer", at, {"step": "enrol"}, {"enrolment.json": client_id.encode()})


@contextmanager
def opened(directory: Path) -> Iterator[Vault]:
    """Open the vault and close it again."""
    vault = Vault.open(directory)
    try:
        yield vault
    finally:
        vault.close()


def enrolled(directory: Path) -> None:
    """Make a vault with two generations and an answer accepted between them, in the log of both."""
    with opened(directory) as vault:
        vault.commit(IDENTITY, "a")
        vault.append(intent())
        vault.append(answer("client-1"))
        vault.commit({"report.json": b"report"}, "a")


def snapshot(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Return mode and content of everything below `directory` but the lock, which any opening makes."""
    return {
        str(path.relative_to(directory)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(directory.rglob("*"))
        if path.name != "lock"
    }


def unreachable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let every look at what has this name fail, as on a disk or a file system that begins to."""

    def sick(look: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def wrapped(path: object, **options: object) -> os.stat_result:
            if isinstance(path, Path) and path.name == name:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return look(path, **options)

        return wrapped

    for function in (os.stat, os.lstat):
        monkeypatch.setattr(os, function.__name__, sick(function))
