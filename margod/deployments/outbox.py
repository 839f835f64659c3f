"""The outbox: status reports that were acknowledged to a local agent and have not been accepted by the WFM yet.

SQLite with a write-ahead log and a full sync at every commit that acknowledges: what `put` has returned for survives a
power cut. Reports go out in the order in which they came; one that the WFM refuses for what it says is parked, and the
rest goes on. `open_outbox` in salvage.py opens one, whatever became of its file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Final

from margod.deployments.items import Item, Tally
from margod.model import reasons
from margod.model.errors import OutboxDamaged, OutboxFull, OutboxUnusable

LIMIT: Final = 10_000
"""Reports held, parked ones included."""
SIZE_LIMIT: Final = 64 << 20
"""Bytes of all reports held: a flash is not filled by what an agent says."""
VERSION: Final = 1
"""Of the file's tables, in its `user_version`."""

_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    deployment_id TEXT NOT NULL,
    state TEXT NOT NULL,
    final INTEGER NOT NULL,
    body BLOB NOT NULL,
    at REAL NOT NULL,
    binding TEXT NOT NULL DEFAULT '',
    parked TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT '',
    overtaken INTEGER NOT NULL DEFAULT 0,
    uid INTEGER NOT NULL DEFAULT -1
);
CREATE INDEX IF NOT EXISTS waiting ON outbox (parked, number);
CREATE INDEX IF NOT EXISTS by_deployment ON outbox (deployment_id, number);
PRAGMA user_version = {VERSION};
"""
COLUMNS: Final = "number, deployment_id, state, final, body, at, binding, parked, detail, overtaken, uid"
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class Outbox:
    """The reports of one device. Used from one thread at a time; each call is one transaction.

    Raises OutboxUnusable where the disk refuses; what was there before stays. Raises OutboxDamaged where the file is
    not what was written.
    """

    def __init__(self, file: Path) -> None:
        """Open the file, made 0600 if it is missing."""
        self._db: sqlite3.Connection | None = None
        self._waiting = self._parked = self._size = 0
        self._of_user: dict[int, tuple[int, int]] = {}
        """By uid, how many reports are held of it, and how many bytes."""
        self._stale = False
        try:
            with _translated():
                file.touch(mode=0o600)
                self._db = sqlite3.connect(file, isolation_level=None, timeout=5.0, check_same_thread=False)
                pragmas = ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=200", "cell_size_check=ON")
                for pragma in (*pragmas, "cache_size=-512"):
                    self._db.execute(f"PRAGMA {pragma}")
                _require_usable(self._db)
                self._db.executescript(_SCHEMA)
                self._count()
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        """Return how many reports are held."""
        return self._waiting + self._parked

    def tally(self) -> Tally:
        """Return what is held."""
        self._recount()
        with _translated():
            row = self._rows("SELECT at FROM outbox WHERE parked = '' ORDER BY number LIMIT 1").fetchone()
        return Tally(self._waiting, self._parked, row[0] if row else None)

    def put(
        self, deployment_id: str, state: str, *, final: bool, body: bytes, at: float, binding: str = "", uid: int = -1
    ) -> int:
        """Take a report of the user `uid`; it is durable when its number is returned. Raises OutboxFull."""
        self._require_room(uid, len(body))
        with self._transaction() as db:
            done = db.execute(
                "INSERT INTO outbox (deployment_id, state, final, body, at, binding, uid) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (deployment_id, state, final, body, float(at), binding, uid),
            )
        self._waiting, self._size = self._waiting + 1, self._size + len(body)
        self._held(uid, 1, len(body))
        return int(done.lastrowid or 0)

    def _require_room(self, uid: int, size: int) -> None:
        """Raise OutboxFull where there is no room, or where the user would hold more than is left for all others.

        So one user alone has half of it, two have a third each, and whoever comes next always finds as much free as any
        of those before holds.
        """
        if len(self) >= LIMIT or self._size + size > SIZE_LIMIT:
            raise OutboxFull(reasons.OUTBOX_FULL)
        count, held = self._of_user.get(uid, (0, 0))
        if count + 1 > LIMIT - len(self) or held + size > SIZE_LIMIT - self._size:
            said = f"The user with uid {uid} has {count} reports of deployments in the outbox, {held} bytes"
            raise OutboxFull(reasons.OUTBOX_FULL, f"{said}: as much as is left for all others. This one was not taken.")

    def _held(self, uid: int, count: int, size: int) -> None:
        before = self._of_user.get(uid, (0, 0))
        self._of_user[uid] = before[0] + count, before[1] + size

    def restore(self, items: Iterable[Item]) -> None:
        """Put back what was saved from another file, with its numbers and all."""
        insert = f"INSERT INTO outbox ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - our own words
        with self._transaction() as db:
            db.executemany(insert, [astuple(item) for item in items])
        self._count()

    def claim(self, binding: str) -> int:
        """Make what waits for any enrolment that of `binding`, park what is another's, and take up again what was
        parked as such and is this one's. Return how many were parked.
        """
        other = reasons.REPORT_OF_OTHER.code
        foreign = "(parked = '' AND binding <> ?1) OR (parked = ?2 AND binding = ?1)"
        with _translated():
            if self._rows(f"SELECT 1 FROM outbox WHERE {foreign} LIMIT 1", binding, other).fetchone() is None:  # noqa: S608 - our own words
                return 0
        with self._transaction() as db:
            db.execute("UPDATE outbox SET binding = ? WHERE binding = '' AND parked = ''", (binding,))
            db.execute("UPDATE outbox SET parked = '' WHERE parked = ? AND binding = ?", (other, binding))
            done = db.execute("UPDATE outbox SET parked = ? WHERE parked = '' AND binding <> ?", (other, binding))
        self._count()
        return done.rowcount

    def upcoming(self, count: int, size: int) -> list[Item]:
        """Return the oldest reports that wait: at most `count`, and of `size` bytes together, but one at least."""
        found: list[Item] = []
        with _translated():
            for row in self._rows(f"SELECT {COLUMNS} FROM outbox WHERE parked = '' ORDER BY number LIMIT ?", count):  # noqa: S608 - our own words
                item = read_item(row)
                size -= len(item.body)
                if found and size < 0:
                    break
                found.append(item)
        return found

    def listed(self, after: int = 0, count: int = LIMIT) -> list[Item]:
        """Return at most `count` reports behind the number `after`, oldest first, without their bodies."""
        columns = COLUMNS.replace("body", "x''")
        query = f"SELECT {columns} FROM outbox WHERE number > ? ORDER BY number LIMIT ?"  # noqa: S608 - our own words
        with _translated():
            return [read_item(row) for row in self._rows(query, after, count)]

    def sent(self, numbers: Iterable[int], *, lasting: bool = True) -> None:
        """The WFM has accepted these. Not `lasting`: a kill does not bring them back, a power cut may.

        Older ones of the same deployments, parked or taken up again, are overtaken now.
        """
        overtake = (
            "UPDATE outbox SET overtaken = 1, parked = CASE parked WHEN '' THEN ? ELSE parked END "
            "WHERE deployment_id = ? AND number < ? AND overtaken = 0"
        )
        with self._transaction(lasting=lasting) as db:
            for number in numbers:
                done = db.execute(
                    "DELETE FROM outbox WHERE number = ? RETURNING deployment_id, length(body), uid", (number,)
                )
                for deployment_id, size, uid in done.fetchall():
                    self._waiting, self._size = self._waiting - 1, self._size - size
                    self._held(uid, -1, -size)
                    overtaken = db.execute(overtake, (reasons.REPORT_OVERTAKEN.code, deployment_id, number))
                    if overtaken.rowcount:
                        self._stale = True
        self._recount()

    def park(self, number: int, code: str, detail: str) -> None:
        """Set it aside: the WFM refuses it for what it says."""
        with self._transaction() as db:
            db.execute("UPDATE outbox SET parked = ?, detail = ? WHERE number = ?", (code, detail, number))
        self._count()

    def retry(self, number: int | None = None, binding: str = "") -> tuple[int, int]:
        """Let a parked report (or all) wait again, in its old place and for the enrolment of `binding`.

        Return how many these were, and how many stay parked because they are overtaken.
        """
        which = "WHERE parked <> '' AND (?1 IS NULL OR number = ?1)"
        with self._transaction() as db:
            done = db.execute(
                f"UPDATE outbox SET parked = '', detail = '', binding = ?2 {which} AND overtaken = 0",  # noqa: S608 - our own words
                (number, binding),
            )
            left = db.execute(f"SELECT count(*) FROM outbox {which} AND overtaken = 1", (number,))  # noqa: S608 - our own words
            stays = int(left.fetchone()[0])
        self._count()
        return done.rowcount, stays

    def drop(self, number: int | None = None) -> int:
        """Remove a report, parked or waiting, or all that are parked; return how many these were."""
        which = "parked <> ''" if number is None else "number = ?1"
        with self._transaction() as db:
            done = db.execute(f"DELETE FROM outbox WHERE {which}", () if number is None else (number,))  # noqa: S608 - our own words
        self._count()
        return done.rowcount

    def supersede(self) -> int:
        """Leave out states that a later report of the same deployment has overtaken; return how many these were.

        Only those that wait, never a final state; what is parked overtakes nothing.
        """
        with self._transaction() as db:
            done = db.execute(
                "DELETE FROM outbox WHERE parked = '' AND final = 0 AND EXISTS (SELECT 1 FROM outbox later WHERE "
                "later.deployment_id = outbox.deployment_id AND later.number > outbox.number AND later.parked = '' "
                "AND later.binding = outbox.binding)"
            )
        self._count()
        return done.rowcount

    def close(self) -> None:
        """Close the file. May be called twice."""
        db, self._db = self._db, None
        if db is not None:
            with _translated():
                db.close()

    def _recount(self) -> None:
        if self._stale:
            self._count()

    def _count(self) -> None:
        """Count anew what is kept count of otherwise."""
        with _translated():
            self._waiting = self._number("SELECT count(*) FROM outbox WHERE parked = ''")
            self._parked = self._number("SELECT count(*) FROM outbox") - self._waiting
            rows = self._rows("SELECT uid, count(*), sum(length(body)) FROM outbox GROUP BY uid").fetchall()
            self._of_user = {uid: (count, size) for uid, count, size in rows}
            self._size = sum(size for _, _, size in rows)
            self._stale = False

    def _rows(self, query: str, *values: object) -> sqlite3.Cursor:
        if self._db is None:
            raise OutboxUnusable(reasons.OUTBOX_UNUSABLE, "The outbox is closed.")
        return self._db.execute(query, values)

    def _number(self, query: str) -> int:
        return int(self._rows(query).fetchone()[0] or 0)

    @contextmanager
    def _transaction(self, *, lasting: bool = True) -> Iterator[sqlite3.Connection]:
        """Commit what the block does, or nothing of it. What was not `lasting` is made so by the next that is."""
        with _translated():
            db = self._rows(f"PRAGMA synchronous={'FULL' if lasting else 'NORMAL'}").connection
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                self._stale = True
                raise


def read_item(row: tuple[object, ...]) -> Item:
    """Return the report in a row of `COLUMNS`. Raises OutboxDamaged for one that margod cannot have written."""
    kinds = (int, str, str, int, bytes, float, str, str, str, int, int)
    if len(row) != len(kinds) or not all(isinstance(row[at], kind) for at, kind in enumerate(kinds)):
        raise OutboxDamaged(reasons.OUTBOX_DAMAGED)
    number, deployment_id, state, final, body, at, binding, parked, detail, overtaken, uid = row
    return Item(number, deployment_id, state, bool(final), body, at, binding, parked, detail, bool(overtaken), uid)  # type: ignore[arg-type]  # looked at above


def _require_usable(database: sqlite3.Connection) -> None:
    if database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise OutboxDamaged(reasons.OUTBOX_DAMAGED)
    if database.execute("PRAGMA user_version").fetchone()[0] > VERSION:
        raise OutboxUnusable(reasons.OUTBOX_NEWER)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        said = f"The outbox cannot be used: {error}."
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE:
            raise OutboxDamaged(reasons.OUTBOX_DAMAGED, said) from error
        raise OutboxUnusable(reasons.OUTBOX_UNUSABLE, said) from error
    except OSError as error:
        raise OutboxUnusable(
            reasons.OUTBOX_UNUSABLE, f"The outbox cannot be used: {error.strerror or error}."
        ) from error
