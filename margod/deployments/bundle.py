"""A bundle: the deployments of one manifest in a gzipped tar, opened in memory, believed where digests prove it."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zlib
from typing import Final

from margod.protocols.signed.manifest import COUNT_LIMIT, Manifest, Unacceptable, is_what_was_named

BUNDLE_LIMIT: Final = 8 << 20
FILE_LIMIT: Final = 1 << 20
"""Bytes of a bundle as it is sent, and of one deployment; more is not read."""
UNPACKED_LIMIT: Final = 16 << 20
"""Bytes of all deployments of one manifest together."""


def unpack(archive: bytes, manifest: Manifest) -> dict[str, bytes]:
    """Return the deployments in a bundle by their digests: exactly those that the manifest names. Raises Unacceptable.

    `archive` is a gzipped tar. Only regular files count, by what they hold; links, devices and names that lead out of
    the archive refuse it as a whole. It is unpacked in memory and to no more than `UNPACKED_LIMIT` bytes.
    """
    if manifest.bundle is None or not is_what_was_named(archive, manifest.bundle):
        raise Unacceptable("the bundle is not the one that the manifest names: its digest differs")
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(_inflated(archive)), mode="r:") as tar:
            for count, member in enumerate(tar, 1):
                if count > 4 * COUNT_LIMIT:
                    raise Unacceptable("the bundle has too many entries")
                _put(found, tar, member, manifest.digests)
    except (tarfile.TarError, EOFError, ValueError, OverflowError, OSError) as error:
        raise Unacceptable(f"the bundle is not a tar archive: {error}") from None
    if missing := manifest.digests - found.keys():
        raise Unacceptable(f"the bundle lacks {len(missing)} of the deployments that the manifest names")
    return found


def _put(found: dict[str, bytes], tar: tarfile.TarFile, member: tarfile.TarInfo, wanted: frozenset[str]) -> None:
    if member.isdir():
        return
    if not member.isreg() or member.issparse():
        raise Unacceptable(f"the bundle has an entry that is no regular file: {member.name}")
    if member.name.startswith("/") or ".." in member.name.split("/") or "\\" in member.name:
        raise Unacceptable(f"the bundle has an entry that leads out of it: {member.name}")
    reader = tar.extractfile(member)
    data = reader.read(FILE_LIMIT + 1) if reader else b""
    if len(data) > FILE_LIMIT:
        raise Unacceptable(f"{member.name} is larger than {FILE_LIMIT} bytes")
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if digest not in wanted:
        raise Unacceptable(f"the bundle has a file that the manifest does not name: {member.name}")
    found[digest] = data


def _inflated(archive: bytes) -> bytes:
    """Return what a gzip file of one member holds. Raises Unacceptable beyond the limit."""
    unzip = zlib.decompressobj(wbits=31)
    try:
        data = unzip.decompress(archive, UNPACKED_LIMIT + 1)
    except zlib.error as error:
        raise Unacceptable(f"the bundle is not gzip: {error}") from None
    if len(data) > UNPACKED_LIMIT:
        raise Unacceptable(f"the bundle holds more than {UNPACKED_LIMIT} bytes")
    if not unzip.eof or unzip.unused_data:
        raise Unacceptable("the bundle is not gzip: it is cut off, or something follows it")
    return data
