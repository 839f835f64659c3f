"""One generation: a directory of records and a manifest that says which they are and what they sum to.

The manifest carries a sum of itself, so that one flipped bit reads as damage and never as another binding or format.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from margod.vault.check import Damaged, Guard, NewerFormat, read_directory, read_file

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
RECORD_LIMIT: Final = 1 << 20
"""Bytes in one record."""
MANIFEST_LIMIT: Final = 64 << 10
BINDING_LIMIT: Final = 1024
"""Characters in a binding."""

_RECORD_NAME: Final = re.compile(r"[a-z][a-z0-9.-]{0,63}")
_DIRECTORY_NAME: Final = re.compile(r"gen-([0-9]{6,18})")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Generation:
    """A consistent set of records. `number` >= 1; `binding` says to which identity and WFM they belong."""

    number: int
    binding: str
    records: Mapping[str, bytes] = field(repr=False)


def directory_name(number: int) -> str:
    """Return the name of generation `number`'s directory."""
    return f"gen-{number:06d}"


def directory_number(name: str) -> int | None:
    """Return the number of the generation that a directory of this name holds; None if it is no generation's name."""
    match = _DIRECTORY_NAME.fullmatch(name)
    number = int(match[1]) if match else 0
    return number if number and directory_name(number) == name else None


def check_record(name: str, data: bytes) -> None:
    """Raise ValueError if `name` is no record name or `data` is larger than a record may be."""
    if not _RECORD_NAME.fullmatch(name) or name == MANIFEST:
        raise ValueError(f"{name!r} is not a record name")
    if len(data) > RECORD_LIMIT:
        raise ValueError(f"record {name} has {len(data)} bytes; {RECORD_LIMIT} are the limit")


def files_of(generation: Generation) -> dict[str, bytes]:
    """Return what the directory of `generation` holds: its records and the manifest.

    Raises ValueError if a name, a size, the number of records or the binding is out of bounds.
    """
    for name, data in generation.records.items():
        check_record(name, data)
    if len(generation.binding) > BINDING_LIMIT:
        raise ValueError(f"a binding has at most {BINDING_LIMIT} characters")
    manifest: dict[str, object] = {
        "format": FORMAT,
        "generation": generation.number,
        "binding": generation.binding,
        "records": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(generation.records.items())},
    }
    manifest["sum"] = _sum(manifest)
    encoded = json.dumps(manifest, indent=1).encode("ascii") + b"\n"
    if len(encoded) > MANIFEST_LIMIT:
        raise ValueError("too many records for one generation")
    return {**generation.records, MANIFEST: encoded}


def read_generation(directory: Path, number: int, guard: Guard) -> Generation:
    """Read generation `number` below `directory` and verify all of it.

    Files that the manifest does not name are not looked at. Raises Damaged, NewerFormat, or StateUnusable where the
    files may be well but cannot be read now (rights; no descriptors left).
    """
    path = directory / directory_name(number)
    read_directory(path, guard)
    manifest = _parse_manifest(read_file(path / MANIFEST, MANIFEST_LIMIT, guard))
    if manifest["generation"] != number:
        raise Damaged(f"{path.name}/{MANIFEST} is that of generation {manifest['generation']}")
    records = {}
    for name, expected in manifest["records"].items():
        data = read_file(path / name, RECORD_LIMIT, guard)
        if hashlib.sha256(data).hexdigest() != expected:
            raise Damaged(f"{path.name}/{name} does not match its sum")
        records[name] = data
    return Generation(number, manifest["binding"], records)


def _parse_manifest(data: bytes) -> dict[str, Any]:
    """Return the manifest in `data`, whose own sum holds and whose fields have the types that FORMAT gives them."""
    try:
        manifest = json.loads(data.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{MANIFEST} does not parse") from error
    if not isinstance(manifest, dict) or manifest.get("sum") != _sum(manifest):
        raise Damaged(f"{MANIFEST} does not match its sum")
    if type(manifest.get("format")) is not int or manifest["format"] > FORMAT:
        raise NewerFormat(f"format {manifest.get('format')!r}")
    records = manifest.get("records")
    if (
        type(manifest.get("generation")) is not int
        or not isinstance(manifest.get("binding"), str)
        or not isinstance(records, dict)
        or not all(_RECORD_NAME.fullmatch(name) and name != MANIFEST for name in records)
        or not all(isinstance(value, str) and _SHA256.fullmatch(value) for value in records.values())
    ):
        raise Damaged(f"{MANIFEST} is incomplete")
    return manifest


def _sum(manifest: Mapping[str, object]) -> str:
    """Return the SHA-256 of the manifest without its `sum`, in the one form that does not depend on white space.

    Every later format keeps this field and this rule, so that an older margod can tell newer from damaged.
    """
    rest = {key: value for key, value in manifest.items() if key != "sum"}
    try:
        canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return ""
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
