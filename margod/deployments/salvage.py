"""The outbox's file: opened, or put into quarantine and begun anew with as much of it as SQLite still reads.

An outbox is no identity: where it is damaged, going on with what is left is better than standing still. How it goes:

    outbox.db.new is filled with what can be read ─> outbox.db (and its log) go to quarantine/ ─> .new takes its name

A crash leaves the old one, or none and a whole new one, which the next opening takes.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from margod.deployments.items import FILE, Item
from margod.deployments.outbox import COLUMNS, LIMIT, VERSION, Outbox, read_item
from margod.model import reasons
from margod.model.errors import OutboxDamaged, OutboxUnusable, StateNotWritable
from margod.protocols.signed.deployment_status import read_status
from margod.protocols.signed.manifest import Unacceptable
from margod.store import move, remove_tree, sync_directory

QUARANTINE: Final = "quarantine"
_LOGS: Final = ("-wal", "-shm")
_COPIES: Final = 32
"""Damaged outboxes that the quarantine takes; a disk that fails daily must not be filled by us too."""
_COPY: Final = re.compile(rf"{re.escape(FILE)}(?:\.([1-9][0-9]{{0,8}}))?(-wal)?")
_VERSION_AT: Final = 60
"""Where `user_version` stands in an SQLite file, four bytes, the highest first (SQLite file format, 1.3)."""


def open_outbox(directory: Path) -> tuple[Outbox, int | None]:
    """Return the outbox of the state directory, and how many reports were saved where it was damaged, else None.

    Raises OutboxUnusable; nothing was changed then that the next call does not go on with.
    """
    file = directory / FILE
    try:
        _finish(directory)
        _refuse_newer(file)
        try:
            return _opened(file), None
        except OutboxDamaged:
            saved = _begin_anew(directory)
        return Outbox(file), saved
    except (StateNotWritable, OSError) as error:
        raise OutboxUnusable(reasons.OUTBOX_UNUSABLE, f"The outbox cannot be used: {error}") from error


def _opened(file: Path) -> Outbox:
    fresh = not file.exists()
    outbox = Outbox(file)
    if fresh:
        sync_directory(file.parent)
    return outbox


def _refuse_newer(file: Path) -> None:
    """Raise OutboxUnusable for a newer margod's file before SQLite touches it."""
    with suppress(FileNotFoundError), file.open("rb") as stream:
        head = stream.read(_VERSION_AT + 4)
        version = int.from_bytes(head[_VERSION_AT:], "big")
        if head.startswith(b"SQLite format 3\0") and VERSION < version < 1 << 16:
            raise OutboxUnusable(reasons.OUTBOX_NEWER)


def _begin_anew(directory: Path) -> int:
    """Put the damaged outbox into quarantine and what can be read of it in its place; return how much that is."""
    new = directory / f"{FILE}.new"
    saved = {item.number: item for item in _readable(directory / FILE)}
    for leftover in (new, *(directory / f"{FILE}.new{log}" for log in _LOGS)):
        remove_tree(leftover)
    try:
        outbox = Outbox(new)
        outbox.restore(sorted(saved.values(), key=lambda item: item.number)[-LIMIT:])
        outbox.close()
    except OutboxDamaged as error:
        raise OutboxUnusable(reasons.OUTBOX_UNUSABLE, error.message) from error
    sync_directory(directory)
    _finish(directory, damaged=True)
    return len(saved)


def _finish(directory: Path, *, damaged: bool = False) -> None:
    """Have a new outbox take the place of the damaged one; what an unfinished attempt left is cleared or finished."""
    file, new = directory / FILE, directory / f"{FILE}.new"
    if not new.exists():
        return
    if file.exists() and not damaged:
        for leftover in (new, *(directory / f"{FILE}.new{log}" for log in _LOGS)):
            remove_tree(leftover)
        return
    holder = directory / QUARANTINE
    holder.mkdir(mode=0o700, exist_ok=True)
    sync_directory(directory)
    if file.exists():
        move(file, _free(holder))
    log = directory / f"{FILE}-wal"
    if log.exists():
        move(log, _latest(holder))
    remove_tree(directory / f"{FILE}-shm")
    sync_directory(holder)
    sync_directory(directory)
    move(new, file)
    sync_directory(directory)


def _free(holder: Path) -> Path:
    """Return a name in quarantine after all that are there, so that the newest is the one that was moved last."""
    files, logs = _copies(holder)
    if len(files) >= _COPIES:
        raise StateNotWritable(reasons.OUTBOX_UNUSABLE, f"{holder} is full of {FILE}; look at it and move it away.")
    return _copy(holder, max(files | logs, default=-1) + 1)


def _latest(holder: Path) -> Path:
    """Return where the log of the database goes that was moved last: beside it, under SQLite's name."""
    files, logs = _copies(holder)
    newest = max(files, default=-1)
    path = _free(holder) if newest < 0 or newest in logs else _copy(holder, newest)  # if somebody took it away
    return path.with_name(f"{path.name}-wal")


def _copy(holder: Path, number: int) -> Path:
    return holder / (f"{FILE}.{number}" if number else FILE)


def _copies(holder: Path) -> tuple[set[int], set[int]]:
    """Return the numbers of the databases in quarantine, and of the logs."""
    found = [match for path in holder.iterdir() if (match := _COPY.fullmatch(path.name))]
    files, logs = ({int(match[1] or 0) for match in found if bool(match[2]) is is_log} for is_log in (False, True))
    return files, logs


def _readable(file: Path) -> Iterator[Item]:
    """Yield what can be read of a damaged outbox, from both of its ends, as far as it is what margod writes."""
    for order in ("ASC", "DESC"):
        with suppress(sqlite3.Error, OSError, UnicodeDecodeError):
            database = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)
            try:
                database.execute("PRAGMA writable_schema = ON")  # else a file that was cut off is not read at all
                # Without the indexes, which may be what is broken; the table itself is in the order of its numbers.
                query = f"SELECT {COLUMNS} FROM outbox NOT INDEXED ORDER BY number {order} LIMIT {LIMIT}"  # noqa: S608 - our own words
                for row in database.execute(query):
                    with suppress(OutboxDamaged, Unacceptable):
                        item = read_item(row)
                        read_status(item.deployment_id, item.body)
                        yield item
            finally:
                database.close()
