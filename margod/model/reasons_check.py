"""The reasons that only a look from outside the daemon, `margod check`, can have."""

from __future__ import annotations

from margod.model.reason import Side
from margod.model.reason import reason as _reason

CHECK_NEEDS_RIGHTS = _reason(
    "check-needs-rights",
    Side.DEVICE,
    "This user may not look at it.",
    "Run `margod check` as root.",
)
STATE_MISSING = _reason(
    "state-missing",
    Side.DEVICE,
    "There is no state directory yet.",
    "Start margod, which makes it: `systemctl start margod`; or check state.directory.",
)
CA_DIFFERS = _reason(
    "ca-differs",
    Side.WFM,
    "The WFM offers another root CA than the one it is verified with.",
    "Ask the WFM's operator whether its root CA is about to change; trust.ca_file may hold both.",
)
DAEMON_DISAGREES = _reason(
    "daemon-disagrees",
    Side.DEVICE,
    "The running margod works with something else than what stands on disk.",
    "Take the configuration over with `margod reload`, or `systemctl restart margod`.",
)
