"""What a person wrote of a list laid over what was found: it replaces, adds or leaves out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from margod.capabilities.sources import Found, Source
from margod.model.capabilities import Peripheral

NOTHING: Final = "none"
PREFERRED: Final = 8
"""Names of the kernel's that are kept to show where a value comes from."""


def words(set_to: tuple[str, ...] | None, found: Mapping[str, tuple[str, ...]], order: tuple[str, ...]) -> list[Found]:
    """Return the words that count, in `order`, each with where it comes from. `set_to`: as `capabilities.*` says."""
    counts = {word: Found(word, Source.SYSTEM, by[:PREFERRED]) for word, by in found.items()}
    entries = set_to or ()
    if entries and entries[0][0] not in "+-":
        counts = {}
    for entry in entries:
        word = entry.removeprefix("+").removeprefix("-")
        if entry.startswith("-"):
            counts.pop(word, None)
        elif word != NOTHING:
            counts.setdefault(word, Found(word, Source.SETTING))
    return [counts[word] for word in order if word in counts]


def peripherals(set_to: tuple[str, ...] | None, found: Mapping[Peripheral, tuple[str, ...]]) -> list[Found]:
    """Return the peripherals that count, sorted, each with where it comes from.

    `-gpu` leaves out every gpu, `-gpu:NVIDIA` those of this manufacturer.
    """
    counts = {each: Found(each, Source.SYSTEM, by[:PREFERRED]) for each, by in found.items()}
    entries = set_to or ()
    if entries and entries[0][0] not in "+-":
        counts = {}
    for entry in entries:
        named = peripheral(entry.removeprefix("+").removeprefix("-"))
        if entry.startswith("-"):
            counts = {each: kept for each, kept in counts.items() if not _fits(each, named)}
        elif named.type != NOTHING:
            counts.setdefault(named, Found(named, Source.SETTING))
    return [counts[each] for each in sorted(counts)]


def peripheral(text: str) -> Peripheral:
    """Read `type`, `type:manufacturer` or `type:manufacturer:model`."""
    kind, manufacturer, model = (*text.split(":"), "", "")[:3]
    return Peripheral(kind, manufacturer, model)


def _fits(each: Peripheral, named: Peripheral) -> bool:
    return each.type == named.type and named.manufacturer in ("", each.manufacturer) and named.model in ("", each.model)
