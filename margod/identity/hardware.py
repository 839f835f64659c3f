"""Whether a vault is on the device that it was made on. Pure: what is seen is handed in, as kinds and values.

The record holds salted hashes: who reads it learns no serial number, and the copies of one image share the salt, so
that they can be compared. Two kinds that agree make it the same device, whatever a third says: a repaired
one keeps its identity. Where fewer than two are known both then and now, all of them have to agree; where none is,
nothing can be told, and the vault is taken for this device's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

RECORD: Final = "hardware.json"
ENOUGH: Final = 2
"""Kinds that have to agree."""
SALT: Final = 16
"""Bytes."""
_LIMIT: Final = 65_536

Seen: TypeAlias = Mapping[str, Set[str]]
"""The values of each kind (a device may have several network cards), kinds of which nothing is known left out."""


class Verdict(Enum):
    """What the comparison says."""

    UNBOUND = "unbound"
    """There is no record, or nothing in it: made before there were any, or where there was nothing to bind to."""
    SAME = "same"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, and the kinds that agree and differ, sorted."""

    verdict: Verdict
    agree: tuple[str, ...] = ()
    differ: tuple[str, ...] = ()

    @property
    def says(self) -> str:
        """Return it as words, without any value."""
        parts = [
            f"{word}: {', '.join(kinds)}" for word, kinds in (("other", self.differ), ("same", self.agree)) if kinds
        ]
        return "; ".join(parts)


def bind(seen: Seen, salt: bytes) -> bytes:
    """Return the record that binds to what is seen. `salt` is random, 16 bytes, a vault's own."""
    kinds = {kind: sorted(_hash(salt, kind, value) for value in values) for kind, values in seen.items() if values}
    return json.dumps({"salt": salt.hex(), "kinds": kinds}, sort_keys=True).encode("ascii")


def judge(record: bytes | None, seen: Seen) -> Judged:
    """Return whether the record is of what is seen. A record that cannot be read is none: it takes nothing away."""
    salt, kinds = _read(record)
    if not kinds:
        return Judged(Verdict.UNBOUND)
    agree: list[str] = []
    differ: list[str] = []
    for kind in sorted(kinds.keys() & {kind for kind, values in seen.items() if values}):
        same = kinds[kind] & {_hash(salt, kind, value) for value in seen[kind]}
        (agree if same else differ).append(kind)
    is_same = len(agree) >= ENOUGH or not differ
    return Judged(Verdict.SAME if is_same else Verdict.OTHER, tuple(agree), tuple(differ))


def renewed(record: bytes | None, seen: Seen, salt: bytes) -> bytes | None:
    """Return the record brought up to date, None if there is nothing to change: never for another device's.

    What is seen now takes the place of what was, kind by kind; a kind that is not seen now stays. `salt` is for a
    first record.
    """
    judged = judge(record, seen)
    if judged.verdict is Verdict.OTHER or not seen:
        return None
    stored_salt, kinds = _read(record)
    if not kinds:
        return bind(seen, salt)
    now = {
        kind: frozenset(_hash(stored_salt, kind, value) for value in values) for kind, values in seen.items() if values
    }
    merged = {**kinds, **now}
    if merged == kinds:
        return None
    listed = {kind: sorted(hashes) for kind, hashes in merged.items()}
    return json.dumps({"salt": stored_salt.hex(), "kinds": listed}, sort_keys=True).encode("ascii")


def _hash(salt: bytes, kind: str, value: str) -> str:
    return hashlib.sha256(salt + kind.encode() + b"\0" + value.encode("utf-8", "surrogatepass")).hexdigest()


def _read(record: bytes | None) -> tuple[bytes, dict[str, frozenset[str]]]:
    """Return salt and hashes of each kind; empty where there is no record that can be read."""
    try:
        value = json.loads(record[:_LIMIT]) if record else {}
        salt = bytes.fromhex(value["salt"])
        kinds = {str(kind): frozenset(str(each) for each in hashes) for kind, hashes in value["kinds"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return b"", {}
    return salt, {kind: hashes for kind, hashes in kinds.items() if hashes}
