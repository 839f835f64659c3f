"""What this device is, by the configuration and by itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from margod.capabilities import Overrides, probe
from margod.model.capabilities import Capabilities

if TYPE_CHECKING:
    from margod.config import Config


def capabilities_of(config: Config, directory: Path) -> Capabilities:
    """Return what this device is: what the configuration says, else what is found; `directory` is on its storage."""
    device = config.device
    overrides = Overrides(
        device_id=device.id,
        vendor=device.vendor,
        model_number=device.model_number,
        serial_number=device.serial_number,
        architecture=device.architecture,
        cores=device.cores,
        memory=device.memory,
        storage=device.storage,
    )
    return probe(state_directory=directory, overrides=overrides)
