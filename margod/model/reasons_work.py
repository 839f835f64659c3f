"""The reasons that have to do with what an enrolled device does; read them as `reasons.X`."""

from __future__ import annotations

from margod.model.reason import Side
from margod.model.reason import reason as _reason

NOT_ENROLLED = _reason(
    "not-enrolled",
    Side.DEVICE,
    "This device is not enrolled, so nothing can be asked of the WFM in its name.",
    "`margod status` says what is in the way; `margod wait --for enrolled` waits for it.",
)
