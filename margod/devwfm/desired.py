"""What the development WFM wants to run on its devices: deployments, the manifest that names them, and the bundle.

It is the same for every client. `Spoils` break it on purpose: each makes one thing wrong of what is otherwise right,
with every other digest as it has to be, so that a client that takes it has not looked.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from margod.devwfm.problems import DevWfmError, NotFound, NotPossible
from margod.devwfm.registry import Registry

MANIFEST: Final = "application/vnd.margo.manifest.v1+json"
BUNDLE: Final = "application/vnd.margo.bundle.v1+tar+gzip"
YAML: Final = "application/yaml"
HIDDEN_ETAG: Final = "COA_META_HEADER"

SPOILS: Final = {
    "algorithm": "the digest of a deployment is a sha512",
    "bundle-mismatch": "the bundle that is sent is not the one that is named",
    "bundle-content": "a file in the bundle is not what its digest says",
    "bundle-404": "there is no bundle under the digest that is named",
    "bundle-none": "no bundle is named; the files stand alone",
    "bundle-not-gzip": "the bundle is a tar without gzip",
    "bundle-cut": "the bundle ends in the middle",
    "bundle-more": "the bundle has a file that nobody named",
    "bundle-fewer": "a file is missing in the bundle",
    "bomb": "the bundle is small and unpacks to 32 MiB",
    "link": "the bundle has a hard link instead of a file",
    "symlink": "the bundle has a symbolic link to /etc/passwd",
    "device": "the bundle has a device",
    "dotdot": "a name in the bundle leads out of it by ..",
    "absolute": "a name in the bundle begins with a slash",
    "file-mismatch": "a file that is asked for alone is not what its digest says",
    "file-404": "there is no file under its digest",
    "version-back": "the manifest has an older version and other content",
    "version-still": "the manifest has the version it had, and other content",
    "size": "sizeBytes is wrong, which has to be accepted",
    "number": "the version is written as 7.0, which has to be accepted",
    "duplicate": "two deployments have the same id",
    "large": "the manifest is larger than a megabyte",
    "etag-bare": "the ETag has no quotation marks",
    "etag-weak": "the ETag is a weak one",
    "etag-bundle": "the ETag is the bundle's digest",
    "etag-none": "there is no ETag",
    "etag-text": "the ETag is more than ASCII",
    "etag-large": "the ETag is of 2 KiB",
}
"""What can be made wrong, by name."""

DEPLOYMENT_ID: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~-]{1,128}")
_BOMB: Final = 32 << 20


@dataclass(frozen=True, slots=True)
class Given:
    """An answer about the desired state."""

    status: int
    verdict: str
    content_type: str = "application/json"
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Desired:
    """The desired state in a registry, and what is wrong with it at present."""

    def __init__(self, registry: Registry) -> None:
        """Begin with nothing spoilt."""
        self._registry = registry
        self.spoils: list[str] = []
        self.has_manifest = True
        """Whether a device is given a manifest and bundles; in the generation `token` it has a Git repository."""
        self._packed: tuple[object, bytes] = (None, b"")

    def spoil(self, names: list[str]) -> None:
        """Make these things wrong, and these alone. Raises DevWfmError for a name that is none, NotPossible."""
        if names and not self.has_manifest:
            raise NotPossible("there is no manifest to spoil: what can be spoilt is of the generation signed")
        if unknown := sorted(set(names) - SPOILS.keys()):
            raise DevWfmError(f"{unknown[0]}: not one of {', '.join(SPOILS)}")
        self.spoils = list(names)
        self._archive(self._registry.desired()[1])  # a bomb takes its time, and a device would not wait for it

    def deploy(self, deployment_id: str, text: bytes) -> dict[str, object]:
        """Want this deployment from now on (YAML bytes as they are). Raises DevWfmError for an id that is none."""
        if not DEPLOYMENT_ID.fullmatch(deployment_id):
            raise DevWfmError("a deployment id is 1 to 128 of A-Z a-z 0-9 . _ ~ -")
        if not 0 < len(text) <= 1 << 20:
            raise DevWfmError("a deployment has 1 to 1,048,576 bytes")
        self._registry.deploy(deployment_id, text)
        return self.public()

    def remove(self, deployment_id: str) -> dict[str, object]:
        """Want it no more. Raises NotFound."""
        if not self._registry.undeploy(deployment_id):
            raise NotFound(f"no deployment {deployment_id} is wanted")
        return self.public()

    def public(self) -> dict[str, object]:
        """Return version and deployments as the control socket shows them."""
        version, wanted = self._registry.desired()
        listed = [{"id": name, "digest": _digest(text), "bytes": len(text)} for name, text in wanted.items()]
        return {"version": version, "deployments": listed}

    def requests(self) -> list[dict[str, object]]:
        """Return every request of the WFM's registry that asked for it."""
        routes = {"deployments", "deployment", "bundle"}
        return [record for record in self._registry.requests() if record["route"] in routes]

    def manifest(self, client_id: str, if_none_match: str | None) -> Given:
        """Return the manifest, or 304 if the client has this one."""
        version, wanted = self._registry.desired()
        document, archive = self._manifest(client_id, version, wanted), self._archive(wanted)
        body = json.dumps(document).encode()
        if "number" in self.spoils:
            body = body.replace(f'"manifestVersion": {version},'.encode(), f'"manifestVersion": {version}.0,'.encode())
        if "large" in self.spoils:
            body = body[:-1] + b', "padding": "' + b"x" * (1 << 20) + b'"}'
        etag = self._etag(body, archive)
        headers = {"ETag": etag, "Cache-Control": "public, max-age=3600"} if etag else {}
        if etag and if_none_match == etag:
            return Given(304, "desired state unchanged", headers=headers)
        return Given(200, f"desired state {document['manifestVersion']} given", MANIFEST, body, headers)

    def bundle(self, digest: str, *, hides_etag: bool) -> Given:
        """Return the bundle of this digest, if it is that of the manifest."""
        _, wanted = self._registry.desired()
        archive = self._archive(wanted)
        if not wanted or digest != _digest(archive) or "bundle-404" in self.spoils:
            return Given(404, "no such bundle")
        headers = {HIDDEN_ETAG: json.dumps({"ETag": digest})} if hides_etag else {"ETag": f'"{digest}"'}
        if "bundle-mismatch" in self.spoils:
            archive = self._pack({**wanted, "another": b"kind: Other\n"})
        return Given(200, "bundle given", BUNDLE, archive, headers)

    def one(self, deployment_id: str, digest: str) -> Given:
        """Return one deployment, if it is wanted and has this digest."""
        _, wanted = self._registry.desired()
        text = wanted.get(deployment_id)
        if text is None or digest != _digest(text) or "file-404" in self.spoils:
            return Given(404, "no such deployment")
        if "file-mismatch" in self.spoils:
            text += b"# changed on the way\n"
        return Given(200, f"deployment {deployment_id} given", YAML, text, {"ETag": f'"{digest}"'})

    def _manifest(self, client_id: str, version: int, wanted: Mapping[str, bytes]) -> dict[str, object]:
        # The URLs lack the prefix, as those of deployed servers do.
        base = f"/api/v1/clients/{quote(client_id, safe='')}"
        listed: list[dict[str, object]] = []
        for name, text in wanted.items():
            digest = _digest(text)
            if "algorithm" in self.spoils:
                digest = f"sha512:{hashlib.sha512(text).hexdigest()}"
            size = len(text) + (1_000 if "size" in self.spoils else 0)
            url = f"{base}/deployments/{name}/{digest}"
            listed.append({"deploymentId": name, "digest": digest, "sizeBytes": size, "url": url})
        if "duplicate" in self.spoils:
            listed += listed[:1]
        changed = {"version-back": max(1, version - 1), "version-still": version}
        for name, other in changed.items():
            if name in self.spoils:
                version, listed = other, []
        bundle: dict[str, object] | None = None
        if listed and "bundle-none" not in self.spoils:
            archive = self._archive(wanted)
            digest = _digest(archive)
            bundle = {"mediaType": BUNDLE, "digest": digest, "sizeBytes": len(archive)}
            bundle["url"] = f"{base}/bundles/{digest}"
        return {"manifestVersion": version, "bundle": bundle, "deployments": listed}

    def _etag(self, body: bytes, archive: bytes) -> str:
        digest = _digest(archive if "etag-bundle" in self.spoils else body)
        forms = {"etag-bare": digest.removeprefix("sha256:"), "etag-weak": f'W/"{digest}"', "etag-none": ""}
        forms |= {"etag-text": '"\u00e9"', "etag-large": f'"{"x" * 2048}"'}
        return next((forms[name] for name in self.spoils if name in forms), f'"{digest}"')

    def _archive(self, wanted: Mapping[str, bytes]) -> bytes:
        key = (tuple(self.spoils), tuple(wanted.items()))
        if self._packed[0] != key:
            self._packed = key, self._pack(wanted)
        return self._packed[1]

    def _pack(self, wanted: Mapping[str, bytes]) -> bytes:
        packed = _tar(wanted, self.spoils)
        archive = packed if "bundle-not-gzip" in self.spoils else gzip.compress(packed, mtime=0)
        return archive[: len(archive) // 2] if "bundle-cut" in self.spoils else archive


def _tar(wanted: Mapping[str, bytes], spoils: list[str]) -> bytes:
    """Return an archive of the deployments; of the first one something is wrong, if it is to be."""
    files = {f"{name}.yaml": text for name, text in wanted.items()}
    first = next(iter(files), "")
    if "bundle-fewer" in spoils:
        files.pop(first, None)
    if "bundle-more" in spoils:
        files["nobody-named-this.yaml"] = b"kind: Unnamed\n"
    if "bundle-content" in spoils and first:
        files[first] += b"# changed in the bundle\n"
    if "bomb" in spoils:
        files["bomb.yaml"] = bytes(_BOMB)
    names = {"dotdot": "../../escaped.yaml", "absolute": "/tmp/escaped.yaml"}  # noqa: S108 - nothing is written there
    kinds = {"link": tarfile.LNKTYPE, "symlink": tarfile.SYMTYPE, "device": tarfile.CHRTYPE}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in files.items():
            led_out = next((names[spoil] for spoil in spoils if spoil in names), name) if name == first else name
            info = tarfile.TarInfo(led_out)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
        for spoil, kind in kinds.items():
            if spoil in spoils:
                info = tarfile.TarInfo(f"{spoil}.yaml")
                info.type, info.linkname = kind, first if spoil == "link" else "/etc/passwd"
                tar.addfile(info)
    return buffer.getvalue()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
