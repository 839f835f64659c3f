"""A pack as bytes to its objects (gitformat-pack), every size known and bounded before anything is inflated.

Thin packs are not taken: every base of a delta has to be in the pack itself.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Final

from margod.gitfetch.job import HOSTILE, MALFORMED, TOO_LARGE, Limits, Refusal

COMMIT, TREE, BLOB, TAG, OFS_DELTA, REF_DELTA = 1, 2, 3, 4, 6, 7
_NAMES: Final = {COMMIT: b"commit", TREE: b"tree", BLOB: b"blob", TAG: b"tag"}

SLICE: Final = 64 << 10
"""Bytes of a pack that are handed to zlib at once."""

Object = tuple[int, bytes]
"""Type and content."""


def read_pack(pack: bytes, limits: Limits) -> dict[str, Object]:
    """Return every object of a pack by its id (hexadecimal SHA-1). Raises Refusal."""
    if len(pack) < 32 or pack[:4] != b"PACK" or int.from_bytes(pack[4:8], "big") != 2:
        raise Refusal(MALFORMED, "the server's pack is not one of version 2")
    if hashlib.sha1(memoryview(pack)[:-20], usedforsecurity=False).digest() != pack[-20:]:
        raise Refusal(MALFORMED, "the server's pack is damaged: its checksum is another one")
    count = int.from_bytes(pack[8:12], "big")
    if count > limits.objects:
        raise Refusal(TOO_LARGE, f"{count} objects, more than {limits.objects}")
    reader = _Reader(pack, limits)
    for _ in range(count):
        reader.read_one()
    if reader.at != len(pack) - 20 or reader.waiting:
        raise Refusal(MALFORMED, "the server's pack is not complete")
    return reader.objects


class _Reader:
    """Goes through a pack once. A delta whose base is not there yet waits for it."""

    def __init__(self, pack: bytes, limits: Limits) -> None:
        self.at = 12
        self.objects: dict[str, Object] = {}
        self.waiting: dict[int | str, list[tuple[int, bytes]]] = {}
        self._pack = memoryview(pack)
        self._end = len(pack) - 20
        self._limits = limits
        self._left = limits.inflated
        self._by_offset: dict[int, Object] = {}

    def read_one(self) -> None:
        """Read the object at `at`, and resolve whatever waited for it."""
        offset = self.at
        kind, size = self._header()
        if kind in _NAMES:
            self._resolved([(offset, (kind, self._inflate(size)))])
            return
        base = self._base(kind, offset)
        delta = self._inflate(size)
        found = self._by_offset.get(base) if isinstance(base, int) else self.objects.get(base)
        if found is None:
            self.waiting.setdefault(base, []).append((offset, delta))
        else:
            self._resolved([(offset, (found[0], self._apply(found[1], delta)))])

    def _resolved(self, found: list[tuple[int, Object]]) -> None:
        while found:
            offset, (kind, data) = found.pop()
            head = b"%s %d\0" % (_NAMES[kind], len(data))
            name = hashlib.sha1(head + data, usedforsecurity=False).hexdigest()
            self._by_offset[offset] = self.objects[name] = (kind, data)
            for key in (offset, name):
                for at, delta in self.waiting.pop(key, ()):
                    found.append((at, (kind, self._apply(data, delta))))

    def _byte(self) -> int:
        if self.at >= self._end:
            raise Refusal(MALFORMED, "the server's pack ends too early")
        self.at += 1
        return self._pack[self.at - 1]

    def _header(self) -> tuple[int, int]:
        byte = self._byte()
        kind, size, shift = byte >> 4 & 7, byte & 15, 4
        while byte & 0x80:
            byte = self._byte()
            size |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise Refusal(MALFORMED, "an object's size in the pack is no number")
        return kind, size

    def _base(self, kind: int, offset: int) -> int | str:
        if kind == REF_DELTA:
            name = self._pack[self.at : self.at + 20]
            self.at += 20
            return name.hex()
        if kind != OFS_DELTA:
            raise Refusal(MALFORMED, f"the pack has an object of the unknown type {kind}")
        byte = self._byte()
        distance = byte & 0x7F
        while byte & 0x80:
            byte = self._byte()
            distance = (distance + 1) << 7 | byte & 0x7F
            if distance > offset:
                break
        if not 0 < distance < offset:
            raise Refusal(MALFORMED, "a delta in the pack has its base outside of it")
        return offset - distance

    def _claim(self, size: int) -> None:
        """Take so many bytes out of what may be inflated, before they are."""
        if size > self._limits.object:
            raise Refusal(TOO_LARGE, f"an object of {size} bytes, more than {self._limits.object}")
        self._left -= size
        if self._left < 0:
            raise Refusal(TOO_LARGE, f"the pack unpacks to more than {self._limits.inflated} bytes")

    def _inflate(self, size: int) -> bytes:
        self._claim(size)
        stream, pieces, left, end = zlib.decompressobj(), [], size, self._end
        # In slices, because zlib copies what is left of its input at the end of each object.
        step = min(size, SLICE) + 128
        try:
            while not stream.eof and left >= 0 and self.at < end:
                given = self._pack[self.at : min(self.at + step, end)]
                # One byte more than was said shows that there is more, and no more than that is made.
                piece = stream.decompress(given, left + 1)
                self.at += len(given) - len(stream.unused_data)
                left -= len(piece)
                pieces.append(piece)
        except zlib.error:
            raise Refusal(MALFORMED, "an object in the pack cannot be inflated") from None
        if left or not stream.eof:
            raise Refusal(MALFORMED, "an object in the pack is not as long as it is said to be")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _apply(self, base: bytes, delta: bytes) -> bytes:
        from dulwich.errors import ApplyDeltaError
        from dulwich.pack import apply_delta

        _, at = _varint(delta, 0)
        size, _ = _varint(delta, at)
        self._claim(size)
        try:
            data = b"".join(apply_delta(base, delta))
        except (ApplyDeltaError, ValueError, IndexError, TypeError):
            raise Refusal(MALFORMED, "a delta in the pack does not fit its base") from None
        if len(data) != size:
            raise Refusal(HOSTILE, "a delta in the pack makes more than it says")
        return data


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift <= 63:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
    raise Refusal(MALFORMED, "a delta in the pack has no size")
