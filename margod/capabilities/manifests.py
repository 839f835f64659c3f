"""Manifests that a person or another program wrote: read from files, bounded, as JSON or as YAML in the small."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from margod.model.capabilities import Child
from margod.model.text import clean
from margod.store import read_regular

LIMIT: Final = 65_536
"""Bytes of one manifest; the examples have a thousand."""
MOST_FILES: Final = 256
MOST_BYTES: Final = 4 * 1_048_576
"""Of all children together."""
DEEPEST: Final = 16
MOST_NODES: Final = 4_000
SUFFIXES: Final = (".json", ".yaml", ".yml")


class Unusable(Exception):
    """A file that is no manifest, or not one that may be sent; the message begins with the file."""


@dataclass(frozen=True, slots=True)
class Family:
    """The children that can be reported, those nearest to the gateway first, and what is wrong with others."""

    children: tuple[Child, ...] = ()
    problems: tuple[str, ...] = ()


def read(path: Path, check: Callable[[object], str]) -> dict[str, object]:
    """Return the parsed manifest in a file that `check` has nothing against. Raises Unusable."""
    try:
        data = read_regular(path, LIMIT, follow=True)
    except (OSError, ValueError) as error:
        raise Unusable(f"{path}: {_words(error)}") from None
    try:
        document = _json(data) if path.suffix == ".json" else _yaml(data)
    except (ValueError, LookupError, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "YAML"
        raise Unusable(f"{path}: is not {kind}: {clean(str(error), 100)}") from None
    if said := check(document):
        raise Unusable(f"{path}: {said}")
    assert isinstance(document, dict)
    return document


def family(
    places: Collection[Path],
    parent: str | None,
    check: Callable[[object], str],
    identifier: Callable[[Mapping[str, object]], str],
) -> Family:
    """Read the manifests of the devices behind the gateway `parent`, its own id, from files and directories.

    `check` says what is wrong with a parsed manifest, `identifier` reads the id of a good one. While there are
    problems nobody may take a child that is missing for one that was removed: its file may be the bad one.
    """
    if parent is None:
        said = "device.id is not set, and the ids of the devices behind this gateway begin with it"
        return Family(problems=(said,))
    try:
        files = _files(places)
    except Unusable as error:
        return Family(problems=(str(error),))
    found: dict[str, tuple[Child, Path]] = {}
    problems: list[str] = []
    for file in files:
        try:
            document = read(file, check)
        except Unusable as error:
            problems.append(str(error))
            continue
        name = identifier(document)
        if name in found:
            problems.append(f"{file}: properties.id: {name} is in {found[name][1].name} already")
        elif not name.startswith(f"{parent}/"):
            problems.append(f"{file}: properties.id: {name} does not lie below the gateway's, {parent}/")
        else:
            found[name] = (Child(name, document), file)
    for name in sorted(found, key=depth):
        above = name.rpartition("/")[0]
        if above != parent and above not in found:
            problems.append(f"{found[name][1]}: properties.id: its parent {above} is not among the children")
            del found[name]
    children = tuple(found[name][0] for name in sorted(found, key=lambda each: (depth(each), each)))
    return Family(children, tuple(problems))


def depth(device_id: str) -> int:
    """Return how many devices stand between this one and the WFM."""
    return device_id.count("/")


def _files(places: Collection[Path]) -> list[Path]:
    found: list[Path] = []
    for place in places:
        try:
            if stat.S_ISDIR(place.stat().st_mode):
                inside = (each for each in place.iterdir() if not each.name.startswith("."))
                found += sorted(each for each in inside if each.suffix in SUFFIXES)
            else:
                found.append(place)
            if len(found) > MOST_FILES:
                raise Unusable(f"{place}: more than {MOST_FILES} manifests")
            if sum(file.stat().st_size for file in found) > MOST_BYTES:
                raise Unusable(f"{place}: more than {MOST_BYTES} bytes of manifests")
        except OSError as error:
            raise Unusable(f"{place}: {_words(error)}") from None
    return list(dict.fromkeys(found))


def _json(data: bytes) -> object:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name stands twice")
        return found

    def never(text: str) -> object:
        raise ValueError(f"{text} is not JSON")

    document: object = json.loads(data, object_pairs_hook=once, parse_constant=never)
    _bounded(document)
    return document


def _yaml(data: bytes) -> object:
    from margod.capabilities.smallyaml import parse  # PyYAML: for those who write it

    document = parse(data, deepest=DEEPEST, most=MOST_NODES)
    _bounded(document)
    return document


def _bounded(document: object) -> None:
    """Raise ValueError for what is nested too deeply or has too many parts."""
    layer, count = [document], 0
    for _ in range(DEEPEST):
        count += len(layer)
        inside = [each.values() if isinstance(each, dict) else each for each in layer if isinstance(each, dict | list)]
        layer = [part for parts in inside for part in parts]
        if not layer:
            return
        if count + len(layer) > MOST_NODES:
            raise ValueError(f"has more than {MOST_NODES} values")
    raise ValueError("is nested too deeply")


def _words(error: Exception) -> str:
    said = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    return f"cannot be read: {clean(said, 100)}"
