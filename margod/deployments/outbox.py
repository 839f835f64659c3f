"""The outbox: status reports that were acknowledged to a local agent and have not been accepted by the WFM yet.

SQLite with a write-ahead log and a full sync at every commit: what `put` has returned for survives a power cut. Reports
go out in the order in which they came; one that the WFM refuses for what it says is parked, and the rest goes on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from margod.model import reasons
from margod.model.errors import StateNotWritable

LIMIT: Final = 10_000
"""Reports held, parked ones included."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    deployment_id TEXT NOT NULL,
    state TEXT NOT NULL,
    final INTEGER NOT NULL,
    body BLOB NOT NULL,
    at REAL NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    parked TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS waiting ON outbox (parked, number);
CREATE INDEX IF NOT EXISTS by_deployment ON outbox (deployment_id, number);
"""
_COLUMNS: Final = "number, deployment_id, state, final, body, at, tries, parked, detail"


class OutboxFull(Exception):
    """There is no room for another report."""


@dataclass(frozen=True, slots=True)
class Item:
    """One report. `at` is when it came, Unix seconds; `parked` is the code of the reason, "" while it waits."""

    number: int
    deployment_id: str
    state: str
    final: bool
    body: bytes
    at: float
    tries: int
    parked: str
    detail: str


class Outbox:
    """The reports of one device. Used from one thread at a time; each call is one transaction.

    Raises StateNotWritable where the disk refuses; what was there before stays.
    """

    def __init__(self, file: Path) -> None:
        """Open the file, made 0600 if it is missing."""
        with _translated():
            file.touch(mode=0o600)
            self._db = sqlite3.connect(file, isolation_level=None, timeout=5.0, check_same_thread=False)
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=200", "cell_size_check=ON"):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.executescript(_SCHEMA)

    def __len__(self) -> int:
        """Return how many reports are held."""
        with _translated():
            return int(self._db.execute("SELECT count(*) FROM outbox").fetchone()[0])

    def put(self, deployment_id: str, state: str, *, final: bool, body: bytes, at: float) -> int:
        """Take a report; it is durable when its number is returned. Raises OutboxFull."""
        if len(self) >= LIMIT:
            raise OutboxFull
        with self._transaction():
            done = self._db.execute(
                "INSERT INTO outbox (deployment_id, state, final, body, at) VALUES (?, ?, ?, ?, ?)",
                (deployment_id, state, final, body, at),
            )
        return int(done.lastrowid or 0)

    def next(self) -> Item | None:
        """Return the oldest report that waits."""
        return next(self._select("WHERE parked = '' ORDER BY number LIMIT 1"), None)

    def items(self) -> list[Item]:
        """Return all reports, oldest first."""
        return list(self._select("ORDER BY number"))

    def sent(self, number: int) -> None:
        """The WFM has accepted it."""
        with self._transaction():
            self._db.execute("DELETE FROM outbox WHERE number = ?", (number,))

    def tried(self, number: int) -> None:
        """Another attempt at it has failed for reasons that are not its own."""
        with self._transaction():
            self._db.execute("UPDATE outbox SET tries = tries + 1 WHERE number = ?", (number,))

    def park(self, number: int, code: str, detail: str) -> None:
        """Set it aside: the WFM refuses it for what it says."""
        with self._transaction():
            self._db.execute(
                "UPDATE outbox SET parked = ?, detail = ?, tries = tries + 1 WHERE number = ?", (code, detail, number)
            )

    def retry(self, number: int | None = None) -> int:
        """Let a parked report (or all) wait again, in its old place; return how many these were."""
        with self._transaction():
            done = self._db.execute(
                "UPDATE outbox SET parked = '', detail = '' WHERE parked <> '' AND (?1 IS NULL OR number = ?1)",
                (number,),
            )
        return done.rowcount

    def drop(self, number: int | None = None) -> int:
        """Remove a parked report (or all of them); return how many these were. What waits is not dropped."""
        with self._transaction():
            done = self._db.execute("DELETE FROM outbox WHERE parked <> '' AND (?1 IS NULL OR number = ?1)", (number,))
        return done.rowcount

    def supersede(self, before: float) -> int:
        """Leave out states that a later report of the same deployment has overtaken; return how many these were.

        Only of reports that came before `before` (Unix seconds), only those that wait, never a final state.
        """
        with self._transaction():
            done = self._db.execute(
                "DELETE FROM outbox WHERE parked = '' AND final = 0 AND at < ? AND EXISTS (SELECT 1 FROM outbox later "
                "WHERE later.deployment_id = outbox.deployment_id AND later.number > outbox.number)",
                (before,),
            )
        return done.rowcount

    def close(self) -> None:
        """Close the file."""
        with _translated():
            self._db.close()

    def _select(self, rest: str) -> Iterator[Item]:
        with _translated():
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM outbox {rest}").fetchall()  # noqa: S608 - our own words
        for number, deployment_id, state, final, body, at, tries, parked, detail in rows:
            yield Item(number, deployment_id, state, bool(final), body, at, tries, parked, detail)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StateNotWritable(reasons.STATE_NOT_WRITABLE, f"the outbox: {error}") from error
