"""Where a value of the capabilities comes from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from margod.model.capabilities import Peripheral


class Source(StrEnum):
    """Where a value comes from."""

    SETTING = "setting"
    DMI = "dmi"
    DEVICE_TREE = "device-tree"
    SYSTEM = "system"
    FALLBACK = "fallback"
    WITHHELD = "withheld"


@dataclass(frozen=True, slots=True)
class Found:
    """One entry of a list, where it comes from, and what stands for it on this device (`eth0`, `docker`)."""

    value: str | Peripheral
    source: Source
    by: tuple[str, ...] = ()
