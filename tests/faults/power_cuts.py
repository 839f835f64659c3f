"""Power cuts by replay: every prefix of what the vault did, with subsets of what was not synced, loads consistently."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from margod import trust
from margod.config import Loaded, Sources, keep_last_good, load
from margod.engine.messages import Memory
from margod.model import reasons
from margod.model.errors import StateNotWritable
from margod.model.state import State
from margod.shell.ground import Ground
from margod.shell.records import ANCHORS
from margod.shell.retired import Retired
from margod.vault import Vault
from margod.vault import vault as vaults
from margod.vault.answerlog import encode
from tests.faults.campaign import Run, promise
from tests.faults.children import NOTHING, View, view_of
from tests.faults.recording import TREE, Disk, Killed, Operation, lay_out, remains
from tests.vault.support import IDENTITY, answer, enrolled, intent

OTHERS = ("runtime.json", "config.last-good")


class Shown(NamedTuple):
    """What a start finds: the vault's view, the two files beside it, and the root CAs that are retired."""

    view: View
    others: tuple[bytes, ...]
    retired: frozenset[str] = frozenset()


@dataclass
class Story:
    """What was done to a vault, and what it showed when: `views[i]` holds from operation `views[i][0]` on."""

    disk: Disk
    directory: Path
    views: list[tuple[int, Shown]] = field(default_factory=lambda: [(0, Shown(NOTHING, (b"", b"")))])
    retired: Retired = field(default_factory=Retired)
    wanted: frozenset[str] = frozenset()
    """Retired root CAs that a person takes back."""
    evidence: tuple[bytes, ...] = ()
    """What has to be found in some file after every load: what is damaged is set aside, never thrown away."""

    def now(self, vault: Vault) -> None:
        """From here on, what `vault` shows must survive."""
        self.views.append((len(self.disk.operations), self.shown(vault)))

    def only(self, vault: Vault, since: int) -> None:
        """Nothing but what `vault` shows may be seen, from operation `since` on."""
        self.views = [(since, self.shown(vault))]

    def shown(self, vault: Vault) -> Shown:
        """Return what is there now."""
        return Shown(view_of(vault), others_of(self.directory), self.retired.roots)

    def allowed(self, at: int) -> set[Shown]:
        """Return what a load after `at` operations may show: the last settled view, or the one being made."""
        settled = max(i for i, (since, _) in enumerate(self.views) if since <= at)
        return {view for _, view in self.views[settled : settled + 2]}


def others_of(directory: Path) -> tuple[bytes, ...]:
    """Return the bytes of the files beside the vault's; empty for one that is not there."""
    return tuple((directory / name).read_bytes() if (directory / name).exists() else b"" for name in OTHERS)


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
        assert story.shown(vault) != story.views[-1][1], "what was killed had become visible"
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
    story.only(vault, len(story.disk.operations))
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
    story.only(vault, len(story.disk.operations))
    vault.append(answer("client-1"))
    story.now(vault)
    vault.close()


