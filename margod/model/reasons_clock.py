"""The reasons that have to do with the time; read them as `reasons.X`."""

from __future__ import annotations

from margod.model.reason import Side
from margod.model.reason import reason as _reason

CLOCK_IMPLAUSIBLE = _reason(
    "clock-implausible",
    Side.DEVICE,
    "This device's clock cannot be right.",
    "Set it (`timedatectl set-ntp true`, or `date -s`), and look at the battery of its real-time clock; if it is right "
    "and was wrong before, `margod clock reset`.",
)
CLOCK_UNSYNCHRONISED = _reason(
    "clock-unsynchronised",
    Side.DEVICE,
    "Nothing keeps this device's clock right, as far as the system says.",
    "Configure systemd-timesyncd or chrony (`timedatectl status`); signatures and TLS depend on the clock.",
)
CLOCK_OFFSET = _reason(
    "clock-offset",
    Side.DEVICE,
    "This device's clock and the WFM's differ.",
    "Compare `date -u` with the WFM's clock; unless NTP keeps this device's right, it is the first to look at.",
)
WFM_CLOCK_OFFSET = _reason(
    "wfm-clock-offset",
    Side.WFM,
    "This device's clock, which is synchronised, and the WFM's differ.",
    "Have the WFM's operator look at the WFM's clock; a WFM refuses signatures that are minutes old or lie ahead.",
)
CLOCK_FROM_WFM = _reason(
    "clock-from-wfm",
    Side.DEVICE,
    "This device's clock cannot be right, so margod works with the WFM's time (clock.bootstrap: wfm).",
    "Set the clock, or configure systemd-timesyncd or chrony, where the device has either; margod does not set it.",
)
