"""Desired state: the example is read, a bundle is what the manifest names, and everything else is refused."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from margod.protocols.signed import manifest
from margod.protocols.signed.manifest import Manifest, Unacceptable, is_what_was_named, read_manifest

EXAMPLE = Path(__file__).parent.parent / "data" / "DesiredStateManifest.signed.json"
DIGEST = "sha256:" + "a" * 64


def digest(data: bytes) -> str:
    """Return the digest as the manifest writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def written(**members: Any) -> bytes:
    """Return a manifest of one deployment, with these members instead."""
    good = {"manifestVersion": 7, "bundle": None, "deployments": [{"deploymentId": "one", "digest": DIGEST}]}
    return json.dumps({**good, **members}).encode()


def test_the_example_of_the_specification() -> None:
    """The example's version, bundle and deployment are read; its url values are not used."""
    found = read_manifest(EXAMPLE.read_bytes())
    assert found.version == 101
    assert found.bundle == "sha256:01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b"
    assert [d.deployment_id for d in found.deployments] == ["a3e2f5dc-912e-494f-8395-52cf3769bc06"]


@pytest.mark.parametrize("version", [1, 1.0, 101.0, 2**64 - 1])
def test_versions(version: float) -> None:
    """Whole numbers of 64 bits, also as servers that know no integers write them."""
    assert read_manifest(written(manifestVersion=version)).version == version


def test_an_empty_manifest_and_a_missing_bundle() -> None:
    """Nothing wanted is something that may be wanted."""
    assert read_manifest(b'{"manifestVersion": 1, "deployments": []}') == Manifest(1, None, ())


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b" " * (manifest.MANIFEST_LIMIT + 1), "larger"),
        *[(written(manifestVersion=v), "manifestVersion") for v in (0, -1, 1.5, True, "7", None, 2**64, 1e300)],
        (b'{"manifestVersion": NaN, "deployments": []}', "manifestVersion"),
        (b'{"manifestVersion": Infinity, "deployments": []}', "manifestVersion"),
        (written(bundle=[]), "bundle"),
        (written(bundle={}), "bundle.digest"),
        (written(bundle={"digest": "sha512:" + "a" * 128}), "bundle.digest"),
        (written(deployments=None), "deployments"),
        (written(deployments=[{}] * 257), "at most 256"),
        (written(deployments=["x"]), "deployments.0."),
        *[
            (written(deployments=[{"deploymentId": i, "digest": DIGEST}]), "deploymentId")
            for i in (None, "", ".", "..", "a/b", "a%2fb", "a\x00", "x" * 129, 7)
        ],
        *[
            (written(deployments=[{"deploymentId": "a", "digest": d}]), "digest")
            for d in (None, "", DIGEST.upper(), DIGEST + "a", DIGEST[:-1], "md5:" + "a" * 32, "a" * 64, DIGEST + "\n")
        ],
        (written(deployments=[{"deploymentId": "a", "digest": DIGEST}] * 2), "same deploymentId"),
    ],
)
def test_what_is_refused(body: bytes, why: str) -> None:
    """Each fault is named, and nothing of the manifest is taken."""
    with pytest.raises(Unacceptable, match=why):
        read_manifest(body)


@given(st.binary(max_size=2000))
def test_any_bytes(data: bytes) -> None:
    """Whatever is not a manifest is refused, and raises nothing else."""
    with suppress(Unacceptable):
        read_manifest(data)


def test_digests() -> None:
    """A digest proves exactly its bytes."""
    assert is_what_was_named(b"x", digest(b"x"))
    assert not is_what_was_named(b"y", digest(b"x"))
