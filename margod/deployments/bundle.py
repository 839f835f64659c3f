"""A bundle: the deployments of one manifest in a gzipped tar, unpacked one by one, believed where digests prove it."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Final, cast

from margod.protocols.signed.desired import FILE_LIMIT
from margod.protocols.signed.manifest import COUNT_LIMIT, Manifest, Unacceptable, is_what_was_named

if TYPE_CHECKING:
    import tarfile

UNPACKED_LIMIT: Final = 16 << 20
"""Bytes of all deployments of one manifest together."""


def unpack(archive: bytes, manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    """Yield digest and YAML of each file in a bundle: exactly those that the manifest names. Raises Unacceptable.

    `archive` is a gzipped tar. Only regular files count, by what they hold; links, devices and names that lead out of
    the archive refuse it as a whole, which may be told only after some files were yielded. One file is in memory at a
    time, and no more than `UNPACKED_LIMIT` bytes are unpacked.
    """
    import tarfile  # with its compressors half a megabyte, and most devices never see a bundle

    if manifest.bundle is None or not is_what_was_named(archive, manifest.bundle):
        raise Unacceptable("the bundle is not the one that the manifest names: its digest differs")
    found: set[str] = set()
    inflated = _Inflated(archive)
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", inflated), mode="r|") as tar:
            for count, member in enumerate(tar, 1):
                if count > 4 * COUNT_LIMIT:
                    raise Unacceptable("the bundle has too many entries")
                if (file := _file(tar, member, manifest.digests)) is not None:
                    found.add(file[0])
                    yield file
        inflated.drain()
    except (tarfile.TarError, EOFError, ValueError, OverflowError, OSError) as error:
        raise Unacceptable(f"the bundle is not a tar archive: {error}") from None
    if missing := manifest.digests - found:
        raise Unacceptable(f"the bundle lacks {len(missing)} of the deployments that the manifest names")


def _file(tar: tarfile.TarFile, member: tarfile.TarInfo, wanted: frozenset[str]) -> tuple[str, bytes] | None:
    if member.isdir():
        return None
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
    return digest, data


class _Inflated:
    """What a gzip file of one member holds, in order. Raises Unacceptable beyond the limit, and for what is not."""

    def __init__(self, archive: bytes) -> None:
        if not archive.startswith(b"\x1f\x8b"):
            raise Unacceptable("the bundle is not gzip")
        self._unzip = zlib.decompressobj(wbits=31)
        self._rest = archive
        self._size = 0

    def drain(self) -> None:
        """See to it that the archive ends where the gzip file does."""
        while self.read(1 << 16):
            pass
        if not self._unzip.eof or self._unzip.unused_data:
            raise Unacceptable("the bundle is not gzip: it is cut off, or something follows it")

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size` (> 0); none at the end."""
        try:
            data = self._unzip.decompress(self._rest, size)
        except zlib.error as error:
            raise Unacceptable(f"the bundle is not gzip: {error}") from None
        self._rest = self._unzip.unconsumed_tail
        self._size += len(data)
        if self._size > UNPACKED_LIMIT:
            raise Unacceptable(f"the bundle holds more than {UNPACKED_LIMIT} bytes")
        return data
