"""The files of a commit as a desired state: which are deployments, and what refuses the whole."""

from __future__ import annotations

import hashlib

import pytest

from margod.deployments.gittree import read_tree
from margod.protocols.signed.desired import FILE_LIMIT
from margod.protocols.signed.manifest import COUNT_LIMIT, Deployment, Manifest, Unacceptable


def digest(data: bytes) -> str:
    """Return the digest as a manifest writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_yaml_files_in_any_folder_are_deployments() -> None:
    """Ids are names of files; both endings; equal bytes are one text; the rest is left out and named."""
    files = {
        "b.yml": b"B",
        "deep/er/a.yaml": b"A",
        "c.yaml": b"A",
        "README.md": b"-",
        "x.YAML": b"-",
        ".gitlab-ci.yml": b"-",
        ".github/workflows/ci.yaml": b"-",
        "deep/.hidden/y.yaml": b"-",
    }
    tree = read_tree(files, 7)
    wanted = (Deployment("a", digest(b"A")), Deployment("b", digest(b"B")), Deployment("c", digest(b"A")))
    assert tree.manifest == Manifest(7, None, wanted)
    assert tree.texts == {digest(b"A"): b"A", digest(b"B"): b"B"}
    assert set(tree.left_out) == {"README.md", "x.YAML", ".gitlab-ci.yml", *list(files)[-2:]}


def test_no_files_want_nothing() -> None:
    """A commit without files is an empty desired state, and no mistake."""
    assert read_tree({}, 1).manifest.deployments == ()


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a.yaml": b"1", "b/a.yaml": b"2"}, "b/a.yaml: a.yaml is the same deployment"),
        ({"a.yaml": b"1", "a.yml": b"1"}, "a.yml: a.yaml is the same deployment"),
        ({"a/pump.yaml": b"1", "b/PUMP.yml": b"2"}, "b/PUMP.yml: a/pump.yaml is the same deployment"),
        ({"a b.yaml": b"1"}, "a b.yaml: its name is no deployment's id"),
        ({f"{'a' * 129}.yaml": b"1"}, "its name is no deployment's id"),
        ({"x/é.yml": b"1"}, "its name is no deployment's id"),
        ({"a.yaml": b"1" * (FILE_LIMIT + 1)}, f"a.yaml: larger than {FILE_LIMIT} bytes"),
        ({f"a{n}.yaml": b"1" for n in range(COUNT_LIMIT + 1)}, f"more than {COUNT_LIMIT} deployments"),
    ],
)
def test_what_refuses_the_whole(files: dict[str, bytes], says: str) -> None:
    """One file that cannot be a deployment, and nothing of the commit is taken."""
    with pytest.raises(Unacceptable, match=says):
        read_tree(files, 1)
