"""What this device is, by the configuration and by itself, and which devices are behind it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from margod.capabilities import Overrides, Probed, look
from margod.model.capabilities import Capabilities

if TYPE_CHECKING:
    from margod.config import Config
    from margod.protocols import Generation

_NOT_SAID = attrs.filters.exclude("children", "look", "settle")


@dataclass(frozen=True, slots=True)
class Device:
    """What is to be reported, where it comes from, and what is wrong with manifests that somebody wrote."""

    capabilities: Capabilities
    probed: Probed
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What a setting names and this generation has no place for."""

    @property
    def says(self) -> tuple[Capabilities, tuple[str, ...]]:
        """What makes it another one."""
        return self.capabilities, self.problems


def device_of(config: Config, directory: Path, generation: Generation, root: Path = Path("/")) -> Device:
    """Look at everything; `directory` is on the device's storage. Some dozen small files are read. Never raises."""
    probed = look(root=root, state_directory=directory, overrides=overrides(config))
    capabilities = replace(probed.capabilities, said=_said(config))
    problems: list[str] = []
    notes: tuple[str, ...] = ()
    if config.capabilities.file is not None:
        capabilities = _of_file(config.capabilities.file, capabilities, generation, problems)
    if config.capabilities.children is not None and not generation.children:
        notes = ("children: this generation knows no devices behind a gateway; none of them is reported",)
    elif config.capabilities.children is not None:
        from margod.capabilities.manifests import family  # for gateways only

        below = capabilities.device_id
        found = family(config.capabilities.children, below, generation.manifest_problem, generation.manifest_id)
        capabilities = replace(capabilities, children=found.children)
        problems += found.problems
    # Half of a change must not be taken for the whole: nobody is removed while anything cannot be used.
    return Device(replace(capabilities, held=bool(problems)), probed, tuple(problems), notes)


def overrides(config: Config) -> Overrides:
    """Return what the configuration says of the device itself."""
    device, said = config.device, config.capabilities
    collector = {"present": True, "absent": False}
    return Overrides(
        device_id=device.id,
        vendor=device.vendor,
        model_number=device.model_number,
        serial_number=device.serial_number,
        architecture=device.architecture,
        cores=device.cores,
        memory=device.memory,
        storage=device.storage,
        interfaces=said.interfaces,
        peripherals=said.peripherals,
        runtimes=said.runtimes,
        deployment_types=said.deployment_types,
        otel_collector=collector.get(said.otel_collector),
        withhold=frozenset(said.withhold or ()),
    )


def _of_file(file: Path, device: Capabilities, generation: Generation, problems: list[str]) -> Capabilities:
    """Return the device with the complete manifest in the place of what was found."""
    from margod.capabilities.manifests import Unusable, read  # for those who write one

    try:
        manifest = read(file, generation.manifest_problem)
    except Unusable as error:
        problems.append(str(error))
        return replace(device, invalid=str(error))
    own = generation.manifest_id(manifest)
    said = hashlib.sha256(f"{device.said}{manifest!r}".encode()).hexdigest()
    return replace(device, device_id=own, manifest=manifest, said=said)


def _said(config: Config) -> str:
    """Return a digest of what a person wrote about the device itself."""
    written: Callable[..., Mapping[str, object]] = attrs.asdict
    parts = (written(config.device), written(config.capabilities, filter=_NOT_SAID))
    return hashlib.sha256(repr(parts).encode()).hexdigest()
