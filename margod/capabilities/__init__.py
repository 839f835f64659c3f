"""What this device is: probes of /proc, /sys and the system, overridden value by value by the configuration.

Reads bounded, never raises for what a device does not say: each value falls back honestly. Knows no generation of
the specification; imports `model` alone of ours.
"""

from __future__ import annotations

from margod.capabilities.hardware import hardware
from margod.capabilities.probe import Overrides, Probed, look, probe
from margod.capabilities.sources import Found, Source

__all__ = ["Found", "Overrides", "Probed", "Source", "hardware", "look", "probe"]
