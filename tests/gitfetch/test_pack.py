"""Packs that no git would write, as bytes: every size is looked at before anything is made of it."""

from __future__ import annotations

import random
import time
import tracemalloc
import zlib
from hashlib import sha1

import pytest

from margod.gitfetch.job import HOSTILE, MALFORMED, TOO_LARGE, Limits, Refusal
from margod.gitfetch.pack import BLOB, OFS_DELTA, REF_DELTA, TREE, read_pack

BASE = b"0123456789abcdef" * 4_096


def head(kind: int, size: int) -> bytes:
    """Return an object's header."""
    byte, size = kind << 4 | size & 15, size >> 4
    out = bytearray()
    while size:
        out.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    return bytes([*out, byte])


def plain(data: bytes, kind: int = BLOB, said: int | None = None) -> bytes:
    """Return an object, whose size may be said wrongly."""
    return head(kind, len(data) if said is None else said) + zlib.compress(data)


def varint(value: int) -> bytes:
    """Return a size in a delta."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def copies(times: int, said: int | None = None) -> bytes:
    """Return a delta that copies the whole base so many times."""
    made = 0x10000 * times if said is None else said
    return varint(len(BASE)) + varint(made) + b"\x80" * times


def ofs(delta: bytes, distance: int) -> bytes:
    """Return a delta of the object so many bytes before."""
    out = [distance & 0x7F]
    distance >>= 7
    while distance:
        distance -= 1
        out.insert(0, 0x80 | distance & 0x7F)
        distance >>= 7
    return head(OFS_DELTA, len(delta)) + bytes(out) + zlib.compress(delta)


def ref(delta: bytes, base: str) -> bytes:
    """Return a delta of the object of this id."""
    return head(REF_DELTA, len(delta)) + bytes.fromhex(base) + zlib.compress(delta)


def pack(*objects: bytes, count: int | None = None) -> bytes:
    """Return a pack with its checksum."""
    number = len(objects) if count is None else count
    data = b"PACK" + (2).to_bytes(4, "big") + number.to_bytes(4, "big") + b"".join(objects)
    return data + sha1(data).digest()


def name(data: bytes) -> str:
    """Return a blob's id."""
    return sha1(b"blob %d\0" % len(data) + data).hexdigest()


def refused(data: bytes, **bounds: int) -> str:
    """Return the code with which a pack is refused."""
    with pytest.raises(Refusal) as caught:
        read_pack(data, Limits(**bounds))
    return caught.value.code


def test_plain_objects_and_deltas() -> None:
    """By offset and by id, before and after the base, and deltas of deltas."""
    twice = BASE * 2
    base, delta = plain(BASE), ofs(copies(2), len(plain(BASE)))
    found = read_pack(pack(base, delta), Limits())
    assert found == {name(BASE): (BLOB, BASE), name(twice): (BLOB, twice)}
    insert = varint(len(BASE)) + varint(3) + b"\x03abc"
    found = read_pack(pack(ref(insert, name(BASE)), base), Limits())
    assert found[name(b"abc")] == (BLOB, b"abc")
    chain = ref(varint(3) + varint(4) + b"\x04wxyz", name(b"abc"))
    found = read_pack(pack(chain, ref(insert, name(BASE)), base), Limits())
    assert found[name(b"wxyz")] == (BLOB, b"wxyz")
    assert read_pack(pack(plain(b"", TREE)), Limits())[sha1(b"tree 0\0").hexdigest()] == (TREE, b"")


def test_a_delta_bomb_is_not_made() -> None:
    """Five bytes a copy: a thousand deltas of some hundred bytes would be gigabytes. It is refused, and not made."""
    base = plain(BASE)
    objects, at = [base], len(base)
    for number in range(1_000):
        delta = ofs(varint(len(BASE)) + varint(0x10000 * 100 + 1) + b"\x80" * 100 + b"\x01" + bytes([number & 255]), at)
        objects.append(delta)
        at += len(delta)
    data = pack(*objects)
    assert len(data) < 200_000
    tracemalloc.start()
    try:
        assert refused(data) == TOO_LARGE
        assert tracemalloc.get_traced_memory()[1] < 2 * Limits().inflated
    finally:
        tracemalloc.stop()


