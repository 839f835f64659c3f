"""The settings that say when margod speaks with the WFM; the table is in settings.py."""

# Fields of frozen attrs classes; what RUF009 warns of (a default shared and changed) cannot happen to them:
# ruff: noqa: RUF009

from __future__ import annotations

import attrs

from margod.config import values
from margod.config.setting import section as _section
from margod.config.setting import setting as _setting
from margod.config.windows import WINDOWS
from margod.model.windows import Window


@attrs.frozen(kw_only=True)
class Polling:
    """How often, and in which hours, an enrolled device asks the WFM what is to run on it."""

    period: tuple[Window, ...] | None = _setting(
        WINDOWS,
        None,
        "Hours in which the desired state is asked for, one window or a list, written as for schedule.downtime; "
        "without it always. What falls due outside of them is asked for once when they begin.",
        example="Mon-Fri 06:00-22:00",
    )
    rate: float = _setting(
        values.duration("1s", "30d", off=True),
        300.0,
        "How often the desired state is asked for, a tenth more or less at random; off: never.",
    )


@attrs.frozen(kw_only=True)
class Schedule:
    """When this device speaks with the WFM, and when it is silent."""

    downtime: tuple[Window, ...] | None = _setting(
        WINDOWS,
        None,
        "Times in which no request leaves this device, one window or a list: days and hours, or two dates or moments "
        "with `to` between, each with a time zone if it is not this device's own. The local sockets go on. For a "
        "downtime that nobody planned there is `margod downtime start 4h`.",
        example="Sat,Sun 00:00-24:00 Europe/Berlin",
    )
    polling: Polling = _section(Polling)
