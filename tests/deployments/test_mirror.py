"""The mirror: whole or not at all, one version after the other, over restarts, damage and another client id."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from margod.deployments.mirror import Held, Mirror
from margod.model.errors import StateNotWritable
from margod.protocols.signed.manifest import Deployment, Manifest, Unacceptable


def digest(data: bytes) -> str:
    """Return the digest as the manifest writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def wanting(version: int, **files: bytes) -> Manifest:
    """Return a manifest of these deployments."""
    return Manifest(version, None, tuple(Deployment(name, digest(data)) for name, data in files.items()))


def take(mirror: Mirror, version: int, etag: str = "", **files: bytes) -> None:
    """Fetch what is missing, and take the manifest."""
    manifest = wanting(version, **files)
    for one in mirror.missing(manifest):
        mirror.put(one.digest, files[one.deployment_id])
    mirror.take(manifest, etag, 7.0)


def text(mirror: Mirror, name: str) -> bytes | None:
    """Return the YAML of a deployment."""
    found = mirror.text(name)
    return found[1] if found else None


def files(directory: Path) -> set[str]:
    """Return the digests of the files that lie there."""
    return {f"sha256:{path.name[2:]}" for path in directory.glob("d-*")}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the mirror is."""
    return tmp_path / "mirror"


def test_what_was_taken_is_there_after_a_restart(directory: Path) -> None:
    """Manifest, ETag, time and the YAML of each deployment come back; what is not wanted any more is not shown."""
    mirror = Mirror(directory, "client-1")
    assert (mirror.held, mirror.whole, mirror.text("a")) == (None, False, None)
    take(mirror, 1, '"one"', a=b"A", b=b"B")
    take(mirror, 2, '"two"', b=b"B", c=b"C")
    mirror.close()
    again = Mirror(directory, "client-1")
    assert again.held == Held(wanting(2, b=b"B", c=b"C"), '"two"', 0, 7.0)
    assert again.whole
    assert again.text("a") is None
    assert again.text("b") == (digest(b"B"), b"B")
    assert text(again, "c") == b"C"
    again.close()


def test_a_disk_that_fails_at_the_opening(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory is given back: nobody holds its lock when the next one opens it."""
    mirror = Mirror(directory, "client-1")
    take(mirror, 1, a=b"A")
    mirror.close()

    def fail(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as patched:
        patched.setattr("margod.deployments.mirror.remove_tree", fail)
        with pytest.raises(OSError, match="Input/output"):
            Mirror(directory, "client-2")
    again = Mirror(directory, "client-1")
    assert again.held is not None
    again.close()


def test_files_go_with_the_manifest_after_next(directory: Path) -> None:
    """What the last two manifests name is kept, for a generation that rots; what neither names is removed."""
    mirror = Mirror(directory, "client-1")
    take(mirror, 1, a=b"A", b=b"B")
    take(mirror, 2, b=b"B", c=b"C")
    mirror.adopt(2)
    assert files(directory) == {digest(b"A"), digest(b"B"), digest(b"C")}
    take(mirror, 3, c=b"C")
    assert files(directory) == {digest(b"B"), digest(b"C")}
    mirror.close()


def test_only_what_is_missing_is_asked_for(directory: Path) -> None:
    """A deployment that is here already, also under another id, is not fetched again."""
    mirror = Mirror(directory, "client-1")
    take(mirror, 1, a=b"A")
    manifest = wanting(2, renamed=b"A", b=b"B", also_b=b"B")
    assert [one.digest for one in mirror.missing(manifest)] == [digest(b"B")]
    mirror.put(digest(b"B"), b"B")
    mirror.take(manifest, "")
    assert text(mirror, "renamed") == b"A"
    mirror.close()


@pytest.mark.parametrize("version", [4, 5])
def test_a_version_never_goes_back(directory: Path, version: int) -> None:
    """A version that stands still or goes back changes nothing, also after a restart."""
    mirror = Mirror(directory, "client-1")
    take(mirror, 5, '"e"', a=b"A")
    mirror.close()
    mirror = Mirror(directory, "client-1")
    with pytest.raises(Unacceptable, match="not greater than 5"):
        take(mirror, version, a=b"X")
    assert text(mirror, "a") == b"A"
    mirror.close()


def test_nothing_half_done(directory: Path) -> None:
    """A deployment that is missing or another one leaves what was mirrored."""
    mirror = Mirror(directory, "client-1")
    take(mirror, 1, old=b"old")
    with pytest.raises(Unacceptable, match="not what its digest names"):
        mirror.put(digest(b"A"), b"B")
    with pytest.raises(Unacceptable, match="not fetched"):
        mirror.take(wanting(2, a=b"A"), "")
    assert (text(mirror, "old"), text(mirror, "a")) == (b"old", None)
    mirror.close()


def test_a_full_disk(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the new one cannot be written, the old one stays, in memory and on disk."""
    mirror = Mirror(directory, "client-1")
    take(mirror, 1, a=b"A")

    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(StateNotWritable):
            take(mirror, 2, a=b"B")
    mirror.put(digest(b"B"), b"B")
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(StateNotWritable):
            take(mirror, 2, a=b"B")
    assert text(mirror, "a") == b"A"
    mirror.close()
    mirror = Mirror(directory, "client-1")
    assert text(mirror, "a") == b"A"
    take(mirror, 2, a=b"B")
    mirror.close()


def test_another_client_id_begins_anew(directory: Path) -> None:
    """Version and ETag belong to a client id: under another one any version counts, and nothing old lies there."""
    mirror = Mirror(directory, "client-1")
    take(mirror, 9, '"nine"', a=b"A")
    mirror.close()
    mirror = Mirror(directory, "client-2")
    assert mirror.held is None
    assert mirror.text("a") is None
    assert files(directory) == set()
    assert len(mirror.missing(wanting(1, a=b"A"))) == 1
    take(mirror, 1, a=b"A")
    assert text(mirror, "a") == b"A"
    mirror.close()


@pytest.mark.parametrize("how", ["changed", "gone", "emptied", "linked"])
def test_a_file_that_rots_is_fetched_again(directory: Path, how: str) -> None:
    """It is never shown, it is set aside, the mirror is not whole until it was put again, and the rest is served."""
    mirror = Mirror(directory, "client-1")
    take(mirror, 2, '"e"', a=b"A", b=b"B")
    mirror.close()
    file = directory / f"d-{digest(b'A')[7:]}"
    if how == "changed":
        file.write_bytes(b"X")
    elif how == "emptied":
        file.write_bytes(b"")
    else:
        file.unlink()
        if how == "linked":
            file.symlink_to("/etc/hostname")
    mirror = Mirror(directory, "client-1")
    assert mirror.held is not None
    assert mirror.lost == {digest(b"A")}
    assert mirror.text("a") == (digest(b"A"), None)
    assert text(mirror, "b") == b"B"
    assert (directory / "quarantine" / file.name).is_symlink() is (how == "linked")
    assert (directory / "quarantine").exists() is (how != "gone")
    assert [one.deployment_id for one in mirror.missing(mirror.held.manifest)] == ["a"]
    mirror.put(digest(b"A"), b"A")
    mirror.mended()
    assert mirror.whole
    assert text(mirror, "a") == b"A"
    mirror.close()


def test_a_file_that_rots_while_it_runs(directory: Path) -> None:
    """Damage that a look at the file finds counts from then on."""
    mirror = Mirror(directory, "client-1")
    take(mirror, 2, a=b"A")
    next(directory.glob("d-*")).write_bytes(b"X")
    assert mirror.text("a") == (digest(b"A"), None)
    assert not mirror.whole
    mirror.close()


def test_the_quarantine_is_bounded(directory: Path) -> None:
    """A disk that fails daily is not filled by what is set aside."""
    mirror = Mirror(directory, "client-1")
    for version in range(1, 41):
        take(mirror, version, a=str(version).encode())
        (directory / f"d-{digest(str(version).encode())[7:]}").write_bytes(b"X")
        assert text(mirror, "a") is None
    assert len([*(directory / "quarantine").iterdir()]) == 32
    mirror.close()


def test_damage_falls_back_to_the_one_before(directory: Path) -> None:
    """Where the record rotted on disk, the generation before it counts, and its files are still there."""
    mirror = Mirror(directory, "client-1")
    take(mirror, 1, a=b"A")
    take(mirror, 2, a=b"B")
    mirror.close()
    (max(directory.glob("gen-*")) / "held.json").write_bytes(b"X")
    mirror = Mirror(directory, "client-1")
    assert mirror.held is not None
    assert (mirror.held.manifest.version, text(mirror, "a"), mirror.whole) == (1, b"A", True)
    assert mirror.findings
    take(mirror, 2, a=b"B")
    mirror.close()


def test_what_the_agent_adopted(directory: Path) -> None:
    """It is stored, survives restart and the next manifest, and cannot be a version that never was."""
    mirror = Mirror(directory, "client-1")
    with pytest.raises(Unacceptable):
        mirror.adopt(1)
    take(mirror, 3, a=b"A")
    for never in (0, -1, 4):
        with pytest.raises(Unacceptable):
            mirror.adopt(never)
    mirror.adopt(3)
    mirror.close()
    mirror = Mirror(directory, "client-1")
    assert mirror.held is not None
    assert mirror.held.adopted == 3
    take(mirror, 4, a=b"A")
    assert mirror.held.adopted == 3
    mirror.close()