def test_one_delta_that_makes_too_much() -> None:
    """Said or not: more than an object may have is not made, and more than was said is no delta."""
    base = plain(BASE)
    assert refused(pack(base, ofs(copies(200), len(base)))) == TOO_LARGE
    assert refused(pack(base, ofs(copies(200, said=10), len(base)))) in {MALFORMED, HOSTILE}
    assert refused(pack(base, ofs(copies(2, said=1 << 60), len(base)))) == TOO_LARGE


def test_a_zlib_bomb_is_not_inflated() -> None:
    """Neither one that says its size nor one that says another."""
    zeros = bytes(64 << 20)
    tracemalloc.start()
    try:
        assert refused(pack(plain(zeros))) == TOO_LARGE
        assert refused(pack(plain(zeros, said=100))) == MALFORMED
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", MALFORMED),
        (b"PACK", MALFORMED),
        (pack(), None),
        (pack(plain(b"x"))[:-1] + b"?", MALFORMED),
        (pack(plain(b"x"), count=2), MALFORMED),
        (pack(plain(b"x"), plain(b"y"), count=1), MALFORMED),
        (pack(plain(b"x"), count=1 << 31), TOO_LARGE),
        (pack(plain(b"xy", said=3)), MALFORMED),
        (pack(plain(b"xy", said=1)), MALFORMED),
        (pack(head(BLOB, 5) + b"no zlib"), MALFORMED),
        (pack(plain(b"x", kind=5)), MALFORMED),
        (pack(plain(b"x", kind=0)), MALFORMED),
        (pack(b"\xff" * 40), MALFORMED),
        (pack(ref(b"\x01\x01\x01a", "ab" * 20)), MALFORMED),
        (pack(ofs(b"\x01\x01\x01a", 5)), MALFORMED),
        (pack(ofs(b"\x01\x01\x01a", 1 << 40)), MALFORMED),
        (pack(plain(b"x"), ref(b"\x02\x01\x01a", name(b"x"))), MALFORMED),
        (pack(plain(b"x"), ref(b"\x01\x01\x00", name(b"x"))), MALFORMED),
        (pack(plain(b"x"), ref(b"\x01\x02\x01a", name(b"x"))), MALFORMED),
        (pack(plain(b"x"), ref(b"\x80" * 30, name(b"x"))), MALFORMED),
    ],
    ids=range(20),
)
def test_what_is_no_pack(data: bytes, code: str | None) -> None:
    """Each has its word; an empty pack is one."""
    if code is None:
        assert read_pack(data, Limits()) == {}
    else:
        assert refused(data) == code


def test_no_bytes_do_anything_else() -> None:
    """Ten thousand damaged packs with right checksums: each is objects, or refused in so many words."""
    rng, base = random.Random(5), plain(BASE[:200])
    good = pack(
        base, ofs(varint(200) + varint(8) + b"\x91\x05\x04\x04wxyz", len(base)), ref(b"\x01\x01\x01a", name(b"x"))
    )
    good = good[:-20]
    for _ in range(10_000):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(8, len(data))] = rng.randrange(256)
        data = data[: rng.randrange(20, len(data) + 1)] if rng.random() < 0.2 else data
        try:
            read_pack(bytes(data) + sha1(data).digest(), Limits(object=10_000, inflated=50_000))
        except Refusal:
            continue


def test_many_objects_before_a_large_one_cost_what_they_are() -> None:
    """What comes after an object is not copied for each of them: ten thousand times 6 MiB took seconds."""
    rest = random.Random(1).randbytes(6 << 20)
    data = pack(*(plain(b"%d" % number) for number in range(10_000)), plain(rest))
    begin = time.process_time()
    found = read_pack(data, Limits())
    assert time.process_time() - begin < 5
    assert len(found) == 10_001
    assert found[name(rest)] == (BLOB, rest)
