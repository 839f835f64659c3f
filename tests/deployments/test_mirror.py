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


def wanting(version: int, **files: bytes) -> tuple[Manifest, dict[str, bytes]]:
    """Return a manifest of these deployments, and what is fetched for it."""
    deployments = tuple(Deployment(name, digest(data)) for name, data in files.items())
    return Manifest(version, None, deployments), {digest(data): data for data in files.values()}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the mirror is."""
    return tmp_path / "mirror"


def test_what_was_taken_is_there_after_a_restart(directory: Path) -> None:
    """Manifest, ETag and the YAML of each deployment come back; what is not wanted any more is gone."""
    mirror = Mirror(directory, "client-1")
    assert mirror.held is None
    assert mirror.text("a") is None
    mirror.take(*_order(wanting(1, a=b"A", b=b"B"), '"one"'))
    mirror.take(*_order(wanting(2, b=b"B", c=b"C"), '"two"'))
    mirror.close()
    again = Mirror(directory, "client-1")
    assert again.held == Held(wanting(2, b=b"B", c=b"C")[0], '"two"')
    assert (again.text("a"), again.text("b"), again.text("c")) == (None, b"B", b"C")
    again.close()


def _order(found: tuple[Manifest, dict[str, bytes]], etag: str) -> tuple[Manifest, str, dict[str, bytes]]:
    return found[0], etag, found[1]


def test_only_what_is_missing_is_asked_for(directory: Path) -> None:
    """A deployment that is here already, also under another id, is not fetched again."""
    mirror = Mirror(directory, "client-1")
    mirror.take(*_order(wanting(1, a=b"A"), ""))
    manifest, fetched = wanting(2, renamed=b"A", b=b"B", also_b=b"B")
    assert [one.digest for one in mirror.missing(manifest)] == [digest(b"B")]
    mirror.take(manifest, "", {digest(b"B"): b"B"})
    assert mirror.text("renamed") == b"A"
    assert fetched
    mirror.close()


@pytest.mark.parametrize("version", [4, 5])
def test_a_version_never_goes_back(directory: Path, version: int) -> None:
    """A version that stands still or goes back changes nothing, also after a restart."""
    mirror = Mirror(directory, "client-1")
    mirror.take(*_order(wanting(5, a=b"A"), '"e"'))
    mirror.close()
    mirror = Mirror(directory, "client-1")
    with pytest.raises(Unacceptable, match="not greater than 5"):
        mirror.take(*_order(wanting(version, a=b"X"), ""))
    assert mirror.text("a") == b"A"
    mirror.close()


@pytest.mark.parametrize("fetched", [{}, {digest(b"A"): b"B"}])
def test_nothing_half_done(directory: Path, fetched: dict[str, bytes]) -> None:
    """A deployment that is missing or another one leaves what was mirrored."""
    mirror = Mirror(directory, "client-1")
    mirror.take(*_order(wanting(1, old=b"old"), ""))
    with pytest.raises(Unacceptable, match="not fetched"):
        mirror.take(wanting(2, a=b"A")[0], "", fetched)
    assert (mirror.text("old"), mirror.text("a")) == (b"old", None)
    mirror.close()


def test_a_full_disk(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the new one cannot be written, the old one stays, in memory and on disk."""
    mirror = Mirror(directory, "client-1")
    mirror.take(*_order(wanting(1, a=b"A"), ""))

    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(StateNotWritable):
            mirror.take(*_order(wanting(2, a=b"B"), ""))
    assert mirror.text("a") == b"A"
    mirror.close()
    mirror = Mirror(directory, "client-1")
    assert mirror.text("a") == b"A"
    mirror.close()


def test_another_client_id_begins_anew(directory: Path) -> None:
    """Version and ETag belong to a client id: under another one any version counts, and nothing old is shown."""
    mirror = Mirror(directory, "client-1")
    mirror.take(*_order(wanting(9, a=b"A"), '"nine"'))
    mirror.close()
    mirror = Mirror(directory, "client-2")
    assert mirror.held is None
    assert mirror.text("a") is None
    assert len(mirror.missing(wanting(1, a=b"A")[0])) == 1
    mirror.take(*_order(wanting(1, a=b"A"), ""))
    assert mirror.text("a") == b"A"
    mirror.close()


def test_damage_falls_back_to_the_one_before(directory: Path) -> None:
    """A YAML that rotted on disk is never shown: the generation before it counts."""
    mirror = Mirror(directory, "client-1")
    mirror.take(*_order(wanting(1, a=b"A"), ""))
    mirror.take(*_order(wanting(2, a=b"B"), ""))
    mirror.close()
    newest = max(directory.glob("gen-*"))
    next(newest.glob("d-*")).write_bytes(b"X")
    mirror = Mirror(directory, "client-1")
    assert mirror.held is not None
    assert (mirror.held.manifest.version, mirror.text("a")) == (1, b"A")
    mirror.close()


def test_what_the_agent_adopted(directory: Path) -> None:
    """It is stored, survives restart and the next manifest, and cannot be a version that never was."""
    mirror = Mirror(directory, "client-1")
    with pytest.raises(Unacceptable):
        mirror.adopt(1)
    mirror.take(*_order(wanting(3, a=b"A"), ""))
    for never in (0, -1, 4):
        with pytest.raises(Unacceptable):
            mirror.adopt(never)
    mirror.adopt(3)
    mirror.close()
    mirror = Mirror(directory, "client-1")
    assert mirror.held is not None
    assert mirror.held.adopted == 3
    mirror.take(*_order(wanting(4, a=b"A"), ""))
    assert mirror.held.adopted == 3
    mirror.close()
