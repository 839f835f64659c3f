"""Power cuts by replay: every prefix of what the vault did, with subsets of what was not synced, loads consistently."""

from __future__ import annotations

import errno
import hashlib
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from margod.model.errors import StateNotWritable
from margod.vault import Vault
from tests.vault.powercut import TREE, Disk, Killed, Operation, lay_out, remains
from tests.vault.support import IDENTITY, answer, intent

View = tuple[str, tuple[tuple[str, bytes], ...], int]
"""Binding, records, number of entries: what a load shows."""

NOTHING: View = ("", (), 0)


@dataclass
class Story:
    """What was done to a vault, and what it showed when: `views[i]` holds from operation `views[i][0]` on."""

    disk: Disk
    directory: Path
    views: list[tuple[int, View]] = field(default_factory=lambda: [(0, NOTHING)])

    def now(self, vault: Vault) -> None:
        """From here on, what `vault` shows must survive."""
        self.views.append((len(self.disk.operations), view_of(vault)))

    def allowed(self, at: int) -> set[View]:
        """Return what a load after `at` operations may show: the last settled view, or the one being made."""
        settled = max(i for i, (since, _) in enumerate(self.views) if since <= at)
        return {view for _, view in self.views[settled : settled + 2]}


def view_of(vault: Vault) -> View:
    """Return what `vault` shows."""
    return vault.binding, tuple(sorted(vault.records.items())), len(vault.entries)


def ordinary(story: Story) -> None:
    """From a missing directory: minted, an intent, an answer, three commits, the last under another binding."""
    vault = Vault.open(story.directory)
    story.now(vault)
    vault.commit(IDENTITY, "a")
    story.now(vault)
    for entry in (intent(), answer("client-1")):
        vault.append(entry)
        story.now(vault)
    vault.commit({"report.json": b"report"}, "a")
    story.now(vault)
    vault.append(intent(3.0))
    story.now(vault)
    vault.commit({"enrolment.json": None, "identity.key": b"key-2"}, "b")
    story.now(vault)
    vault.append(answer("client-2"))
    story.now(vault)
    vault.commit({"ledger.json": b"{}"}, "b")
    story.now(vault)
    vault.append(intent(4.0))
    story.now(vault)
    vault.close()


def killed_after(kind: str, site: str) -> Callable[[Story], None]:
    """Return the story of a margod killed before the first fsync at `site`, and of the next, which believes it."""

    def story_of(story: Story) -> None:
        def arm(operation: Operation) -> int:
            if operation.kind == "fsync" and operation.site.endswith(site):
                raise Killed
            return 0

        vault = Vault.open(story.directory)
        vault.commit(IDENTITY, "a")
        vault.append(intent())
        story.now(vault)
        story.disk.fail = arm
        with pytest.raises(Killed):
            if kind == "append":
                vault.append(answer("client-1"))
            else:
                vault.commit({"report.json": b"report"}, "a")
        story.disk.fail = lambda _operation: 0
        story.disk.close_all()
        started = len(story.disk.operations)
        vault = Vault.open(story.directory)
        assert view_of(vault) != story.views[-1][1], "what was killed had become visible"
        story.views = [(started, story.views[-1][1])]
        story.now(vault)
        vault.close()

    return story_of


def stray_commit(story: Story) -> None:
    """A commit whose last sync fails is taken back before an answer is appended on the generation below it."""
    vault = Vault.open(story.directory)
    vault.commit(IDENTITY, "a")
    story.now(vault)
    failing = [True, True]

    def fail(operation: Operation) -> int:
        visible = (story.directory / "gen-000002").exists() or len(failing) == 1
        return errno.EIO if operation.kind == "fsync" and visible and failing and failing.pop() else 0

    story.disk.fail = fail
    with pytest.raises(StateNotWritable):
        vault.commit({"identity.key": b"key-2"}, "b")
    story.disk.fail = lambda _operation: 0
    vault.append(answer("client-1"))
    story.views = [(len(story.disk.operations), view_of(vault))]
    vault.close()


