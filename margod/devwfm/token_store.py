"""What the development WFM remembers of the `token` generation: client secrets, bearer tokens, Git tokens. SQLite."""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path
from typing import Final

from margod.devwfm.problems import DevWfmError

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS secrets (client_id TEXT PRIMARY KEY, secret TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tokens (
  value TEXT PRIMARY KEY, kind TEXT NOT NULL, client_id TEXT NOT NULL, ends REAL NOT NULL);
"""
BEARER, GIT = "bearer", "git"


class TokenStore:
    """The database of one directory. Every change is committed when the call returns."""

    def __init__(self, file: Path) -> None:
        """Open or make the database. Raises `DevWfmError`."""
        try:
            self._database = sqlite3.connect(file, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise DevWfmError(f"{file}: {error}") from None

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def new_secret(self, client_id: str) -> str:
        """Make and keep a client's secret."""
        secret = secrets.token_urlsafe(32)
        self._database.execute("INSERT OR REPLACE INTO secrets VALUES (?, ?)", (client_id, secret))
        return secret

    def is_secret(self, client_id: str, secret: str) -> bool:
        """Return whether this is the client's secret."""
        row = self._database.execute("SELECT secret FROM secrets WHERE client_id = ?", (client_id,)).fetchone()
        return row is not None and secrets.compare_digest(row[0].encode(), secret.encode())

    def new_token(self, kind: str, client_id: str, ends: float) -> str:
        """Make and keep a token that holds until `ends`, Unix seconds."""
        value = f"dev-{kind}-{secrets.token_urlsafe(24)}"
        self._database.execute("INSERT INTO tokens VALUES (?, ?, ?, ?)", (value, kind, client_id, ends))
        return value

    def holder(self, kind: str, value: str, now: float) -> str | None:
        """Return whose token this is, None if it is nobody's or has ended."""
        row = self._database.execute(
            "SELECT client_id FROM tokens WHERE value = ? AND kind = ? AND ends > ?", (value, kind, now)
        ).fetchone()
        return str(row[0]) if row else None

    def revoke(self, kind: str) -> int:
        """End every token of a kind; returns how many there were."""
        return self._database.execute("DELETE FROM tokens WHERE kind = ?", (kind,)).rowcount
