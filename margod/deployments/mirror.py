"""The mirror: a verified copy of what the WFM wants, complete or not at all, kept beside the one before it.

It is a vault of its own in `<state>/mirror`: one generation a manifest, with the YAML of every deployment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from margod.protocols.signed.manifest import Deployment, Manifest, Unacceptable, is_what_was_named, read_manifest
from margod.vault import Vault

HELD: Final = "held.json"


@dataclass(frozen=True, slots=True)
class Held:
    """What the mirror holds: a manifest, the ETag that it came with ("" if none), and what the agent has adopted.

    `adopted` is the version that the agent on this device says it works by; 0 while it has said nothing.
    """

    manifest: Manifest
    etag: str = ""
    adopted: int = 0


class Mirror:
    """The mirror of one client id at one WFM, named by `binding`; what another one left is not shown and not used.

    Not for several threads at once. Everything that opens or changes it raises what Vault does.
    """

    def __init__(self, directory: Path, binding: str) -> None:
        """Open (and lock) the directory, which is made if it is missing."""
        self._vault = Vault.open(directory)
        self._binding = binding
        self.held = self._read()
        """What is mirrored; None before the first manifest."""

    def text(self, deployment_id: str) -> bytes | None:
        """Return the YAML of a deployment as it was fetched; None if it is not wanted."""
        found = {one.deployment_id: one.digest for one in self.held.manifest.deployments} if self.held else {}
        return self._vault.records[_name(found[deployment_id])] if deployment_id in found else None

    def missing(self, manifest: Manifest) -> list[Deployment]:
        """Return which deployments of a manifest have to be fetched: one for each digest that is not here already."""
        here = self._vault.records if self.held else {}
        wanted = {one.digest: one for one in reversed(manifest.deployments)}
        return [one for digest, one in sorted(wanted.items()) if _name(digest) not in here]

    def take(self, manifest: Manifest, etag: str, fetched: Mapping[str, bytes]) -> None:
        """Make `manifest` what is mirrored, with what was fetched for it by digest, in one commit.

        Raises Unacceptable, with nothing changed, if the version is not greater than the one held, or a deployment is
        missing or not what its digest names.
        """
        if self.held is not None and manifest.version <= self.held.manifest.version:
            raise Unacceptable(f"manifestVersion {manifest.version} is not greater than {self.held.manifest.version}")
        here = dict(self._vault.records) if self.held else {}
        files: dict[str, bytes] = {}
        for digest in manifest.digests:
            data = fetched.get(digest, here.get(_name(digest)))
            if data is None or not is_what_was_named(data, digest):
                raise Unacceptable(f"the deployment {digest} was not fetched, or is not what its digest names")
            files[_name(digest)] = data
        self._commit(files, Held(manifest, etag, self.held.adopted if self.held else 0))

    def adopt(self, version: int) -> None:
        """Remember that the agent works by `version`. Raises Unacceptable if that was never mirrored."""
        if self.held is None or not 1 <= version <= self.held.manifest.version:
            raise Unacceptable(f"manifestVersion {version} was never mirrored")
        if version != self.held.adopted:
            files = {_name(digest): self._vault.records[_name(digest)] for digest in self.held.manifest.digests}
            self._commit(files, Held(self.held.manifest, self.held.etag, version))

    def close(self) -> None:
        """Give the directory back."""
        self._vault.close()

    def _commit(self, files: Mapping[str, bytes], held: Held) -> None:
        records = {**files, HELD: _write(held)}
        gone = dict.fromkeys(self._vault.records.keys() - records.keys())
        self._vault.commit({**gone, **records}, self._binding)
        self.held = held

    def _read(self) -> Held | None:
        """Return what is held under this binding, if all of it is what its digests name."""
        if self._vault.binding != self._binding or HELD not in self._vault.records:
            return None
        try:
            held = _parse(self._vault.records[HELD])
        except (Unacceptable, ValueError, KeyError, TypeError):
            return None
        whole = all(is_what_was_named(self._vault.records.get(_name(d), b""), d) for d in held.manifest.digests)
        return held if whole else None


def _name(digest: str) -> str:
    return f"d-{digest.removeprefix('sha256:')[:60]}"


def _write(held: Held) -> bytes:
    manifest = held.manifest
    listed = [{"deploymentId": one.deployment_id, "digest": one.digest} for one in manifest.deployments]
    bundle = None if manifest.bundle is None else {"digest": manifest.bundle}
    document = {"manifestVersion": manifest.version, "bundle": bundle, "deployments": listed}
    return json.dumps({"manifest": document, "etag": held.etag, "adopted": held.adopted}, sort_keys=True).encode()


def _parse(data: bytes) -> Held:
    value = json.loads(data)
    return Held(read_manifest(json.dumps(value["manifest"]).encode()), str(value["etag"]), int(value["adopted"]))
