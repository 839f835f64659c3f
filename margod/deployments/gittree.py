"""The files of a commit as a desired state: which of them are deployments, and whether they can be. Pure.

A deployment is a file `<id>.yaml` or `<id>.yml` in any folder. Everything else is left out, and so is whatever begins
with a dot, or is in a folder that does: what Git servers and their pipelines keep there is nobody's deployment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from margod.model.text import clean
from margod.protocols.signed.desired import FILE_LIMIT
from margod.protocols.signed.manifest import (
    COUNT_LIMIT,
    DEPLOYMENT_ID,
    Deployment,
    Manifest,
    Unacceptable,
)

ENDINGS: Final = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Tree:
    """What a commit wants: the manifest, each YAML by its digest, and the paths that are no deployments."""

    manifest: Manifest
    texts: Mapping[str, bytes]
    left_out: tuple[str, ...] = ()


def read_tree(files: Mapping[str, bytes], version: int) -> Tree:
    """Return the desired state in the files of a commit (by path, slashes between), under `version` (>= 1).

    Raises Unacceptable, for the whole, where one cannot be a deployment: an id that fits into no path, two files of one
    id or of two that differ in capitals only, more than COUNT_LIMIT, one larger than FILE_LIMIT.
    """
    paths: dict[str, str] = {}
    texts: dict[str, bytes] = {}
    wanted: list[Deployment] = []
    left_out: list[str] = []
    for path, data in sorted(files.items()):
        deployment_id = _id_of(path)
        if deployment_id is None:
            left_out.append(path)
            continue
        shown = clean(path, 80)
        if not DEPLOYMENT_ID.fullmatch(deployment_id):
            raise Unacceptable(f"{shown}: its name is no deployment's id")
        same = deployment_id.lower()  # a file system of an agent may not tell capitals from small letters
        if same in paths:
            raise Unacceptable(f"{shown}: {clean(paths[same], 80)} is the same deployment")
        if len(data) > FILE_LIMIT:
            raise Unacceptable(f"{shown}: larger than {FILE_LIMIT} bytes")
        paths[same] = path
        if len(paths) > COUNT_LIMIT:
            raise Unacceptable(f"more than {COUNT_LIMIT} deployments")
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        texts[digest] = data
        wanted.append(Deployment(deployment_id, digest))
    manifest = Manifest(version, None, tuple(sorted(wanted, key=lambda one: one.deployment_id)))
    return Tree(manifest, texts, tuple(left_out))


def _id_of(path: str) -> str | None:
    """Return the id that a file's name stands for; None if it is no deployment."""
    if any(part.startswith(".") for part in path.split("/")):
        return None
    name = path.rpartition("/")[2]
    return next((name.removesuffix(ending) for ending in ENDINGS if name.endswith(ending)), None)
