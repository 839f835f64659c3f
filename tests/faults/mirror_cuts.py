"""Power cuts by replay, for the mirror: after any of them it is the old one or the new one, and whole."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from margod.deployments.mirror import Mirror
from margod.protocols.signed.manifest import Deployment, Manifest
from tests.faults.campaign import Run, promise
from tests.faults.recording import TREE, Disk, lay_out, remains

WANTED: dict[int, tuple[bytes, ...]] = {1: (b"A", b"B"), 2: (b"B", b"C"), 4: (b"D", b"C"), 5: ()}
"""What each version names; each deployment's YAML is as long as a sector and more."""


@dataclass
class Played:
    """What was done to a mirror, and from which operation on it was at which version."""

    disk: Disk
    since: list[tuple[int, int]]

    def allowed(self, at: int) -> set[int]:
        """Return which versions may be found after `at` operations: the settled one, and the one being made."""
        settled = max(i for i, (since, _) in enumerate(self.since) if since <= at)
        return {version for _, version in self.since[settled : settled + 2]}


def mirror_cuts(run: Run) -> None:
    """Cut the power after every operation, with many subsets of what was not synced, and open what is left."""
    played = play(run.place / "disk")
    wrong = violations(played, run.place / "replay", None, run.of(1 << 10, 16), run)
    promise(not wrong, wrong)
    run.count("operations", len(played.disk.operations))
    shutil.rmtree(run.place / "disk")


def play(root: Path) -> Played:
    """Take every version in turn, the agent adopting each, and open it anew in between."""
    root.mkdir(mode=0o700)
    disk = Disk(root)
    played = Played(disk, [(0, 0)])
    with pytest.MonkeyPatch.context() as patch:
        disk.install(patch)
        for version, texts in WANTED.items():
            mirror = Mirror(root / "mirror", "client-1")
            for text in texts:
                mirror.put(digest(text), text * 700)
            mirror.take(manifest(version), f'"{version}"', 1.0)
            played.since.append((len(disk.operations), version))
            mirror.adopt(version)
            mirror.close()
    return played


def violations(played: Played, scratch: Path, ignored: str | None, most: int, run: Run) -> str:
    """Return the first thing that is wrong; `ignored`: a place whose sync is void."""
    seen = set()
    for at in range(len(played.disk.operations) + 1):
        for tree in remains(played.disk.operations[:at], ignored, run.rng, most):
            key = hashlib.sha256(repr((at, sorted(tree.items()))).encode()).hexdigest()
            if key in seen:
                continue
            seen.add(key)
            run.count("mirrors opened")
            if problem := judge(tree, scratch, played.allowed(at)):
                return f"after {at} ({played.disk.operations[at - 1]}): {problem}"
    return ""


def judge(tree: TREE, scratch: Path, allowed: set[int]) -> str:
    """Open a mirror, and once more without its highest generation; return what is wrong with it, or nothing."""
    problem = opened(tree, scratch, allowed)
    generations = sorted(name for name in tree if name.startswith("mirror/gen-") and tree[name] is None)
    if not problem and len(generations) > 1:
        below = {name: data for name, data in tree.items() if not name.startswith(generations[-1])}
        problem = opened(below, scratch, {0, *WANTED})
        return f"without {generations[-1]}: {problem}" if problem else ""
    return problem


def opened(tree: TREE, scratch: Path, allowed: set[int]) -> str:
    """Return what is wrong with the mirror in `tree`, or nothing."""
    shutil.rmtree(scratch, ignore_errors=True)
    lay_out(tree, scratch)
    mirror = Mirror(scratch / "mirror", "client-1")
    try:
        version = mirror.held.manifest.version if mirror.held else 0
        if version not in allowed:
            return f"version {version} is none of {allowed}"
        if mirror.findings or (version and not mirror.whole):
            return f"version {version} is not whole: {mirror.findings} {mirror.lost}"
        texts = [mirror.text(one.deployment_id) for one in manifest(version).deployments]
        expected = [(digest(text), text * 700) for text in WANTED.get(version, ())]
        return "" if texts == expected else "a deployment is another one"
    finally:
        mirror.close()


def manifest(version: int) -> Manifest:
    """Return the manifest of a version; of 0 one that names nothing."""
    texts = WANTED.get(version, ())
    return Manifest(version, None, tuple(Deployment(f"id-{text.decode()}", digest(text)) for text in texts))


def digest(text: bytes) -> str:
    """Return the digest of a deployment."""
    return f"sha256:{hashlib.sha256(text * 700).hexdigest()}"