def unsettled_log(story: Story) -> None:
    """The log is renamed into place and its directory is not synced: the next answer does not rely on that name."""
    vault = Vault.open(story.directory)
    vault.commit(IDENTITY, "a")
    vault.append(intent())
    vault.commit({}, "a")

    def fail(operation: Operation) -> int:
        return errno.EIO if "_compact_log" in operation.site and ">sync_directory>" in operation.site else 0

    story.disk.fail = fail
    vault.commit({}, "a")
    story.disk.fail = lambda _operation: 0
    started = len(story.disk.operations)
    story.views = [(started, view_of(vault))]
    vault.append(answer("client-1"))
    story.now(vault)
    vault.close()


STORIES: dict[str, Callable[[Story], None]] = {
    "ordinary": ordinary,
    "killed-append": killed_after("append", "append_line"),
    "killed-commit": killed_after("commit", "commit_directory>sync_directory>_sync_entries>sync"),
    "stray": stray_commit,
    "unsettled-log": unsettled_log,
}


def play(name: str, root: Path) -> Story:
    """Play one story on a recording disk."""
    root.mkdir(mode=0o700)
    story = Story(Disk(root), root / "margod")
    with pytest.MonkeyPatch.context() as patch:
        story.disk.install(patch)
        STORIES[name](story)
    return story


def violations(story: Story, scratch: Path, ignored: str, most: int, *, first: bool) -> list[str]:
    """Cut the power after every operation and return what loads wrongly; only the `first` if so wished."""
    rng, seen, wrong = random.Random(4), set(), []
    for at in range(story.views[0][0], len(story.disk.operations) + 1):
        allowed = story.allowed(at)
        for tree in remains(story.disk.operations[:at], ignored, rng, most):
            key = hashlib.sha256(repr((sorted(allowed), sorted(tree.items()))).encode()).hexdigest()
            if key in seen:
                continue
            seen.add(key)
            if problem := judge(tree, scratch, allowed):
                wrong.append(f"after {at} ({story.disk.operations[at - 1]}): {problem}")
                if first:
                    return wrong
    return wrong


def judge(tree: TREE, scratch: Path, allowed: set[View]) -> str:
    """Load `tree`, then once more without its highest generation; return what is wrong, or nothing."""
    found = load(tree, scratch)
    if isinstance(found, str):
        return found
    if found not in allowed:
        return f"{found} is none of {allowed}"
    generations = sorted(name for name in tree if name.startswith("margod/gen-") and tree[name] is None)
    if len(generations) > 1 and (tree.get(f"{generations[-1]}/identity.key") == b"key-1"):
        below = load({n: d for n, d in tree.items() if not n.startswith(generations[-1])}, scratch)
        if isinstance(below, str):
            return f"without {generations[-1]}: {below}"
        if dict(found[1]).get("enrolment.json") != dict(below[1]).get("enrolment.json"):
            return f"without {generations[-1]} the accepted answer is lost: {below}"
    return ""


def load(tree: TREE, scratch: Path) -> View | str:
    """Open the vault in `tree` and return what it shows, or what it complains of."""
    shutil.rmtree(scratch, ignore_errors=True)
    lay_out(tree, scratch)
    vault = Vault.open(scratch / "margod")
    vault.close()
    if vault.findings or vault.damaged or vault.read_only:
        return f"a power cut is not damage: {vault.findings}"
    return view_of(vault)


@pytest.mark.parametrize("name", STORIES)
def test_a_power_cut_at_any_moment_leaves_the_old_or_the_new(name: str, scratch: Path) -> None:
    """Nothing that was returned is lost, nothing half done is seen, and the generation below has the answer too."""
    story = play(name, scratch / "disk")
    assert violations(story, scratch / "replay", "", 24, first=False) == []


def test_every_sync_matters(scratch: Path) -> None:
    """Without any one of the places that sync, some power cut loses or mixes something."""
    stories = [play(name, scratch / name) for name in STORIES]
    sites = {op.site for story in stories for op in story.disk.operations if op.kind == "fsync"}
    useless = [
        site
        for site in sorted(sites)
        if not any(
            violations(story, scratch / "replay", site, 12, first=True)
            for story in reversed(stories)
            if any(op.kind == "fsync" and op.site == site for op in story.disk.operations)
        )
    ]
    assert useless == []
    assert len(sites) > 8
