"""The mirror: a verified copy of what the WFM wants, complete or not at all.

In `<state>/mirror`: the YAML of each deployment in a file that is named by its digest, and a vault whose one record
says which of them are wanted. A file is there, whole and synced, before the record that names it is committed; what the
record before it names stays, so that a generation that rots falls back to one that is complete too. Nothing of the
YAML is held in memory, and what is shown was compared with its digest at that moment.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from margod.model.errors import StateNotWritable
from margod.protocols.signed.desired import FILE_LIMIT, kept_etag
from margod.protocols.signed.manifest import Deployment, Manifest, Unacceptable, is_what_was_named, read_manifest
from margod.store import place_file, read_regular, remove_tree, sync_directory
from margod.vault import Vault, set_aside

HELD: Final = "held.json"
_PREFIX: Final = "d-"
_QUARANTINED: Final = 32
"""Damaged files that are set aside for a person to look at; more are removed: each can be fetched again."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the mirror holds: a manifest, the ETag that it came with ("" if none), and what the agent has adopted.

    `adopted` is the version that the agent on this device says it works by; 0 while it has said nothing. `at` is when
    it was taken, Unix seconds.
    """

    manifest: Manifest
    etag: str = ""
    adopted: int = 0
    at: float = 0.0


class Mirror:
    """The mirror of one client id at one WFM, named by `binding`; what another one left is removed.

    Not for several threads at once. Everything that opens or changes it raises what Vault does.
    """

    def __init__(self, directory: Path, binding: str) -> None:
        """Open (and lock) the directory, which is made if it is missing; look at every file in it."""
        self._directory = directory
        self._vault = Vault.open(directory)
        self.binding = binding
        self.held, self._before = self._read()
        """What is mirrored; None before the first manifest."""
        self.lost: set[str] = set()
        """The digests of what is wanted, was here, and is damaged."""
        self.findings = [finding.message for finding in self._vault.findings]
        """What was found damaged."""
        try:
            if self.held is None:
                self._remove_all_but(frozenset())
            else:
                self._look_at(self.held.manifest.digests)
        except BaseException:
            self.close()  # else nobody could, and the lock would stay
            raise

    @property
    def whole(self) -> bool:
        """Whether all that the manifest names is here."""
        return self.held is not None and not self.lost

    def text(self, deployment_id: str) -> tuple[str, bytes | None] | None:
        """Return digest and YAML of a deployment (None: it is damaged, and has to be fetched); None: not wanted."""
        listed = self.held.manifest.deployments if self.held else ()
        found = {one.deployment_id: one.digest for one in listed}.get(deployment_id)
        return None if found is None else (found, self._get(found))

    def missing(self, manifest: Manifest) -> list[Deployment]:
        """Return which deployments of a manifest have to be fetched: one for each digest that is not here already."""
        wanted = {one.digest: one for one in reversed(manifest.deployments)}
        return [one for digest, one in sorted(wanted.items()) if self._get(digest) is None]

    def put(self, digest: str, data: bytes) -> None:
        """Write what was fetched for a digest. Raises Unacceptable if it is not what the digest names."""
        if len(data) > FILE_LIMIT or not is_what_was_named(data, digest):
            raise Unacceptable(f"the deployment {digest} is not what its digest names")
        place_file(self._directory, _name(digest), data)

    def mended(self) -> None:
        """What was damaged has been put again."""
        sync_directory(self._directory)
        self.lost = {digest for digest in self.lost if self._get(digest) is None}

    def take(self, manifest: Manifest, etag: str, at: float = 0.0, *, any_version: bool = False) -> None:
        """Make `manifest` what is mirrored, at `at` (Unix seconds), in one commit.

        Raises Unacceptable, with nothing changed, if the version is not greater than the one held, or a deployment is
        missing or not what its digest names. `any_version`: a person has said that it may go back.
        """
        if self.held is not None and manifest.version <= self.held.manifest.version and not any_version:
            raise Unacceptable(f"manifestVersion {manifest.version} is not greater than {self.held.manifest.version}")
        if self.missing(manifest):
            raise Unacceptable("a deployment was not fetched, or is not what its digest names")
        before = self.held.manifest.digests if self.held else frozenset()
        sync_directory(self._directory)  # the names of the files, before anything names them
        adopted = self.held.adopted if self.held else 0
        adopted = 0 if any_version and adopted >= manifest.version else adopted  # another one of that number
        self._commit(Held(manifest, etag, adopted, at), before)
        self.lost = set()
        with suppress(StateNotWritable, OSError):  # it saves room only; the next one makes good what it did not do
            self._remove_all_but(manifest.digests | before)

    def adopt(self, version: int) -> None:
        """Remember that the agent works by `version`. Raises Unacceptable if that was never mirrored."""
        if self.held is None or not 1 <= version <= self.held.manifest.version:
            raise Unacceptable(f"manifestVersion {version} was never mirrored")
        if version != self.held.adopted:
            self._commit(Held(self.held.manifest, self.held.etag, version, self.held.at), self._before)

    def close(self) -> None:
        """Give the directory back."""
        self._vault.close()

    def _commit(self, held: Held, before: frozenset[str]) -> None:
        self._vault.commit({HELD: _write(held, before)}, self.binding)
        self.held, self._before = held, before

    def _read(self) -> tuple[Held | None, frozenset[str]]:
        """Return what is held under this binding, and the digests of what was held before it."""
        if self._vault.binding != self.binding or HELD not in self._vault.records:
            return None, frozenset()
        try:
            return _parse(self._vault.records[HELD])
        except (Unacceptable, ValueError, KeyError, TypeError):
            return None, frozenset()

    def _get(self, digest: str) -> bytes | None:
        """Return what a digest names; None where it is not here. Damage is set aside."""
        path = self._directory / _name(digest)
        try:
            data = read_regular(path, FILE_LIMIT)
        except FileNotFoundError:
            data = None
        except OSError:
            data = b""
        if data is not None and not is_what_was_named(data, digest):
            self._set_aside(path.name)
            data = None
        if data is None and self.held is not None and digest in self.held.manifest.digests:
            self.lost.add(digest)
        return data

    def _look_at(self, digests: Iterable[str]) -> None:
        for digest in sorted(digests):
            self._get(digest)

    def _set_aside(self, name: str) -> None:
        self.findings.append(f"{name} is damaged.")
        with suppress(StateNotWritable, OSError):
            if len([*self._directory.glob(f"quarantine/{_PREFIX}*")]) < _QUARANTINED:
                set_aside(self._directory, name)
            else:
                remove_tree(self._directory / name)

    def _remove_all_but(self, digests: frozenset[str]) -> None:
        kept = {_name(digest) for digest in digests}
        for path in self._directory.glob(f"{_PREFIX}*"):
            if path.name not in kept:
                remove_tree(path)


def _name(digest: str) -> str:
    return f"{_PREFIX}{digest.removeprefix('sha256:')}"


def _write(held: Held, before: frozenset[str]) -> bytes:
    manifest = held.manifest
    listed = [{"deploymentId": one.deployment_id, "digest": one.digest} for one in manifest.deployments]
    bundle = None if manifest.bundle is None else {"digest": manifest.bundle}
    document = {"manifestVersion": manifest.version, "bundle": bundle, "deployments": listed}
    value = {"manifest": document, "etag": held.etag, "adopted": held.adopted, "at": held.at, "before": sorted(before)}
    return json.dumps(value, sort_keys=True).encode()


def _parse(data: bytes) -> tuple[Held, frozenset[str]]:
    value = json.loads(data)
    manifest = read_manifest(json.dumps(value["manifest"]).encode())
    held = Held(manifest, kept_etag(str(value["etag"])), int(value["adopted"]), float(value["at"]))
    return held, frozenset(str(digest) for digest in value["before"])
