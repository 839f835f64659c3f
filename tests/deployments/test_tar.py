"""A tar archive costs what it is large, whatever it says of itself; and what tars are made of by others is taken."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import tarfile
import time
import tracemalloc
from pathlib import Path

import pytest

from margod.deployments import bundle as bundles
from margod.deployments import tar as tars
from margod.protocols.signed.manifest import Deployment, Manifest, Unacceptable

YAML = b"kind: A\n"
END = bytes(10_240)
SECONDS = 1.0
"""Of this thread's processor; each needs some milliseconds."""


def manifest_of(archive: bytes, *files: bytes) -> Manifest:
    """Return the manifest that names an archive and these files."""
    digests = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in (archive, *files)]
    return Manifest(1, digests[0], tuple(Deployment(f"id-{at}", digest) for at, digest in enumerate(digests[1:])))


def unpacked(archive: bytes, *files: bytes) -> set[bytes]:
    """Return what a bundle that names these files holds."""
    return {data for _, data in bundles.unpack(archive, manifest_of(archive, *files))}


def record(key: str, value: str) -> bytes:
    """Return a pax record."""
    size = len(key) + len(value) + 3
    while len(str(size)) + len(key) + len(value) + 3 != size:
        size = len(str(size)) + len(key) + len(value) + 3
    return f"{size} {key}={value}\n".encode()


def entry(kind: bytes, body: bytes, name: str = "a.yaml") -> bytes:
    """Return an entry with its header."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(body)
    return info.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512)


def signed(header: bytes) -> bytes:
    """Return a header with the checksum that it has to have."""
    header = header[:148] + b" " * 8 + header[156:]
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


FILE = entry(b"0", YAML)
MANY = b"".join(record(f"k{at}", "v") for at in range(20_000))
BASE_256 = signed(FILE[:124] + b"\x80" + bytes(10) + b"\x08" + FILE[136:512]) + FILE[512:]
NEGATIVE = signed(FILE[:124] + b"\xff" * 10 + b"\xfe\x00" + FILE[136:512]) + FILE[512:]
SMALL = record("a", "b")


@pytest.mark.parametrize(
    ("tar", "why"),
    [
        (entry(b"x", b"1" * (8 << 20)), "more headers"),
        (entry(b"x", b" " * (8 << 10)), "damaged"),
        (entry(b"x", b"1" * (8 << 10)), "damaged"),
        (entry(b"x", b"0 a=b\n"), "damaged"),
        (entry(b"x", b"6 a=b"), "damaged"),
        (entry(b"g", MANY) + (entry(b"x", SMALL) + entry(b"5", b"", "d")) * 1000, "more headers"),
        (entry(b"x", SMALL) * 2000, "too many"),
        (entry(b"x", record("a", "b" * 8000)) * 40, "more headers"),
        (entry(b"L", b"abc\0") * 2000, "too many"),
        (entry(b"L", b"n" * (8 << 20)), "more headers"),
        (entry(b"K", b"n" * (8 << 20)), "more headers"),
        (entry(b"x", record("path", "../a")), "leads out"),
        (entry(b"g", record("path", "/a")), "leads out"),
        (entry(b"L", b"a/../../b\0"), "leads out"),
        (entry(b"x", record("size", "1")), "no regular file"),
        (entry(b"x", record("GNU.sparse.major", "1")), "no regular file"),
        (entry(b"S", b""), "no regular file"),
        (entry(b"1", b""), "no regular file"),
        (entry(b"D", b""), "no regular file"),
        (entry(b"5", b"x"), "has a size"),
        (BASE_256, "octal"),
        (NEGATIVE, "octal"),
        (b"b" + FILE[1:], "checksum"),
        (entry(b"0", YAML)[:600], "cut off"),
        (FILE + bytes(512) + FILE, "follows its end"),
    ],
)  # fmt: skip
def test_what_is_refused_is_so_at_once(tar: bytes, why: str) -> None:
    """Each costs neither time nor memory beyond the archive itself, and is no other error."""
    archive = gzip.compress(tar + (b"" if why == "cut off" else FILE + END), 6)
    manifest = manifest_of(archive, YAML)
    tracemalloc.start()
    before = time.thread_time()
    try:
        with pytest.raises(Unacceptable, match=why):
            list(bundles.unpack(archive, manifest))
        spent, (_, peak) = time.thread_time() - before, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert spent < SECONDS
    assert peak < 2 << 20


def test_a_file_that_is_there_a_thousand_times_is_told_once() -> None:
    """Each file that is told is written to the disk."""
    archive = gzip.compress(FILE * 1000 + END)
    assert len(list(bundles.unpack(archive, manifest_of(archive, YAML)))) == 1


def test_a_bundle_as_large_as_can_be() -> None:
    """What does not compress is read in pieces, not copied with each block."""
    files = [hashlib.shake_256(bytes([at])).digest(32 << 10) for at in range(240)]
    archive = gzip.compress(b"".join(entry(b"0", data) for data in files) + END, 1)
    before = time.thread_time()
    assert unpacked(archive, *files) == set(files)
    assert time.thread_time() - before < 2 * SECONDS


NAMES = ("one.yaml", "./two.yaml", "d/" * 60 + "three.yaml", "n" * 150 + ".yaml", "größe/" * 30 + "five.yaml")


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_python(form: int) -> None:
    """All three forms; of ustar, the names that it can have."""
    files = {name: name.encode() for name in NAMES[: 3 if form == tarfile.USTAR_FORMAT else None]}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=form, pax_headers={"comment": "of all"}) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1.5
            tar.addfile(info, io.BytesIO(data))
    assert unpacked(out.getvalue(), *files.values()) == set(files.values())


@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_archives_of_gnu_tar(form: str, tmp_path: Path) -> None:
    """With their directories, from where they are."""
    names = NAMES[: {"v7": 2, "ustar": 3}.get(form)]
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(name)
    subprocess.run(["tar", "-czf", "out.tgz", f"--format={form}", "-C", "in", "."], cwd=tmp_path, check=True)
    files = {name.encode() for name in names}
    assert unpacked((tmp_path / "out.tgz").read_bytes(), *files) == files


def test_an_archive_of_go() -> None:
    """A directory, a plain header, a pax header, a long name, as archive/tar writes them."""
    archive = (Path(__file__).parents[1] / "faults/corpus/bundle/go.tar.gz").read_bytes()
    assert unpacked(archive, b"one", b"two", b"three") == {b"one", b"two", b"three"}


def test_as_many_headers_as_there_may_be() -> None:
    """The last one that is allowed is taken."""
    archive = gzip.compress(FILE * tars.HEADER_LIMIT + END)
    assert unpacked(archive, YAML) == {YAML}
