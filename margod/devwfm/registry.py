"""What the development WFM remembers: clients, their capabilities and reports, every request. SQLite in its directory.

A commit survives SIGKILL. A client is one certificate; its states:

    pending    asked to be onboarded, waits for a person
    approved   a person approved it or uploaded its certificate; the next request is accepted
    onboarded  has a client id
    rejected   a person said no (with a client id: it was revoked)
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from margod.devwfm.problems import Ambiguous, DevWfmError, NotFound, NotPossible
from margod.devwfm.statuses import Statuses

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS clients (
  number INTEGER PRIMARY KEY AUTOINCREMENT, identity TEXT NOT NULL UNIQUE, fingerprint TEXT NOT NULL,
  certificate BLOB, subject TEXT NOT NULL, state TEXT NOT NULL, client_id TEXT UNIQUE, since REAL NOT NULL);
CREATE TABLE IF NOT EXISTS devices (
  client_id TEXT NOT NULL, device_id TEXT NOT NULL, manifest TEXT NOT NULL, since REAL NOT NULL,
  PRIMARY KEY (client_id, device_id));
CREATE TABLE IF NOT EXISTS requests (
  number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, route TEXT NOT NULL, method TEXT NOT NULL,
  target TEXT NOT NULL, fields TEXT NOT NULL, body BLOB NOT NULL, status INTEGER, verdict TEXT NOT NULL DEFAULT '',
  fingerprint TEXT, client_id TEXT);
CREATE TABLE IF NOT EXISTS deployments (deployment_id TEXT PRIMARY KEY, yaml BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS desired (version INTEGER NOT NULL);
INSERT INTO desired SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM desired);
"""

_COLUMNS: Final = "number, identity, fingerprint, certificate, subject, state, client_id, since"


@dataclass(frozen=True, slots=True)
class Client:
    """One certificate that was seen. `identity` is what makes it the same one again; `certificate` is DER or None."""

    number: int
    identity: str
    fingerprint: str
    certificate: bytes | None
    subject: str
    state: str
    client_id: str | None
    since: float

    def public(self) -> dict[str, object]:
        """Return what the control socket shows."""
        return {key: value for key, value in asdict(self).items() if key not in {"identity", "certificate"}}


