"""The file that trust.ca_file names: every way in which it can be wrong."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
import trustme

from margod.model import reasons
from margod.model.errors import TrustError
from margod.trust import read_ca_file
from tests.identity.openssl import make_key
from tests.trust import material


def refused(path: Path) -> TrustError:
    """Return the error of a file that has to be refused."""
    with pytest.raises(TrustError) as caught:
        read_ca_file(path, material.now())
    return caught.value


def test_pem_der_and_links(tmp_path: Path) -> None:
    """PEM and DER files are read, through links as well."""
    ca = trustme.CA()
    (tmp_path / "root.pem").write_bytes(material.root_pem(ca))
    (tmp_path / "root.der").write_bytes(material.root_der(ca))
    (tmp_path / "link").symlink_to("root.der")
    found = {read_ca_file(tmp_path / name, material.now()) for name in ("root.pem", "root.der", "link")}
    assert len(found) == 1


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("missing", "No such file"),
        ("directory", "not a regular file"),
        ("fifo", "not a regular file"),
        ("device", "not a regular file"),
        ("loop", "symbolic links"),
        ("inside a file", "Not a directory"),
    ],
)
def test_unreadable_files(tmp_path: Path, what: str, says: str) -> None:
    """What is not a readable regular file is refused at once, with path and setting."""
    path = tmp_path / "root.pem"
    match what:
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "loop":
            path.symlink_to(path)
        case "inside a file":
            path.touch()
            path /= "x"
    error = refused(path)
    assert error.reason is reasons.CA_FILE_UNREADABLE
    assert says in error.message
    assert f"{path} (trust.ca_file)" in error.message


def test_a_nul_in_the_path_is_refused() -> None:
    """A path that no file can have is an error like the others."""
    assert refused(Path("/tmp/\0")).reason is reasons.CA_FILE_UNREADABLE


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("empty", "empty"),
        ("key", "private key"),
        ("expired", "expired at"),
        ("10 MB", "larger than 64 KiB"),
        ("leaf", "not a CA"),
        ("garbage", "neither PEM nor DER"),
    ],
)
def test_files_without_a_root(tmp_path: Path, what: str, says: str) -> None:
    """What holds no usable root is refused, with path and setting."""
    path = tmp_path / "root.pem"
    match what:
        case "expired":
            old, _ = material.dated_root(tmp_path, "old", timedelta(days=-20), timedelta(days=-10))
            path.write_bytes(old.read_bytes())
        case "key":
            make_key(path, "P-256")
        case "leaf":
            path.write_bytes(material.leaf_pem(trustme.CA()))
        case _:
            path.write_bytes({"empty": b"", "10 MB": b"x" * 10_000_000}.get(what, os.urandom(500)))
    error = refused(path)
    assert error.reason is reasons.CA_FILE_INVALID
    assert says in error.message
    assert f"{path} (trust.ca_file)" in error.message


def test_the_systems_bundle_points_at_the_setting(tmp_path: Path) -> None:
    """A bundle as large as the system's store is refused with a hint at trust.system."""
    path = tmp_path / "ca-certificates.crt"
    path.write_bytes(material.root_pem(trustme.CA()) * 300)
    assert "trust.system" in refused(path).hint
