"""Former enrolments in the vault: put aside when another one takes their place, taken out again, never lost by a typo.

One record each, `former-<hash>.json`: why and when it was put aside, at which place it holds, and what belonged to it
(key, certificate, root CA, client id, report, ledger, ...). Pure: records in, changes out; the caller commits them in
one generation, together with what takes the place of the old, so that a power cut leaves one or the other.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from margod.identity import CERTIFICATE_RECORD, KEY_RECORD, META_RECORD
from margod.protocols import ENROLMENT, FILED
from margod.shell.place import name_of
from margod.shell.records import ANCHORS, CHOSEN, HARDWARE, RETIRED, WFM, json_object
from margod.vault import RECORD_LIMIT

Changes: TypeAlias = dict[str, bytes | None]
"""Records of the vault to be written, or (None) removed."""

MOVED, RESET, ROTATED, FORGOTTEN = "moved", "reset", "rotated", "forgotten"
"""Why an enrolment was put aside; only a `moved` one is taken out again by the configuration alone."""

LIMIT: Final = 16
"""Former enrolments that are kept."""
PREFIX: Final = "former-"
IDENTITY: Final = frozenset({KEY_RECORD, CERTIFICATE_RECORD, META_RECORD})

_OF_THE_DEVICE: Final = frozenset({CHOSEN, HARDWARE, RETIRED, FILED})
"""Records that belong to the device whatever WFM it has: they are neither put aside nor taken back."""


@dataclass(frozen=True, slots=True)
class Former:
    """One former enrolment. `name` is its record's, `at` is in Unix seconds, `place` the name of its WFM's place."""

    name: str
    why: str
    at: float
    place: str
    records: Mapping[str, bytes] = field(repr=False)

    @property
    def enrolled(self) -> bool:
        """Whether a WFM had accepted this device; otherwise it had only been asked."""
        return ENROLMENT in self.records


def belongs(name: str) -> bool:
    """Return whether a record is part of an enrolment: not an archive, and not of the device as such."""
    return not name.startswith(PREFIX) and name not in _OF_THE_DEVICE


def put(records: Mapping[str, bytes], why: str, at: float) -> Changes:
    """Return what adds the enrolment in `records` to the archive, and drops others beyond `LIMIT`.

    The present records stay as they are: see `cleared`. The ledger should be folded before. Dropped are those that no
    WFM had accepted, then the oldest that were not `moved`, then the oldest.
    """
    mine = {name: data for name, data in records.items() if belongs(name)}
    place = name_of(json_object(records.get(WFM, b"")))
    data = _encode(why, at, place, mine)
    if len(data) > RECORD_LIMIT:  # root CAs can be had again, an enrolment cannot
        data = _encode(why, at, place, {name: part for name, part in mine.items() if name != ANCHORS})
    name = f"{PREFIX}{hashlib.sha256(data).hexdigest()[:16]}.json"
    others = sorted((former for former in formers(records) if former.name != name), key=_worth)
    unreadable = sorted(_names(records) - {former.name for former in others} - {name})
    changes: Changes = dict.fromkeys([*unreadable, *(former.name for former in others)][: -(LIMIT - 1)])
    return {**changes, name: data}


def cleared(records: Mapping[str, bytes], *, identity: bool) -> Changes:
    """Return what removes the present enrolment; `identity`: its key and certificate too."""
    return {name: None for name in records if belongs(name) and (identity or name not in IDENTITY)}


def find(records: Mapping[str, bytes], place: str, why: str = MOVED) -> Former | None:
    """Return the former enrolment of this place that was put aside last, None if there is none."""
    return next((each for each in reversed(formers(records)) if (each.place, each.why) == (place, why)), None)


def restore(records: Mapping[str, bytes], former: Former) -> Changes:
    """Return what puts a former enrolment in the place of the present one, which the caller has put aside."""
    return {**cleared(records, identity=True), **former.records, former.name: None}


def formers(records: Mapping[str, bytes]) -> tuple[Former, ...]:
    """Return the former enrolments that can be read, in the order in which they were put aside."""
    found = [former for name in _names(records) if (former := _decode(name, records[name])) is not None]
    return tuple(sorted(found, key=lambda former: (former.at, former.name)))


def _names(records: Mapping[str, bytes]) -> set[str]:
    return {name for name in records if name.startswith(PREFIX)}


def _worth(former: Former) -> tuple[bool, bool, float]:
    return former.enrolled, former.why == MOVED, former.at


def _encode(why: str, at: float, place: str, records: Mapping[str, bytes]) -> bytes:
    encoded = {name: base64.b64encode(data).decode("ascii") for name, data in sorted(records.items())}
    return json.dumps({"why": why, "at": at, "place": place, "records": encoded}, allow_nan=False).encode("ascii")


def _decode(name: str, data: bytes) -> Former | None:
    value = json_object(data)
    why, at, place, records = (value.get(key) for key in ("why", "at", "place", "records"))
    if not (isinstance(why, str) and isinstance(at, int | float) and isinstance(place, str)):
        return None
    if not (math.isfinite(at) and isinstance(records, dict)):
        return None
    try:
        decoded = {str(key): base64.b64decode(text, validate=True) for key, text in records.items()}
    except (ValueError, TypeError):
        return None
    return Former(name, why, float(at), place, decoded)
