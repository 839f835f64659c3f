"""The reasons that have to do with whose disk this is; read them as `reasons.X`."""

from __future__ import annotations

from margod.model.reason import Side
from margod.model.reason import reason as _reason

HARDWARE_MISMATCH = _reason(
    "hardware-mismatch",
    Side.DEVICE,
    "The stored identity was made on other hardware than this; nothing is sent with it.",
    "The same device with another board: `margod identity adopt-hardware`. A copy of another device's disk: `margod "
    "reset --wipe`, then start margod again.",
)
HARDWARE_UNKNOWN = _reason(
    "hardware-unknown",
    Side.DEVICE,
    "This device has nothing that its identity could be bound to; a copy of its disk would not be noticed.",
    'Copy images only after `margod prepare-image`; see "Cloning images" in docs/operations.md.',
)
STATE_VOLATILE = _reason(
    "state-volatile",
    Side.DEVICE,
    "The state directory does not survive a restart.",
    "Mount a disk there, or set state.directory to one; state.allow_volatile: true accepts that each restart is "
    "another device.",
)