def fold(story: Story) -> None:
    """A log that has grown long is thinned out, then folded into generations, while an answer is in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vaults, "THIN_ABOVE", 900)
        patch.setattr(vaults, "LOG_LIMIT", 2000)
        patch.setattr(vaults, "INTENTS_KEPT", 2)
        vault = Vault.open(story.directory)
        vault.commit(IDENTITY, "a")
        started = len(story.disk.operations)
        story.only(vault, started)
        for number in range(12):
            base = vault._base
            vault.append(answer(f"client-{number}") if number % 2 else intent(float(number)))
            if vault._base is not base:  # folded on the way: between the two there was a third view
                folded = View("a", story.views[-1][1].view.records, 0)
                story.views.append((story.views[-1][0], Shown(folded, story.views[-1][1].others)))
            story.now(vault)
        vault.close()


def other_files(story: Story) -> None:
    """runtime.json and the last good configuration, made and replaced, as the daemon does it."""
    vault = Vault.open(story.directory)
    vault.commit(IDENTITY, "a")
    story.now(vault)
    ground = Ground(_loaded(story, "A").config, lambda: 1.0)
    ground.vault, ground.directory = vault, story.directory
    for vendor in ("A", "B"):
        ground.remember(_memory(vendor))
        story.now(vault)
        assert keep_last_good(_loaded(story, vendor), story.directory)
        story.now(vault)
    vault.close()


def retiring(story: Story) -> None:
    """One root CA takes the place of another, while an answer is in the log."""
    vault = Vault.open(story.directory)
    story.retired.load(story.directory, vault)
    vault.commit({**IDENTITY, ANCHORS: _pem(1), "report.json": b"report"}, "a")
    story.now(vault)
    vault.append(answer("client-1"))
    story.now(vault)
    story.retired.commit(vault, {ANCHORS: _pem(2)}, "a")
    story.now(vault)
    vault.close()


def taking_back(story: Story) -> None:
    """A person takes a retired root CA back: until the commit it is retired, and then it is not."""
    story.wanted = frozenset({_fingerprint(1)})
    vault = Vault.open(story.directory)
    story.retired.load(story.directory, vault)
    vault.commit({**IDENTITY, ANCHORS: _pem(1), "report.json": b"report"}, "a")
    story.retired.commit(vault, {ANCHORS: _pem(2)}, "a")
    story.only(vault, len(story.disk.operations))
    story.retired.commit(vault, {ANCHORS: _pem(1)}, "a", story.wanted)
    story.now(vault)
    vault.close()


def _pem(number: int) -> bytes:
    """Return what stands for a root CA: nobody here reads what is in it."""
    return ssl.DER_cert_to_PEM_cert(b"root-%d" % number).encode()


def _fingerprint(number: int) -> str:
    return trust.fingerprints(_pem(number))[0]


def _loaded(story: Story, vendor: str) -> Loaded:
    overrides = {"device.vendor": vendor, "state.directory": str(story.directory)}
    return load(Sources(story.disk.root / "missing.yaml"), {}, overrides)


def _memory(detail: str) -> Memory:
    return Memory(1.0, "key", State.ONBOARDING, reasons.STATE_NOT_WRITABLE, detail, 1.0, 1, 1, None, 0.0)


def mend(spoil: Callable[[Path], tuple[bytes, ...]]) -> Callable[[Story], None]:
    """Return the story of a damage that is durable, and of the load that mends what can be mended."""

    def story_of(story: Story) -> None:
        enrolled(story.directory)
        story.evidence = spoil(story.directory)
        started = len(story.disk.operations)
        vault = Vault.open(story.directory)
        assert vault.findings
        story.only(vault, started)
        if not vault.damaged:
            vault.append(intent(11.0))
            story.now(vault)
        vault.close()

    return story_of


def _overwrite(path: Path, data: bytes, flags: int = 0) -> None:
    fd = os.open(path, os.O_WRONLY | flags)
    os.write(fd, data)
    os.fsync(fd)
    os.close(fd)


def _broken_log(directory: Path) -> tuple[bytes, ...]:
    bad = encode(intent(7.0), 2, "a").raw.replace(b"7.0", b"8.0")
    _overwrite(directory / "answer.log", bad + encode(intent(9.0), 2, "a").raw, os.O_APPEND)
    return (bad,)


def _broken_generation(directory: Path) -> tuple[bytes, ...]:
    _overwrite(directory / "gen-000002/report.json", b"REPORT")
    return (b"REPORT",)


def _broken_generations(directory: Path) -> tuple[bytes, ...]:
    """Break both, and take away the log: the quarantine alone tells that there was something."""
    for number in (1, 2):
        _overwrite(directory / f"gen-00000{number}/identity.crt", b"x%d" % number)
    (directory / "answer.log").unlink()
    fd = os.open(directory, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    return (b"x1rtificate-1", b"x2rtificate-1", b"key-1")


def _broken_everything(directory: Path) -> tuple[bytes, ...]:
    evidence = _broken_log(directory)
    for number in (1, 2):
        _overwrite(directory / f"gen-00000{number}/identity.crt", b"x%d" % number)
    return (*evidence, b"x1rtificate-1", b"x2rtificate-1")


STORIES: dict[str, Callable[[Story], None]] = {
    "retiring": retiring,
    "taking-back": taking_back,
    "ordinary": ordinary,
    "killed-append": killed_after("append", "append_line"),
    "killed-commit": killed_after("commit", "commit_directory>sync_directory>_sync_entries>sync"),
    "stray": stray_commit,
    "unsettled-log": unsettled_log,
    "fold": fold,
    "other-files": other_files,
    "mend-log": mend(_broken_log),
    "mend-generation": mend(_broken_generation),
    "mend-generations": mend(_broken_generations),
    "mend-everything": mend(_broken_everything),
}


def power_cuts(run: Run) -> None:
    """Cut the power after every operation of every story, with up to 2^12 subsets of what was not synced."""
    for name in STORIES:
        story = play(name, run.place / "disk")
        wrong = violations(story, run.place / "replay", None, run.of(1 << 12, 24), run, first=True)
        promise(not wrong, f"{name}: {wrong}")
        run.count("operations", len(story.disk.operations))
        shutil.rmtree(run.place / "disk")


def syncs_removed(run: Run) -> None:
    """Take away each place that syncs in turn: some power cut has to lose or mix something then."""
    with played(run.place) as stories:
        for site in sorted(sites_of(stories)):
            caught = [name for name, story in stories.items() if noticed(story, site, run)]
            promise(caught, f"without the sync in {site} nothing is lost")
            run.count("syncs removed and missed")


def noticed(story: Story, site: str, run: Run) -> bool:
    """Return whether a story goes wrong without the sync at `site`."""
    if not any(op.kind == "fsync" and op.site == site for op in story.disk.operations):
        return False
    return bool(violations(story, run.place / "replay", site, run.of(1 << 8, 24), run, first=True))


@contextmanager
def played(place: Path) -> Iterator[dict[str, Story]]:
    """Play every story, each on a disk of its own below `place`."""
    yield {name: play(name, place / name) for name in STORIES}


def sites_of(stories: dict[str, Story]) -> set[str]:
    """Return the places in margod that sync what a start reads.

    Not those that overwrite what is dropped: no start sees it again. tests/store/test_shredding.py holds those.
    """
    operations = [op for story in stories.values() for op in story.disk.operations]
    return {op.site for op in operations if op.kind == "fsync" and "overwrite" not in op.site} - {"test"}


def play(name: str, root: Path) -> Story:
    """Play one story on a recording disk."""
    root.mkdir(mode=0o700)
    story = Story(Disk(root), root / "margod")
    with pytest.MonkeyPatch.context() as patch:
        story.disk.install(patch)
        STORIES[name](story)
    return story


def violations(story: Story, scratch: Path, ignored: str | None, most: int, run: Run, *, first: bool) -> list[str]:
    """Cut the power after every operation and return what loads wrongly; only the `first` if so wished."""
    rng, seen, wrong = run.rng, set(), []
    for at in range(story.views[0][0], len(story.disk.operations) + 1):
        allowed = story.allowed(at)
        for tree in remains(story.disk.operations[:at], ignored, rng, most):
            key = hashlib.sha256(repr((sorted(allowed), sorted(tree.items()))).encode()).hexdigest()
            if key in seen:
                continue
            seen.add(key)
            run.count("disks loaded")
            if problem := judge(tree, scratch, story, allowed):
                wrong.append(f"after {at} ({story.disk.operations[at - 1]}): {problem}")
                if first:
                    return wrong
    return wrong


def judge(tree: TREE, scratch: Path, story: Story, allowed: set[Shown]) -> str:
    """Load `tree`, then once more without its highest generation; return what is wrong, or nothing."""
    found = start(tree, scratch, story)
    if isinstance(found, str):
        return found
    if found not in allowed:
        return f"{found} is none of {allowed}"
    if story.evidence:
        there = [path.read_bytes() for path in scratch.rglob("*") if path.is_file()]
        lost = [piece for piece in story.evidence if not any(piece in data for data in there)]
        return f"thrown away: {lost}" if lost else ""
    generations = sorted(name for name in tree if name.startswith("margod/gen-") and tree[name] is None)
    same = bool(generations) and tree.get(f"{generations[-1]}/identity.key") == b"key-1"
    if len(generations) > 2 or (len(generations) > 1 and same):
        below = start({n: d for n, d in tree.items() if not n.startswith(generations[-1])}, scratch, story)
        if isinstance(below, str):
            return f"without {generations[-1]}: {below}"
        if same and found.view.get("enrolment.json") != below.view.get("enrolment.json"):
            return f"without {generations[-1]} the accepted answer is lost: {below}"
    return _retired_below(tree, scratch, story, found, generations, settled=len(allowed) == 1)


def _retired_below(
    tree: TREE, scratch: Path, story: Story, found: Shown, generations: list[str], *, settled: bool
) -> str:
    """Damage the highest generation, and where all is settled take it away: a retired root is none again by that."""
    if not found.retired or len(generations) < 2:
        return ""
    newest = generations[-1]
    disks = [{name: b"x" if name.startswith(f"{newest}/") else data for name, data in tree.items()}]
    if settled:
        disks.append({name: data for name, data in tree.items() if not name.startswith(newest)})
    for disk in disks:
        lay_out_anew(disk, scratch)
        vault, known = Vault.open(scratch / "margod"), Retired()
        known.load(scratch / "margod", vault)
        vault.close()
        if lost := found.retired - known.roots - story.wanted:
            return f"without {newest} a retired root is an anchor again: {lost}"
    return ""


def start(tree: TREE, scratch: Path, story: Story) -> Shown | str:
    """Open the vault in `tree` and return what it shows, or what it complains of."""
    lay_out_anew(tree, scratch)
    vault, known = Vault.open(scratch / "margod"), Retired()
    known.load(scratch / "margod", vault)
    vault.close()
    if not story.evidence and (vault.findings or vault.damaged or vault.read_only):
        return f"a power cut is not damage: {vault.findings}"
    return Shown(view_of(vault), others_of(scratch / "margod"), known.roots)


def lay_out_anew(tree: TREE, scratch: Path) -> None:
    """Make `scratch` the disk of `tree`."""
    shutil.rmtree(scratch, ignore_errors=True)
    lay_out(tree, scratch)
