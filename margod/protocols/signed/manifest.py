"""The desired-state manifest: what it may say, and whether what was fetched is what it names (wire, section 1.4).

Pure: bytes in, values out. Nothing is believed that a digest does not prove; sizes are advisory, and a manifest is
taken whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from margod.model.text import clean

MANIFEST_LIMIT: Final = 1 << 20
"""Bytes of a manifest; more is not read."""
COUNT_LIMIT: Final = 256
"""Deployments in one manifest."""

DEPLOYMENT_ID: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~-]{1,128}")
"""One segment of a path that no server or file system takes apart, to be matched whole."""
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_VERSION_LIMIT: Final = 1 << 64


class Unacceptable(Exception):
    """What the WFM sent cannot be taken; `args[0]` says why, cleaned, for a person."""

    def __init__(self, why: str) -> None:
        super().__init__(clean(why))


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment that is wanted. `digest` is `sha256:` and 64 hexadecimal digits over its YAML as decoded."""

    deployment_id: str
    digest: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is wanted, at one version (1 to 2^64 - 1). `bundle` is the digest of the archive with all of it, if any."""

    version: int
    bundle: str | None
    deployments: tuple[Deployment, ...]

    @property
    def digests(self) -> frozenset[str]:
        """The digests of all deployments; several may share one."""
        return frozenset(deployment.digest for deployment in self.deployments)


def read_manifest(body: bytes) -> Manifest:
    """Return the manifest in an answer's body. Raises Unacceptable.

    The published schema is not asked: it requires keys that no server sends. Numbers may come as `1.0`, members that
    are not known are passed over, and `url` values are not used: they lack the server's path prefix.
    """
    if len(body) > MANIFEST_LIMIT:
        raise Unacceptable(f"the manifest is larger than {MANIFEST_LIMIT} bytes")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise Unacceptable("the manifest is not JSON") from None
    if not isinstance(document, dict):
        raise Unacceptable("the manifest is not a JSON object")
    bundle = document.get("bundle")
    if bundle is not None and not isinstance(bundle, dict):
        raise Unacceptable("bundle: neither null nor an object")
    listed = document.get("deployments")
    if not isinstance(listed, list) or len(listed) > COUNT_LIMIT:
        raise Unacceptable(f"deployments: not a list of at most {COUNT_LIMIT}")
    deployments = tuple(_deployment(entry, f"deployments[{at}]") for at, entry in enumerate(listed))
    ids = [deployment.deployment_id for deployment in deployments]
    if len(set(ids)) < len(ids):
        raise Unacceptable("deployments: two with the same deploymentId")
    version = _version(document.get("manifestVersion"))
    return Manifest(version, None if bundle is None else _digest(bundle, "bundle"), deployments)


def is_what_was_named(body: bytes, digest: str) -> bool:
    """Return whether these bytes have this digest (`sha256:...`)."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}" == digest


def _deployment(entry: object, where: str) -> Deployment:
    if not isinstance(entry, dict):
        raise Unacceptable(f"{where}: not an object")
    deployment_id = entry.get("deploymentId")
    if not isinstance(deployment_id, str) or not DEPLOYMENT_ID.fullmatch(deployment_id):
        raise Unacceptable(f"{where}.deploymentId: not an id that fits into a path")
    return Deployment(deployment_id, _digest(entry, where))


def _digest(entry: Mapping[str, object], where: str) -> str:
    digest = entry.get("digest")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise Unacceptable(f"{where}.digest: not sha256: and 64 lower-case hexadecimal digits")
    return digest


def _version(value: object) -> int:
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number < _VERSION_LIMIT:
        raise Unacceptable("manifestVersion: not a whole number from 1 to 2^64 - 1")
    return number
