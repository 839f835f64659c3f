"""The reason that nothing is sent although nothing is wrong; read it as `reasons.DOWNTIME`."""

from __future__ import annotations

from margod.model.reason import Side
from margod.model.reason import reason as _reason

DOWNTIME = _reason(
    "downtime",
    Side.NONE,
    "It is downtime: no request leaves this device until it ends.",
    "`margod downtime show` says until when; `margod downtime stop` ends one that was begun by hand, the others stand "
    "in schedule.downtime.",
)
