"""A bundle is what its manifest names, and everything else is refused as a whole."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from margod.deployments import bundle as bundles
from margod.protocols.signed.desired import FILE_LIMIT
from margod.protocols.signed.manifest import Deployment, Manifest, Unacceptable


def unpack(bundle: bytes, manifest: Manifest) -> dict[str, bytes]:
    """Return all that a bundle holds."""
    return dict(bundles.unpack(bundle, manifest))


def digest(data: bytes) -> str:
    """Return the digest as the manifest writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def archive(*members: tuple[str, bytes] | tarfile.TarInfo) -> bytes:
    """Return a gzipped tar with these files and entries."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return out.getvalue()


def naming(bundle: bytes, *files: bytes) -> Manifest:
    """Return the manifest that names this bundle and these files."""
    return Manifest(1, digest(bundle), tuple(Deployment(f"id-{at}", digest(data)) for at, data in enumerate(files)))


def test_a_bundle_is_unpacked() -> None:
    """Files are known by what they hold, in directories or not; a directory is no harm."""
    folder = tarfile.TarInfo("all")
    folder.type = tarfile.DIRTYPE
    bundle = archive(folder, ("all/one.yaml", b"one"), ("./two.yaml", b"two"))
    assert unpack(bundle, naming(bundle, b"one", b"two")) == {digest(b"one"): b"one", digest(b"two"): b"two"}


def test_a_bundle_of_another_digest() -> None:
    """One changed bit is another bundle."""
    bundle = archive(("one", b"one"))
    with pytest.raises(Unacceptable, match="digest differs"):
        unpack(bundle + b"\0", naming(bundle, b"one"))


def _link(kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo("link")
    info.type, info.linkname = kind, "/etc/passwd"
    return info


BOMB = gzip.compress(b"\0" * (bundles.UNPACKED_LIMIT + 1), 9)


@pytest.mark.parametrize(
    ("bundle", "why"),
    [
        (b"", "gzip"),
        (b"not gzip", "gzip"),
        (gzip.compress(b"not tar" * 1000), "tar"),
        (archive(("one", b"one"))[:-4], "cut off"),
        (archive(("one", b"one")) + b"more", "follows"),
        (BOMB, "more than"),
        (archive(("one", b"one"), _link(tarfile.SYMTYPE)), "no regular file"),
        (archive(("one", b"one"), _link(tarfile.LNKTYPE)), "no regular file"),
        (archive(("one", b"one"), _link(tarfile.FIFOTYPE)), "no regular file"),
        (archive(("one", b"one"), _link(tarfile.CHRTYPE)), "no regular file"),
        (archive(("../one", b"one")), "leads out"),
        (archive(("a/../../one", b"one")), "leads out"),
        (archive(("/one", b"one")), "leads out"),
        (archive(("one", b"one"), ("more", b"more")), "does not name"),
        (archive(), "lacks 1"),
        (archive(("one", b"x" * (FILE_LIMIT + 1))), "larger"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # the bytes hold the time: each worker has others
)  # fmt: skip
def test_bundles_that_are_refused(bundle: bytes, why: str) -> None:
    """Whatever is wrong with it, the bundle is refused as a whole although its digest is right."""
    with pytest.raises(Unacceptable, match=why):
        unpack(bundle, naming(bundle, b"one"))


@given(st.binary(max_size=2000))
def test_any_bytes(data: bytes) -> None:
    """Whatever is not a bundle is refused, and raises nothing else."""
    for bundle in (data, gzip.compress(data)):
        with suppress(Unacceptable):
            unpack(bundle, naming(bundle, b"one"))
