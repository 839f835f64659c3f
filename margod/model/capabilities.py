"""What a device says of itself, in a form that no generation of the specification owns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

DEVICE_ID: Final = re.compile(r"[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*")
"""The specification's grammar of a device id, to be matched whole; slashes are the gateway hierarchy."""

DEVICE_ID_IN_PATH: Final = re.compile(rf"(?!(?:.*/)?\.{{1,2}}(?:/|$)){DEVICE_ID.pattern}")
"""The same without the segments that servers and libraries take out of a path (RFC 3986, 5.2.4)."""

ARCHITECTURES: Final = ("amd64", "arm64", "arm")
INTERFACES: Final = ("ethernet", "wifi", "cellular", "bluetooth", "usb", "canbus", "rs232")
PERIPHERALS: Final = ("gpu", "display", "camera", "microphone", "speaker")
RUNTIMES: Final = ("oci",)
DEPLOYMENT_TYPES: Final = ("helm", "compose")
"""The words that the specification has."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """One kind of processor: integer cores >= 1; architecture `amd64`, `arm64`, `arm`, or None if it is another."""

    cores: int
    architecture: str | None


@dataclass(frozen=True, slots=True, order=True)
class Peripheral:
    """One thing that is attached, of `PERIPHERALS`; who made it and which it is, "" where that is not known."""

    type: str
    manufacturer: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Child:
    """A device behind this one: its id below the gateway's, and its complete manifest (parsed JSON), checked."""

    device_id: str
    manifest: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The device's capabilities. `device_id` None means: the client id. Sizes in bytes, None where not known.

    Of what is None nothing is said at all. `manifest`: a complete manifest that is sent in the place of everything
    else. `invalid`: why there is nothing that could be sent. `children`: parents first; `held`: a child that is not
    among them may be there all the same, so that what the WFM has of it stays. `said` is a digest of what a person
    wrote about the device itself: a change of that is no flapping.
    """

    device_id: str | None
    vendor: str
    model_number: str
    serial_number: str
    cpus: tuple[Cpu, ...] = ()
    memory: int | None = None
    storage: int | None = None
    interfaces: tuple[str, ...] | None = None
    peripherals: tuple[Peripheral, ...] | None = None
    otel_collector: bool | None = None
    runtimes: tuple[str, ...] = ()
    deployment_types: tuple[str, ...] = ()
    manifest: Mapping[str, object] | None = None
    invalid: str = ""
    children: tuple[Child, ...] = ()
    held: bool = False
    said: str = ""
