"""Reasons about what the device reports of itself and of the devices behind it."""

from __future__ import annotations

from margod.model.reason import Side, reason

CAPABILITIES_INVALID = reason(
    "capabilities-invalid",
    Side.DEVICE,
    "A manifest that this device is to report cannot be read, or breaks the specification's schema.",
    "Mend the file and field that are named (`margod capabilities`), then `margod reload`.",
)
CHILD_REFUSED = reason(
    "child-refused",
    Side.WFM,
    "The WFM does not accept what this gateway reports of a device behind it.",
    "See which one and what the server said, mend its manifest in capabilities.children, then `margod reload`.",
)
