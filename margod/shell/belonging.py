"""Whether the vault belongs to this device, and what becomes of the records where it does not.

A copy of a disk must not share a key. `identity/hardware.py` compares; here is what follows for the vault.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import structlog

from margod.identity import hardware
from margod.identity.hardware import Judged, Seen, Verdict
from margod.model import reasons
from margod.protocols import ENROLMENT, FILED
from margod.shell import archive
from margod.shell.records import ANCHORS, CHOSEN, HARDWARE, RETIRED, STAGED, WFM
from margod.shell.situation import Situation, Warned, blocked_by
from margod.store import volatile

if TYPE_CHECKING:
    from margod.shell.ground import Ground

log: Final = structlog.get_logger()

_OF_THE_PLACE = (WFM, ANCHORS, STAGED, CHOSEN, RETIRED, FILED)
"""Where the WFM is and what verifies it, or no longer does: the image may have been made with it on purpose."""


def copied(records: Mapping[str, bytes], seen: Seen) -> Judged | None:
    """Return how another device's these records are; None if they are this one's, or that cannot be told."""
    judged = hardware.judge(records.get(HARDWARE), seen)
    return judged if judged.verdict is Verdict.OTHER else None


def is_kept(records: Mapping[str, bytes]) -> bool:
    """Return whether a WFM has accepted what is in these records, now or formerly: nothing of it is thrown away."""
    return ENROLMENT in records or any(former.enrolled for former in archive.formers(records))


def mismatch(records: Mapping[str, bytes], ground: Ground) -> Situation | None:
    """Return the situation of a device whose records are another's and are to be kept; None for all others."""
    judged = copied(records, ground.seen)
    if judged is None or not (ground.follows or is_kept(records)):
        return None
    return Situation(blocked_by(reasons.HARDWARE_MISMATCH, judged.says), url=ground.config.wfm.url)


def warnings(ground: Ground) -> list[Warned]:
    """Return what a person should know about what this device stands on: what does not last, what cannot be told."""
    lost = None if ground.config.state.allow_volatile else volatile(ground.directory)
    found = [] if lost is None else [Warned(reasons.STATE_VOLATILE, f"{lost}.")]
    if not ground.seen:
        found.append(Warned(reasons.HARDWARE_UNKNOWN, reasons.HARDWARE_UNKNOWN.says))
    return found


def without_identity(records: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return what a copy may keep: where the WFM is and what verifies it. Says so in the journal."""
    log.warning("hardware-changed", message="The stored key was made on other hardware; another one takes its place.")
    return {name: data for name, data in records.items() if name in _OF_THE_PLACE}


def bound(seen: Seen) -> bytes:
    """Return the record of a vault that belongs to what is seen, under a salt of its own."""
    return hardware.bind(seen, os.urandom(hardware.SALT))


def due(records: Mapping[str, bytes], seen: Seen) -> dict[str, bytes | None]:
    """Return what a commit that is made anyway brings up to date: an older vault's record, a replaced card's."""
    record = hardware.renewed(records.get(HARDWARE), seen, os.urandom(hardware.SALT))
    return {} if record is None else {HARDWARE: record}
