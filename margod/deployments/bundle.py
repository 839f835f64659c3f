"""A bundle: the deployments of one manifest in a gzipped tar, unpacked one by one, believed where digests prove it."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from typing import Final

from margod.deployments import tar
from margod.protocols.signed.manifest import Manifest, Unacceptable, is_what_was_named

UNPACKED_LIMIT: Final = 16 << 20
"""Bytes of all deployments of one manifest together."""
_PIECE: Final = 16 << 10


def unpack(archive: bytes, manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    """Yield digest and YAML of each deployment in a bundle, once: exactly those that are named. Raises Unacceptable.

    `archive` is a gzipped tar. Only regular files count, by what they hold; links, devices and names that lead out of
    the archive refuse it as a whole, which may be told only after some files were yielded. One file is in memory at a
    time, and no more than `UNPACKED_LIMIT` bytes are unpacked.
    """
    if manifest.bundle is None or not is_what_was_named(archive, manifest.bundle):
        raise Unacceptable("the bundle is not the one that the manifest names: its digest differs")
    found: set[str] = set()
    wanted = manifest.digests
    for name, data in tar.files(_Inflated(archive).read):
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if digest not in wanted:
            raise Unacceptable(f"the bundle has a file that the manifest does not name: {name}")
        if digest not in found:
            found.add(digest)
            yield digest, data
    if missing := wanted - found:
        raise Unacceptable(f"the bundle lacks {len(missing)} of the deployments that the manifest names")


class _Inflated:
    """What a gzip file of one member holds, in order. Raises Unacceptable beyond the limit, and for what is not."""

    def __init__(self, archive: bytes) -> None:
        if not archive.startswith(b"\x1f\x8b"):
            raise Unacceptable("the bundle is not gzip")
        self._unzip = zlib.decompressobj(wbits=31)
        self._archive, self._at = archive, 0
        self._rest = b""
        """What was handed over and is not inflated yet: never more than a piece, for it is copied each time."""
        self._size = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size` (> 0); none at the end, which is that of the gzip file too."""
        data = b""
        while not data and not self._unzip.eof:
            if not self._rest:
                self._rest = self._archive[self._at : self._at + _PIECE]
                self._at += len(self._rest)
            is_last = not self._rest
            try:
                data = self._unzip.decompress(self._rest, size)
            except zlib.error as error:
                raise Unacceptable(f"the bundle is not gzip: {error}") from None
            self._rest = self._unzip.unconsumed_tail
            if is_last and not data:
                break
        if not data and (not self._unzip.eof or self._unzip.unused_data or self._at < len(self._archive)):
            raise Unacceptable("the bundle is not gzip: it is cut off, or something follows it")
        self._size += len(data)
        if self._size > UNPACKED_LIMIT:
            raise Unacceptable(f"the bundle holds more than {UNPACKED_LIMIT} bytes")
        return data
