"""Whether it is downtime, seen from outside the daemon: a person who looks then is told, and sends nothing unawares."""

from __future__ import annotations

import time
from collections.abc import Callable

from margod.check.device import Device
from margod.client import Client
from margod.model.errors import MargodError
from margod.shell.downtime import Downtime


def downtime_until(device: Device, daemon: Callable[[str], Client]) -> str | None:
    """Return when it ends, in words to stand behind `until`; None if it is none.

    The daemon knows; where none answers, the configuration and what is stored do.
    """
    try:
        found = daemon(str(device.config.local.directory)).status()["downtime"]
        return (found["until"] or "further notice") if found["active"] else None
    except (MargodError, KeyError, TypeError):
        pass
    downtime = Downtime(time.time)
    downtime.configure(device.config.schedule.downtime or ())
    downtime.load(device.config.state.directory, quiet=True)
    return downtime.until_words() if downtime.closed else None
