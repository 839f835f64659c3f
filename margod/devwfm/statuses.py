"""Every deployment status that the development WFM took, as they came, and whether that order can be right.

A report carries no number. What a WFM can see is a deployment that goes back in its life: `installing` after
`installed` is an update, or reports out of order, and a person is shown which. The same body twice in a row is a report
that was sent again because the answer to the first was lost: nothing is wrong with that.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from typing import Final

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS statuses (
  number INTEGER PRIMARY KEY AUTOINCREMENT, client_id TEXT NOT NULL, deployment_id TEXT NOT NULL, state TEXT NOT NULL,
  came TEXT NOT NULL, digest TEXT NOT NULL, manifest TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS by_deployment ON statuses (client_id, deployment_id, number);
"""
FIRST, FORWARD, AGAIN, BACK = "first", "forward", "again", "back"
"""How a report stands to the one before it of the same deployment of the same client."""

_LIFE: Final = ("pending", "installing", "installed", "removing", "removed")
_ENDS: Final = ("failed", "removed")
"""After these a deployment may begin anew."""


def how_it_came(before: str, state: str) -> str:
    """Return whether a state that follows another one goes forward or back in a deployment's life."""
    if before in _ENDS or state == "failed" or before not in _LIFE:
        return FORWARD
    return FORWARD if _LIFE.index(state) >= _LIFE.index(before) else BACK


class Statuses:
    """The reports in the registry's database. A report is committed when `take` returns."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Make the table if it is missing. Raises sqlite3.Error."""
        self._database = database
        database.executescript(SCHEMA)

    def take(self, client_id: str, deployment_id: str, state: str, document: object) -> str:
        """Record a report that was checked; return how it came."""
        manifest = json.dumps(document, sort_keys=True)
        digest = hashlib.sha256(manifest.encode("utf-8", "surrogatepass")).hexdigest()
        row = self._database.execute(
            "SELECT state, digest FROM statuses WHERE client_id = ? AND deployment_id = ? ORDER BY number DESC LIMIT 1",
            (client_id, deployment_id),
        ).fetchone()
        came = FIRST if row is None else AGAIN if row[1] == digest else how_it_came(row[0], state)
        self._database.execute(
            "INSERT INTO statuses (client_id, deployment_id, state, came, digest, manifest, at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (client_id, deployment_id, state, came, digest, manifest, time.time()),
        )
        return came

    def all(self) -> list[dict[str, object]]:
        """Return every report, oldest first; `manifest` is the parsed body."""
        names = ("number", "client_id", "deployment_id", "state", "came", "manifest", "at")
        rows = self._database.execute(f"SELECT {', '.join(names)} FROM statuses ORDER BY number")  # noqa: S608 - constant names
        found = [dict(zip(names, row, strict=True)) for row in rows]
        return [{**one, "manifest": json.loads(str(one["manifest"]))} for one in found]

    def forget(self, client_id: str | None) -> None:
        """Forget what a client reported."""
        self._database.execute("DELETE FROM statuses WHERE client_id = ?", (client_id,))
