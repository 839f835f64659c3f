"""Clearing the whole state directory, for a device that leaves its owner's hands.

A marker goes first and away last: whoever is interrupted in between has it finished at the next opening, and no half
of an identity comes back.
"""

from __future__ import annotations

import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from margod.model.errors import StateNotWritable
from margod.model.reasons import STATE_NOT_WRITABLE
from margod.store import remove_tree, shred_tree, sync_directory, write_file
from margod.vault.check import require_directory
from margod.vault.locking import LOCK, lock, unlock

MARKER: Final = "wiping"


def was_begun(directory: Path) -> bool:
    """Return whether a wipe of `directory` was begun and not finished. Raises OSError where that cannot be seen."""
    try:
        return stat.S_ISREG((directory / MARKER).lstat().st_mode)
    except FileNotFoundError:
        return False


def begin(directory: Path) -> None:
    """Make it durable that everything in `directory` is to go. Raises StateNotWritable."""
    write_file(directory, MARKER, b"")


def clear(directory: Path) -> list[str]:
    """Clear a directory that no margod uses; return the names that were in it, but for the lock.

    Raises StateInUse, StateUnusable (nothing was done), StateNotWritable (the next opening clears the rest).
    """
    require_directory(directory, directory.lstat())
    held = lock(directory)
    try:
        removed = sorted(entry.name for entry in directory.iterdir() if entry.name not in (LOCK, MARKER))
        begin(directory)
        finish(directory)
    finally:
        unlock(held)
    return removed


def finish(directory: Path) -> None:
    """Clear every file in `directory` but the lock. Goes on after a failure; raises StateNotWritable for the first."""
    failed: StateNotWritable | None = None
    try:
        names = sorted(entry.name for entry in directory.iterdir())
    except OSError as error:
        raise StateNotWritable(STATE_NOT_WRITABLE, f"{directory} cannot be read: {error.strerror}.") from error
    for name in names:
        if name not in (LOCK, MARKER):
            try:
                shred_tree(directory / name)
            except StateNotWritable as error:
                failed = failed or error
    if failed is not None:
        with suppress(StateNotWritable):
            sync_directory(directory)
        raise failed
    sync_directory(directory)
    remove_tree(directory / MARKER)
    sync_directory(directory)
