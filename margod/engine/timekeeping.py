"""What this device's clock is worth: pure decisions from wall clock, boot-time clock and what others say of the time.

Three clocks: `wall` is Unix time and may be set; `mono` never jumps and stands still in suspend; `boot` never jumps and
counts suspend too. All in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HOUR: Final = 3_600.0
DAY: Final = 86_400.0
BOUND: Final = DAY
"""By how much the floor may rise beyond the time that certainly passed, once a boot and once a day of running.

A device that was lied to once then waits a day at most after its clock is right again, and needs nobody; a floor that
stayed behind while the device was switched off catches up by a day each day, which is soon enough for a floor."""
SLACK: Final = HOUR
"""How far the floor stays below the clock it was read from: a correction by less is no reason to stop."""
WORTH_A_WRITE: Final = HOUR
"""The least rise that is written down."""
AGREES: Final = 900.0
"""Seconds by which two clocks may differ and still vouch for each other."""
STEP: Final = 5.0
"""Seconds by which the wall clock has to leave the boot-time clock to count as set; and a suspend to be noticed."""
OFFSET_FROM: Final = 5.0
"""An offset is used for signatures from here on: a strict verifier refuses what lies further ahead."""
OFFSET_SYNCHRONISED: Final = 900.0
"""The largest offset that is used where this device's clock is synchronised: then it is the WFM's that is wrong."""
OFFSET_UNSYNCHRONISED: Final = DAY
"""The same where nothing keeps this device's clock right."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The time that cannot be again. `boot_id` and `at` (boot-time clock) are of its last rise, "" if it never rose."""

    wall: float
    boot_id: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """The three clocks at one moment."""

    wall: float
    mono: float
    boot: float


@dataclass(frozen=True, slots=True)
class Moved:
    """What happened between two readings: the wall clock was set by `step` seconds, the device slept for `slept`."""

    step: float
    slept: float


def moved(before: Reading, after: Reading) -> Moved:
    """Return what happened between two readings; differences below STEP are the clocks' own drift and count as 0."""
    passed = after.boot - before.boot
    step = after.wall - before.wall - passed
    slept = passed - (after.mono - before.mono)
    return Moved(step if abs(step) >= STEP else 0.0, slept if slept >= STEP else 0.0)


def risen(floor: Floor, seen: float, boot_id: str, boot: float, *, closing: bool = False) -> Floor | None:
    """Return the floor after a time was seen that counts (`seen`, Unix seconds), None if it stays.

    It never rises above `seen`, nor by more than the time that certainly passed plus BOUND. Within one boot that time
    is known exactly and BOUND is granted once a day; in a later boot at least the time since its start has passed.
    Before its first rise nothing is known to have passed. `closing`: the process ends, so less than a day is taken too.
    """
    known = floor.boot_id == boot_id and boot >= floor.at
    passed = boot - floor.at if known else boot if floor.boot_id else 0.0
    if known and passed < DAY:
        if not closing:
            return None
        reach = floor.wall + passed
    else:
        reach = floor.wall + passed + BOUND
    reached = min(seen - SLACK, reach)
    return Floor(reached, boot_id, boot) if reached >= floor.wall + WORTH_A_WRITE else None


def vouches(offset: float, at: float, valid: tuple[float, float] | None) -> bool:
    """Return whether a WFM's `Date`, `offset` seconds ahead of ours at `at`, vouches for this device's clock.

    It does if it came over a verified channel (`valid` is the validity of the WFM's certificate), lies inside that
    validity, and agrees with the local clock.
    """
    return valid is not None and abs(offset) <= AGREES and valid[0] <= at + offset <= valid[1]


def correction(offset: float | None, synchronised: bool | None) -> float:
    """Return the seconds to be added to the local clock in a signature; 0.0 where the offset is not to be used."""
    if offset is None or abs(offset) <= OFFSET_FROM or beyond(offset, synchronised):
        return 0.0
    return offset


def beyond(offset: float | None, synchronised: bool | None) -> bool:
    """Return whether the offset is so large that one of the two clocks has to be mended."""
    limit = OFFSET_SYNCHRONISED if synchronised else OFFSET_UNSYNCHRONISED
    return offset is not None and abs(offset) >= limit
