"""What a device says of itself, in a form that no generation of the specification owns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

DEVICE_ID: Final = re.compile(r"[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*")
"""The specification's grammar of a device id, to be matched whole; slashes are the gateway hierarchy."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """One kind of processor: integer cores >= 1; architecture `amd64`, `arm64`, `arm`, or None if it is another."""

    cores: int
    architecture: str | None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The device's capabilities. `device_id` None means: the client id. Sizes in bytes, None where not known."""

    device_id: str | None
    vendor: str
    model_number: str
    serial_number: str
    cpus: tuple[Cpu, ...] = ()
    memory: int | None = None
    storage: int | None = None
