"""From one WFM to another and back, and starting again at the same: which records that makes of those there are.

Pure. The enrolment that is left is archived in the same changes that begin the other one or take it back, so a mistyped
URL costs nothing. wfm.json carries what has to outlive its place: `from`, where this device was enrolled last (its
enrolment may hold here as well), and `epoch`, which tells the enrolments before and after a reset apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from margod.identity import KEY_RECORD
from margod.protocols import ENROLMENT
from margod.shell import archive
from margod.shell.archive import Changes, Former
from margod.shell.place import name_of, spoken_at
from margod.shell.records import ANCHORS, EPOCH, WFM, json_object

FROM: Final = "from"
_OUTLIVES: Final = (FROM, EPOCH)


def move(
    records: Mapping[str, bytes], place: str, *, url: str | None, begun: bool, per_wfm: bool, at: float
) -> Changes:
    """Return what makes a device that is known at one place one of another: as it was there, or anew.

    `place` is the name of the other, `url` the configured URL if there is one. `begun`: a WFM has been asked under the
    present records, or its answer is not known, so they are archived; the ledger in them is folded. `per_wfm`: another
    WFM gets another key. `at` is in Unix seconds. Empty if the records hold at either.
    """
    stored = json_object(records.get(WFM, b""))
    former = _there(records, place, url)
    if former is None and not name_of(stored):
        return {}  # nothing is known that could be another's
    others = {name: data for name, data in records.items() if former is None or name != former.name}
    changes = archive.put(others, archive.MOVED, at) if begun else {}
    if former is not None:
        return {**changes, **archive.restore(records, former)}
    left = name_of(stored) if ENROLMENT in records else stored.get(FROM)
    fresh = {FROM: left} if isinstance(left, str) and left and spoken_at(left) == spoken_at(place) else {}
    changes |= archive.cleared(records, identity=per_wfm)
    return {**changes, WFM: json.dumps(fresh).encode()} if fresh else changes


def reset(records: Mapping[str, bytes], *, begun: bool, new_identity: bool, at: float) -> Changes:
    """Return what ends the present enrolment and leaves the device at the same place, trusting the same root CA.

    `new_identity`: without key and certificate. `begun` and `at` as for `move`. A copy of the same enrolment that was
    archived under another place goes: nothing is to bring back what a person has ended.
    """
    changes = archive.put(records, archive.RESET, at) if begun else {}
    for former in archive.formers(records):
        if former.why == archive.MOVED and _same(former.records, records):
            changes[former.name] = None
    changes |= archive.cleared(records, identity=new_identity)
    stored = json_object(records.get(WFM, b""))
    epoch = epoch_of(stored) + 1
    kept = {name: value for name, value in stored.items() if name != FROM} | {EPOCH: epoch}
    changes[WFM] = json.dumps(kept, sort_keys=True).encode()
    if ANCHORS in records:
        changes[ANCHORS] = records[ANCHORS]
    return changes


def claim(records: Mapping[str, bytes]) -> Former | None:
    """Return the enrolment of another place that may hold here too, if this device has none of its own here.

    One with a secret never does: what was told to one WFM in confidence is not tried at another.
    """
    left = json_object(records.get(WFM, b"")).get(FROM)
    if ENROLMENT in records or not isinstance(left, str) or spoken_at(left) == "token":
        return None
    former = archive.find(records, left)
    return former if former is not None and former.enrolled else None


def claimed(records: Mapping[str, bytes], former: Former) -> dict[str, bytes]:
    """Return what makes a former enrolment hold here, once the WFM has said that it knows it; its archive stays."""
    stored = {name: value for name, value in json_object(records.get(WFM, b"")).items() if name != FROM}
    taken = {name: data for name, data in former.records.items() if name not in (WFM, ANCHORS)}
    return {**taken, WFM: json.dumps(stored, sort_keys=True).encode()}


def outlived(before: bytes, now: bytes) -> bytes:
    """Return the wfm.json `now`, with what an earlier one said beyond its place."""
    stored = json_object(before)
    carried = {name: stored[name] for name in _OUTLIVES if name in stored}
    return json.dumps({**carried, **json_object(now)}, sort_keys=True).encode() if carried else now


def epoch_of(stored: Mapping[str, object]) -> int:
    """Return how often the device was reset at this place, by wfm.json: 0 where nothing is said."""
    epoch = stored.get(EPOCH)
    return epoch if isinstance(epoch, int) and not isinstance(epoch, bool) and epoch > 0 else 0


def _there(records: Mapping[str, bytes], place: str, url: str | None) -> Former | None:
    """Return the archived enrolment of this place, also where a discovered WFM's URL was written down meanwhile.

    What another generation has enrolled is not of this place, whatever its URL.
    """
    if (former := archive.find(records, place)) is not None:
        return former
    for former in reversed(archive.formers(records)):
        stored = json_object(former.records.get(WFM, b""))
        alike = former.why == archive.MOVED and spoken_at(former.place) == spoken_at(place)
        if alike and url is not None and stored.get("instance") and stored.get("url") == url:
            return former
    return None


def _same(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> bool:
    return ENROLMENT in one and all(one.get(name) == other.get(name) for name in (ENROLMENT, KEY_RECORD))
