"""Whole directories: committed at once, moved, removed."""

# See calls.py: plain `os` functions, for the fault campaign.
# ruff: noqa: PTH102, PTH104

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from margod.store.calls import aside, create, remove, sync, translated
from margod.store.shredding import shred, shred_quietly, shred_tree


def commit_directory(parent: Path, name: str, files: Mapping[str, bytes]) -> None:
    """Make the directory `parent/name` (0700) with `files` (0600) in it, all or nothing.

    `name` must not exist. When it returns, everything survives a power cut; after a crash before that there is the
    whole directory or none. Raises StateNotWritable; the directory may then exist only if the last sync failed.
    """
    path, new = parent / name, aside(parent, name)
    with translated(path):
        try:
            shred(new)  # a key may be in what a crash left
            os.mkdir(new, 0o700)
            for file, data in files.items():
                create(new / file, data, 0o600)
            _sync_entries(new)
            os.rename(new, path)
        except OSError:
            shred_quietly(new)
            raise
    sync_directory(parent)


def sync_directory(path: Path) -> None:
    """Make durable what was created, renamed or removed in `path`. Raises StateNotWritable."""
    with translated(path):
        _sync_entries(path)


def move(source: Path, target: Path) -> None:
    """Rename within one file system; an existing file at `target` is replaced. Not synced. Raises StateNotWritable."""
    with translated(source):
        os.rename(source, target)


def drop_tree(parent: Path, name: str) -> None:
    """Take `parent/name` out of sight as `.name.old`, and then overwrite and remove it. Raises StateNotWritable.

    Nothing is overwritten before the other name is durable: a power cut in between must not bring it back half zeros,
    under a name that counts. What is left after a failure or a crash, `finish_drop` clears away.
    """
    finish_drop(parent, name)
    if os.path.lexists(parent / name):
        move(parent / name, _dropped(parent, name))
        finish_drop(parent, name)


def finish_drop(parent: Path, name: str) -> None:
    """Overwrite and remove what an earlier `drop_tree` left of `name`. Raises StateNotWritable."""
    if os.path.lexists(_dropped(parent, name)):
        sync_directory(parent)  # whoever moved it may have been killed before its sync
        shred_tree(_dropped(parent, name))


def remove_tree(path: Path) -> None:
    """Remove a file, link or directory with all in it, following no link; nothing there is fine. Not synced.

    Raises StateNotWritable.
    """
    with translated(path):
        remove(path)


def _dropped(parent: Path, name: str) -> Path:
    return parent / f".{name}.old"


def _sync_entries(path: Path) -> None:
    sync(path, os.O_DIRECTORY)