class Registry:
    """The database of one directory. Every change is committed when the call returns."""

    def __init__(self, file: Path) -> None:
        """Open or make the database. Raises `DevWfmError`."""
        try:
            self._database = sqlite3.connect(file, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.executescript(_SCHEMA)
            self.statuses = Statuses(self._database)
        except sqlite3.Error as error:
            raise DevWfmError(f"{file}: {error}") from None

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    # Clients

    def clients(self) -> list[Client]:
        """Return every client, oldest first."""
        rows = self._database.execute(f"SELECT {_COLUMNS} FROM clients ORDER BY number")  # noqa: S608 - constant names
        return [Client(*row) for row in rows]

    def by_identity(self, identity: str) -> Client | None:
        """Return the client with this certificate."""
        return self._one("identity = ?", identity)

    def by_client_id(self, client_id: str) -> Client | None:
        """Return the client that was given this id."""
        return self._one("client_id = ?", client_id)

    def find(self, text: str) -> Client:
        """Find a client by request number, fingerprint prefix (4 digits or more) or client id."""
        if text.isdigit() and len(text) < 4 and (client := self._one("number = ?", int(text))):
            return client
        if client := self.by_client_id(text):
            return client
        prefix = text.replace(":", "").lower()
        is_prefix = re.fullmatch("[0-9a-f]{4,}", prefix) is not None
        matches = [c for c in self.clients() if is_prefix and c.fingerprint.startswith(prefix)]
        if len(matches) > 1:
            raise Ambiguous(f"{text} fits {len(matches)} clients; give more of the fingerprint")
        if matches:
            return matches[0]
        if text.isdigit() and (client := self._one("number = ?", int(text))):
            return client
        raise NotFound(f"no client has the number, fingerprint or client id {text}")

    def add(self, identity: str, fingerprint: str, certificate: bytes | None, subject: str, state: str) -> Client:
        """Record a certificate that was not known."""
        self._database.execute(
            "INSERT INTO clients (identity, fingerprint, certificate, subject, state, since) VALUES (?, ?, ?, ?, ?, ?)",
            (identity, fingerprint, certificate, subject, state, time.time()),
        )
        return self._again(identity)

    def onboard(self, client: Client, client_id: str) -> Client:
        """Give the client its id."""
        return self._change(client, "onboarded", client_id)

    def approve(self, client: Client) -> Client:
        """Let the client in; one that was revoked has its id again."""
        return self._change(client, "onboarded" if client.client_id else "approved", client.client_id)

    def reject(self, client: Client) -> Client:
        """Refuse the client; one that has an id is revoked."""
        return self._change(client, "rejected", client.client_id)

    def forget(self, client: Client) -> None:
        """Forget the client and what it reported, as an emptied database would."""
        self._database.execute("DELETE FROM devices WHERE client_id = ?", (client.client_id,))
        self.statuses.forget(client.client_id)
        self._database.execute("DELETE FROM clients WHERE number = ?", (client.number,))

    # Capabilities

    def devices(self) -> list[dict[str, object]]:
        """Return every reported device with its manifest (JSON text), in the order of their ids."""
        cursor = self._database.execute("SELECT client_id, device_id, manifest, since FROM devices ORDER BY 1, 2")
        return [dict(zip(("client_id", "device_id", "manifest", "since"), row, strict=True)) for row in cursor]

    def knows_device(self, client_id: str, device_id: str) -> bool:
        """Return whether this device of this client was reported."""
        rows = self._database.execute(
            "SELECT 1 FROM devices WHERE client_id = ? AND device_id = ?", (client_id, device_id)
        )
        return rows.fetchone() is not None

    def report(self, client_id: str, device_id: str, manifest: str) -> None:
        """Keep the newest manifest of a device."""
        self._database.execute(
            "INSERT OR REPLACE INTO devices VALUES (?, ?, ?, ?)", (client_id, device_id, manifest, time.time())
        )

    def unregister(self, client_id: str, device_id: str) -> bool:
        """Remove a device and everything under it; False if it was not known."""
        found = self.knows_device(client_id, device_id)
        self._database.execute(
            "DELETE FROM devices WHERE client_id = ?1 AND (device_id = ?2 OR substr(device_id, 1, ?3) = ?2 || '/')",
            (client_id, device_id, len(device_id) + 1),
        )
        return found

    # Desired state

    def desired(self) -> tuple[int, dict[str, bytes]]:
        """Return the version of the desired state (1 and up) and its deployments, YAML by id, in order."""
        version = self._database.execute("SELECT version FROM desired").fetchone()[0]
        rows = self._database.execute("SELECT deployment_id, yaml FROM deployments ORDER BY deployment_id")
        return int(version), dict(rows.fetchall())

    def deploy(self, deployment_id: str, text: bytes) -> None:
        """Want this deployment; the version rises unless nothing changes by it."""
        if self.desired()[1].get(deployment_id) != text:
            with self._together():
                self._database.execute("INSERT OR REPLACE INTO deployments VALUES (?, ?)", (deployment_id, text))
                self._database.execute("UPDATE desired SET version = version + 1")

    def undeploy(self, deployment_id: str) -> bool:
        """Want it no more; False if it was not wanted."""
        if deployment_id not in self.desired()[1]:
            return False
        with self._together():
            self._database.execute("DELETE FROM deployments WHERE deployment_id = ?", (deployment_id,))
            self._database.execute("UPDATE desired SET version = version + 1")
        return True

    # Requests

    def record(self, route: str, method: str, target: str, fields: str, body: bytes) -> int:
        """Record a request before anything is done with it; returns its number."""
        cursor = self._database.execute(
            "INSERT INTO requests (at, route, method, target, fields, body) VALUES (?, ?, ?, ?, ?, ?)",
            (time.time(), route, method, target, fields, body),
        )
        return cursor.lastrowid or 0

    def answered(
        self, number: int, status: int, verdict: str, fingerprint: str | None = None, client_id: str | None = None
    ) -> None:
        """Record what was decided, before the answer leaves."""
        self._database.execute(
            "UPDATE requests SET status = ?, verdict = ?, fingerprint = ?, client_id = ? WHERE number = ?",
            (status, verdict, fingerprint, client_id, number),
        )

    def requests(self) -> list[dict[str, object]]:
        """Return every recorded request, oldest first; `status` None: no answer was decided."""
        names = ("number", "at", "route", "method", "target", "fields", "body", "status", "verdict")
        columns = (*names, "fingerprint", "client_id")
        cursor = self._database.execute(f"SELECT {', '.join(columns)} FROM requests ORDER BY number")  # noqa: S608 - constant names
        return [dict(zip(columns, row, strict=True)) for row in cursor]

    # Helpers

    @contextmanager
    def _together(self) -> Iterator[None]:
        self._database.execute("BEGIN")
        yield
        self._database.execute("COMMIT")

    def _one(self, where: str, value: str | int) -> Client | None:
        row = self._database.execute(f"SELECT {_COLUMNS} FROM clients WHERE {where}", (value,)).fetchone()  # noqa: S608 - constant
        return Client(*row) if row else None

    def _again(self, identity: str) -> Client:
        client = self.by_identity(identity)
        if client is None:
            raise NotPossible("the client was forgotten meanwhile")
        return client

    def _change(self, client: Client, state: str, client_id: str | None) -> Client:
        self._database.execute(
            "UPDATE clients SET state = ?, client_id = ?, since = ? WHERE number = ?",
            (state, client_id, time.time(), client.number),
        )
        return self._again(client.identity)
