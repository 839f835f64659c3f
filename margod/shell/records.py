"""The vault's records that the shell itself writes, and how they are read."""

from __future__ import annotations

import json
from typing import Final

from margod.identity import hardware

WFM: Final = "wfm.json"
"""Which WFM this is, by which protocol, and where its anchors come from."""
EPOCH: Final = "epoch"
"""In wfm.json: how often this device was reset at this place; another one is another binding."""
ANCHORS: Final = "anchors.pem"
STAGED: Final = "staged.json"
"""Root CAs that the WFM offers and that are no anchors yet (`renewal.py`)."""
RETIRED: Final = "retired.json"
"""Root CAs of which another one has taken the place (`retired.py`): of the device, whatever its enrolment."""
LEAVING: Final = "leaving.json"
"""There is one from before the DELETE of `margod reset --unregister` until the reset: this device is on its way out."""
CHOSEN: Final = "chosen.json"
"""Which of several discovered WFMs the operator chose: {"instance": ...}."""


HARDWARE: Final = hardware.RECORD
"""What the vault is bound to (`identity/hardware.py`): of the device, whatever its enrolment."""


def json_object(data: bytes) -> dict[str, object]:
    """Return the JSON object in `data`, an empty one for anything else."""
    try:
        value = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
