"""What this device would report now, value by value, and what the WFM took last: the document of `margod capabilities`.

Pure but for what is handed in; the words of the local API (local/openapi.yaml, `Capabilities`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Final

from margod.capabilities import Source
from margod.model.capabilities import Capabilities, Peripheral
from margod.model.text import timestamp
from margod.protocols import Context, Generation
from margod.shell.device import Device

SCHEMA: Final = 1
_SINGLE: Final = ("device_id", "vendor", "model_number", "serial_number", "architecture", "cores", "memory", "storage")
_LISTS: Final = ("interfaces", "peripherals", "runtimes", "deployment_types", "otel_collector")
LISTED: Final = 1_024
"""Devices behind this one that are listed: those that are wanted and those that the WFM still has."""


def document(
    device: Device,
    generation: Generation,
    records: Mapping[str, bytes],
    client_id: str | None,
    *,
    settling: bool,
    due: float | None = None,
) -> dict[str, object]:
    """Return it. `records` are the vault's, empty where nobody asks for what the WFM has; `client_id` may be None.

    `due`: when what is settling is reported if it holds, Unix seconds.
    """
    context = Context(b"", records, device.capabilities)
    last = generation.last_report(records)
    capabilities = device.capabilities
    return {
        "schema": SCHEMA,
        "manifest": None if capabilities.invalid else generation.manifest(capabilities, client_id or ""),
        "values": [] if capabilities.manifest is not None or capabilities.invalid else list(_values(device)),
        "children": list(_children(context, generation))[:LISTED],
        "problems": list(device.problems),
        "notes": [*device.notes, *generation.notes(context)],
        "accepted": dict(last.manifest) or None,
        "settling": settling,
        "due_at": None if due is None else timestamp(due),
    }


def _values(device: Device) -> Iterable[dict[str, object]]:
    capabilities, probed = device.capabilities, device.probed
    for name in _SINGLE:
        source = probed.sources.get(name, Source.SYSTEM)
        yield {"name": name, "value": _single(capabilities, name), "source": str(source), "by": []}
    for name in _LISTS:
        if (nothing := probed.sources.get(name)) is not None:  # withheld, or there is none
            yield {"name": name, "value": None, "source": str(nothing), "by": []}
        for entry in probed.found.get(name, ()):
            value = asdict(entry.value) if isinstance(entry.value, Peripheral) else entry.value
            yield {"name": name, "value": value, "source": str(entry.source), "by": list(entry.by)}


def _single(device: Capabilities, name: str) -> str | int | None:
    if name in ("cores", "architecture"):
        cores: str | int | None = getattr(device.cpus[0], name) if device.cpus else None
        return cores
    found: str | int | None = getattr(device, name)
    return found


def _children(context: Context, generation: Generation) -> Iterable[dict[str, object]]:
    """Yield id and state of each: accepted, new, changed, to be removed, or kept because a manifest cannot be used."""
    known = generation.last_report(context.records).children
    parts = {part.device_id: part for part in generation.parts(context, "")}
    names = [child.device_id for child in context.capabilities.children]
    for name in [*names, *sorted(known.keys() - set(names))]:
        part = parts.get(name)
        if part is None:
            state = "accepted" if name in names else "kept"
        elif not part.digest:
            state = "to-be-removed"
        else:
            state = "changed" if name in known else "new"
        yield {"device_id": name, "state": state}
