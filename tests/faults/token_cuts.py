"""Power cuts over what the `token` generation keeps: id, secret and Git access are always those of one enrolment.

A device goes from WFM to WFM, from one generation to the other at one URL and back, is reset, and changes its Git token
on the way. The ground is the real one, keys and bindings too; what a WFM would answer is made here, with the name of
its enrolment in every value.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import pytest
import trustme

from margod import config
from margod.engine.messages import RecordIntent
from margod.protocols import ENROLMENT
from margod.protocols.token.credentials import GIT
from margod.shell import archive
from margod.shell.ground import Ground
from margod.shell.records import WFM, json_object
from margod.shell.situation import Situation
from margod.vault import Vault, ledger
from tests.faults.campaign import Run, promise
from tests.faults.recording import TREE, Disk, lay_out, remains

NOW: Final = 1.8e9
NEXT: Final = "git-next.json"
"""A Git token that was handed over and is not proven yet."""
CA: Final = trustme.CA()
Place = tuple[str, str]
"""URL and generation."""
A, B, SIGNED_AT_A = ("https://a.example", "token"), ("https://b.example", "token"), ("https://a.example", "signed")
_TAG: Final = re.compile(rb"enrolment-[0-9]+")
_GIT: Final = re.compile(rb"git-[0-9]+-[0-9]+")


class Shown(NamedTuple):
    """What a vault holds: the enrolment in force, its Git tokens (proven, handed over), and those in the archive."""

    enrolled: str = ""
    git: str = ""
    handed: str = ""
    former: frozenset[str] = frozenset()


class Mixed(AssertionError):
    """Records of two enrolments are together."""


def shown(records: Mapping[str, bytes]) -> Shown:
    """Return what records hold. Raises Mixed."""
    mine = {name: data for name, data in records.items() if archive.belongs(name)}
    former = [_of_one(each.records) for each in archive.formers(records)]
    return Shown(_of_one(mine), _git(mine, GIT), _git(mine, NEXT), frozenset(filter(None, former)))


def _of_one(records: Mapping[str, bytes]) -> str:
    """Return the name of the enrolment whose records these are; "" where there is none."""
    tags = {tag for data in records.values() for tag in _TAG.findall(data)}
    if len(tags) > 1:
        raise Mixed(f"{sorted(tags)} in {sorted(records)}")
    tag = next(iter(tags), b"").decode()
    if tag and ENROLMENT not in records:
        raise Mixed(f"{tag} has lost its id: {sorted(records)}")
    said, stored = json_object(records.get(ENROLMENT, b"")), json_object(records.get(WFM, b""))
    if "secret" in said and f"secret of {said['id']}" != said["secret"]:
        raise Mixed(f"{said['id']} has another's secret")
    if said and ("secret" in said) != (stored.get("protocol") == "token"):
        raise Mixed(f"{tag} is read as {stored.get('protocol')}")
    place = str(stored.get("url"))
    if said.get("tokenEndpoint") and not str(said["tokenEndpoint"]).startswith(place):
        raise Mixed(f"{tag} of {said['tokenEndpoint']} is at {place}")
    for name in (GIT, NEXT):
        if name in records and not str(json_object(records[name]).get("url")).startswith(place):
            raise Mixed(f"{name} is not of {place}")
    return tag


def _git(records: Mapping[str, bytes], name: str) -> str:
    found = _GIT.findall(records.get(name, b""))
    return found[0].decode() if found else ""


@dataclass
class Device:
    """One device on its way. `since`: from which operation of the disk on what is shown."""

    directory: Path
    disk: Disk | None = None
    place: Place = A
    there: dict[Place, str] = field(default_factory=dict)
    """The enrolment at each place, now or when it was left."""
    since: list[tuple[int, Shown, Place]] = field(default_factory=lambda: [(0, Shown(), A)])
    count: int = 0
    tokens: int = 0

    def __post_init__(self) -> None:
        (self.directory / "ca.pem").write_bytes(CA.cert_pem.bytes())
        (self.directory / "m.yaml").write_text("state: {allow_volatile: true}\n")
        self.ground = Ground(configured(self.directory, self.state, self.place), lambda: NOW)
        self.situation = self.look()

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.disk.root / "margod" if self.disk else self.directory / "state"

    def look(self) -> Situation:
        """Look, and hold what is found against what was done."""
        self.ground.config = configured(self.directory, self.state, self.place)
        self.situation = self.ground.examine()
        facts, records = self.situation.facts, self.ground.vault.records if self.ground.vault else {}
        assert facts.obstacle is None, facts.obstacle
        assert facts.enrolled is (self.place in self.there), "ENROL is sent only where nothing is archived"
        assert shown(records).enrolled == self.there.get(self.place, "")
        assert self.situation.client_id == (self.there.get(self.place) or None)
        self._settled()
        return self.situation

    def go(self, place: Place) -> None:
        """Be configured for another WFM, or another generation."""
        self.place = place
        self.look()

    def enrol(self, *, git: bool = True) -> None:
        """Have a request accepted, where one would be sent."""
        if self.situation.client_id is not None:
            return
        self.ground.append(ledger.intent(RecordIntent("spec", ("spec",), 1, 0), "k", NOW))
        self._settled()
        self.count += 1
        tag, (url, protocol) = f"enrolment-{self.count}", self.place
        said = {"clientId": tag}
        if protocol == "token":
            said = {"id": tag, "secret": f"secret of {tag}", "tokenEndpoint": f"{url}/token"}
        records = {ENROLMENT: json.dumps(said).encode()}
        if protocol == "token" and git:
            records[GIT] = self._access(tag)
        self.ground.append(ledger.accepted(records, NOW))
        self.there[self.place] = tag
        self._settled()
        self.ground.keep({"report.json": json.dumps({"digest": "d", "form": "spec", "said": tag}).encode()})
        self._settled()

    def hand(self) -> None:
        """Have a Git token handed over."""
        if self.place[1] == "token" and (tag := self.there.get(self.place)):
            self.ground.keep({NEXT: self._access(tag)})
            self._settled()

    def prove(self) -> None:
        """Have the token that was handed over proven by a fetch."""
        vault = self.ground.vault
        assert vault is not None
        if (data := vault.records.get(NEXT)) is not None:
            self.ground.keep({GIT: data, NEXT: None})
            self._settled()

    def reset(self, *, new_identity: bool = False) -> None:
        """Begin again at the same WFM."""
        self.ground.reset(new_identity=new_identity)
        ended = self.there.pop(self.place, None)
        self.there = {place: tag for place, tag in self.there.items() if tag != ended}
        self._settled()
        self.look()

    def restart(self) -> None:
        """End the process and begin another."""
        self.ground.close()
        self.ground = Ground(configured(self.directory, self.state, self.place), lambda: NOW)
        self.look()

    def _access(self, tag: str) -> bytes:
        self.tokens += 1
        token = f"git-{tag.partition('-')[2]}-{self.tokens}"
        return json.dumps({"url": f"{self.place[0]}/{tag}.git", "accessToken": token}).encode()

    def _settled(self) -> None:
        """From here on, what the vault shows must survive."""
        vault = self.ground.vault
        assert vault is not None
        what = shown(vault.records)
        if self.disk is not None and (what, self.place) != self.since[-1][1:]:
            self.since.append((len(self.disk.operations), what, self.place))

    def allowed(self, at: int) -> set[Shown]:
        """Return what may be shown after `at` operations: what had settled, or what was being made."""
        settled = max(i for i, (since, _, _) in enumerate(self.since) if since <= at)
        return {what for _, what, _ in self.since[settled : settled + 2]}


def configured(directory: Path, state: Path, place: Place) -> config.Config:
    """Return the configuration for a place."""
    url, protocol = place
    overrides = {
        "state.directory": str(state),
        "wfm.url": url,
        "wfm.protocol": protocol,
        "trust.ca_file": str(directory / "ca.pem"),
    }
    return config.load(config.Sources(directory / "m.yaml"), {}, overrides).config


def play(place: Path) -> Device:
    """Go to and fro on a recording disk."""
    root = place / "disk"
    root.mkdir(mode=0o700, parents=True)
    disk, beside = Disk(root), place / "device"
    beside.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        disk.install(patch)
        device = Device(beside, disk)
        device.enrol()
        device.hand()
        device.prove()
        device.hand()
        device.go(SIGNED_AT_A)
        device.enrol()
        device.go(A)
        device.prove()
        device.go(B)
        device.enrol(git=False)
        device.hand()
        device.go(A)
        device.go(B)
        device.reset()
        device.enrol(git=False)
        device.go(SIGNED_AT_A)
        device.go(B)
        device.ground.close()
    return device


def token_cuts(run: Run) -> None:
    """Cut the power after every operation, with many subsets of what was not synced, and look at what is left."""
    device = play(run.place)
    wrong = violations(device, run.place / "replay", None, run.of(1 << 6, 4), run)
    promise(not wrong, wrong)
    run.count("operations", len(device.disk.operations if device.disk else ()))
    run.count("changes of place, generation or token", len(device.since) - 1)


def violations(device: Device, scratch: Path, ignored: str | None, most: int, run: Run) -> str:
    """Return the first thing that is wrong; `ignored`: a place whose sync is void."""
    assert device.disk is not None
    operations, seen, rng = device.disk.operations, set(), run.rng
    for at in range(len(operations) + 1):
        if run.scale < 0.1 and rng.random() < 0.96:
            continue  # a short run looks at some moments
        for tree in remains(operations[:at], ignored, rng, most):
            key = hashlib.sha256(repr((at, sorted(tree.items()))).encode()).hexdigest()
            if key not in seen:
                seen.add(key)
                run.count("disks loaded")
                if problem := judge(tree, scratch, device.allowed(at)):
                    return f"after {at} ({operations[at - 1].site}): {problem}"
        if rng.random() < (0.1 if run.scale >= 0.1 else 0.5):
            problem = begun_again(device, scratch, at)
            run.count("devices begun again")
            if problem:
                return f"begun again after {at}: {problem}"
    return ""


def judge(tree: TREE, scratch: Path, allowed: set[Shown]) -> str:
    """Load a vault, and once more without its highest generation; return what is wrong with it, or nothing."""
    try:
        found = loaded(tree, scratch)
        generations = sorted(name for name in tree if name.startswith("margod/gen-") and tree[name] is None)
        if len(generations) > 1:  # older, and of one enrolment all the same
            loaded({name: data for name, data in tree.items() if not name.startswith(generations[-1])}, scratch)
    except Mixed as mixed:
        return f"mixed: {mixed}"
    return "" if found in allowed else f"{found} is none of {allowed}"


def loaded(tree: TREE, scratch: Path) -> Shown:
    """Return what a vault shows. Raises Mixed."""
    shutil.rmtree(scratch, ignore_errors=True)
    lay_out(tree, scratch)
    vault = Vault.open(scratch / "margod")
    try:
        return shown(vault.records)
    finally:
        vault.close()


def begun_again(device: Device, scratch: Path, at: int) -> str:
    """Look with the last disk that was loaded, at each place; return what is wrong, or nothing."""
    known = {tag for what in device.allowed(at) for tag in (what.enrolled, *what.former)} - {""}
    for place in (A, B, SIGNED_AT_A, A):
        ground = Ground(configured(device.directory, scratch / "margod", place), lambda: NOW)
        try:
            situation = ground.examine()
            assert ground.vault is not None
            tag = shown(ground.vault.records).enrolled
        except Mixed as mixed:
            return f"at {place}: mixed: {mixed}"
        finally:
            ground.close()
        if situation.client_id != (tag or None) or (tag and tag not in known):
            return f"at {place} the device is {situation.client_id}, its records are {tag}'s"
    return ""
