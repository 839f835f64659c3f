"""What the outbox holds, in words that need no database: loading SQLite costs memory that most devices never need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

FILE: Final = "outbox.db"
"""The outbox's name in the state directory."""


@dataclass(frozen=True, slots=True)
class Item:
    """One report. `at` is when it came, Unix seconds; `parked` is the code of the reason, "" while it waits.

    `binding` names the enrolment that it is for, "" as long as there is none. `overtaken`: the WFM has accepted a later
    report of the same deployment. `uid` is the user who reported it, -1 if that is not known.
    """

    number: int
    deployment_id: str
    state: str
    final: bool
    body: bytes
    at: float
    binding: str = ""
    parked: str = ""
    detail: str = ""
    overtaken: bool = False
    uid: int = -1


@dataclass(frozen=True, slots=True)
class Tally:
    """How many reports wait and how many are parked, and when the oldest that waits came, Unix seconds."""

    waiting: int = 0
    parked: int = 0
    oldest: float | None = None


def is_there(directory: Path) -> bool:
    """Return whether there is an outbox in the state directory `directory`, or one that is about to be."""
    return any((directory / name).exists() for name in (FILE, f"{FILE}.new"))
