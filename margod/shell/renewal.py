"""How a WFM's root CA is renewed: what of the Certificate API's answer becomes an anchor, and when. Pure.

    offered over a channel that the present anchors verify ──> staged ──> vouched for long enough ──> ripe
    ripe, and the WFM's chain verifies under it alone ──> an anchor beside the old ones

One server's word never plants a lasting root: it takes the same word for `adopt_after`, and then the chain. The file of
trust.ca_file and a pin are the owner's own words; what differs from those is only reported.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from margod import trust
from margod.engine.messages import Level, Note
from margod.model.errors import TrustError
from margod.model.text import duration, timestamp
from margod.shell.anchoring import ACCEPTED, FIRST_USE, PIN, SYSTEM
from margod.shell.records import ANCHORS, STAGED, json_object

DAY: Final = 86_400.0
"""Seconds that one confirmation may prove at most."""
PROGRESS: Final = 72_000.0
"""Seconds that have to be proven for a commit of nothing but progress: flash wears, and a daily timer has jitter."""
STAGES: Final = frozenset({SYSTEM, ACCEPTED, FIRST_USE})
"""Sources of anchors beside which a downloaded one may come to stand."""
MOST: Final = 4
"""Roots that may be staged; a WFM that offers more at once is not renewing one."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment of this device. `boot` names the run of the kernel within which `mono` counts; `wall` may jump."""

    boot: str
    mono: float
    wall: float


@dataclass(frozen=True, slots=True)
class Staged:
    """A root CA that the WFM offers and that is no anchor yet. `vouched` seconds are proven as of `at`."""

    anchor: trust.Anchor
    since: float
    """Unix seconds, for people."""
    vouched: float
    at: Moment

    def left(self, adopt_after: float) -> float:
        """Return the seconds for which it still has to be vouched for, >= 0."""
        return max(0.0, adopt_after - self.vouched)


@dataclass(frozen=True, slots=True)
class Known:
    """What an answer is judged by: the anchors and their source, the pins, what is staged, the setting (seconds)."""

    anchors: tuple[trust.Anchor, ...]
    source: str
    pins: tuple[str, ...]
    staged: tuple[Staged, ...]
    adopt_after: float
    retired: Collection[str] = ()
    """Fingerprints of roots that become no anchors again by being offered."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What an answer leads to. `differing` are roots that are only reported; `keep`: worth a commit by itself."""

    staged: tuple[Staged, ...] = ()
    pinned: tuple[trust.Anchor, ...] = ()
    differing: tuple[trust.Anchor, ...] = ()
    notes: tuple[Note, ...] = ()
    keep: bool = False


def hear(known: Known, offered: Sequence[trust.Anchor], now: Moment) -> Heard:
    """Judge the roots of an answer that came over a channel verified by `known.anchors`.

    Certificates that did not sign themselves, are expired or are anchors already do not count.
    """
    has = {anchor.fingerprint for anchor in known.anchors}
    new = tuple(
        root
        for root in dict.fromkeys(offered)
        if root.fingerprint not in has and now.wall <= root.not_after and trust.is_root(root)
    )
    if known.source == PIN:
        matching = trust.pinned(tuple(root for root in new if _is_short(root)), known.pins)
        while matching and not trust.keepable((*_alive(known.anchors, now.wall), *matching)):
            matching = matching[:-1]
        rest = tuple(root for root in new if root not in matching)
        notes = tuple(_note(Level.INFO, "root-ca-taken", root) for root in matching)
        return Heard(pinned=matching, differing=rest, notes=notes, keep=bool(matching))
    if known.source not in STAGES or len(new) > MOST:
        return Heard(staged=known.staged, differing=new)
    fit = [root for root in new if _is_short(root) and root.fingerprint not in known.retired]
    return replace(_staged(known, fit, now), differing=tuple(root for root in new if root not in fit))


def ripe(staged: Sequence[Staged], adopt_after: float) -> tuple[Staged, ...]:
    """Return those that were vouched for long enough; they wait for the WFM's chain to verify under them."""
    return tuple(each for each in staged if each.left(adopt_after) == 0.0)


def settle(
    known: Known, heard: Heard, verifying: Collection[str], now: Moment
) -> tuple[dict[str, bytes], tuple[Note, ...]]:
    """Return the records to keep, none if nothing is worth a commit, and what the journal is to be told.

    `verifying` are the fingerprints of the ripe roots under each of which, alone, the presented chain was verified.
    """
    adopted = tuple(e for e in ripe(heard.staged, known.adopt_after) if e.anchor.fingerprint in verifying)
    kept = beside(_alive(known.anchors, now.wall), heard.pinned + tuple(each.anchor for each in adopted))
    adopted = tuple(each for each in adopted if each.anchor in kept)
    notes = heard.notes + tuple(_note(Level.WARNING, "root-ca-adopted", each.anchor) for each in adopted)
    added = heard.pinned + tuple(each.anchor for each in adopted)
    left = tuple(each for each in heard.staged if each not in adopted)
    if not added and not heard.keep:
        return {}, notes
    changes = {STAGED: write(left)}
    if added:
        changes[ANCHORS] = trust.to_pem(kept)
        expired = {each.fingerprint for each in known.anchors if now.wall > each.not_after}
        gone = [each for each in known.anchors if each not in kept and each.fingerprint not in expired]
        notes += tuple(_note(Level.WARNING, "root-ca-pushed-out", each) for each in gone)
    return changes, notes


def beside(
    anchors: Sequence[trust.Anchor], added: Sequence[trust.Anchor], in_use: Collection[str] = ()
) -> tuple[trust.Anchor, ...]:
    """Return what is kept of `anchors`, oldest first, with `added` beside them: never more than can be read again.

    The first stays: it is what the device began with. So do those `in_use` (fingerprints under which the presented
    chain verifies). Of the others the oldest go; where that is not enough, the last of `added` are not taken.
    """
    kept = list(dict.fromkeys((*anchors, *added)))
    may_go = [each for each in anchors[1:] if each.fingerprint not in in_use and each not in added]
    while not trust.keepable(kept) and may_go:
        kept.remove(may_go.pop(0))
    while not trust.keepable(kept) and kept[-1] not in anchors:
        kept.pop()
    return tuple(kept)


def read(record: bytes, now: float, retired: Collection[str] = ()) -> tuple[Staged, ...]:
    """Read what `write` wrote, without what is `retired`; what cannot be read is staged anew when it is offered."""
    found, roots = [], json_object(record).get("roots")
    for each in roots[:MOST] if isinstance(roots, list) else ():
        try:
            (anchor,) = trust.decode_certificates(str(each["pem"]).encode(), now)
            seconds = [float(each[name]) for name in ("since", "vouched", "mono", "wall")]
            if not all(0.0 <= value < 1e12 for value in seconds):  # NaN is neither
                continue
            since, vouched, mono, wall = seconds
            if anchor.fingerprint in retired:
                continue
            found.append(Staged(anchor, since, vouched, Moment(str(each["boot"]), mono, wall)))
        except (TrustError, ValueError, KeyError, TypeError):
            continue
    return tuple(found)


def write(staged: Sequence[Staged]) -> bytes:
    """Return the record staged.json."""
    roots = [
        {
            "fingerprint": each.anchor.fingerprint,
            "pem": trust.to_pem((each.anchor,)).decode("ascii"),
            "since": each.since,
            "vouched": each.vouched,
            "boot": each.at.boot,
            "mono": each.at.mono,
            "wall": each.at.wall,
        }
        for each in staged
    ]
    return json.dumps({"roots": roots}, sort_keys=True).encode()


def accept(
    anchors: tuple[trust.Anchor, ...], staged: Sequence[Staged], fingerprint: str, in_use: Collection[str] = ()
) -> dict[str, bytes]:
    """Return what makes a staged root an anchor at once, beside the others, because a person has compared it.

    {} if none has this fingerprint. `in_use`: as for `beside`.
    """
    found = tuple(each.anchor for each in staged if each.anchor.fingerprint == fingerprint)
    left = tuple(each for each in staged if each.anchor not in found)
    if not found:
        return {}
    kept = beside(anchors, found, in_use)
    return {ANCHORS: trust.to_pem(kept if found[0] in kept else found), STAGED: write(left)}


def _is_short(root: trust.Anchor) -> bool:
    return len(root.der) <= trust.ROOT_LIMIT


def _alive(anchors: tuple[trust.Anchor, ...], now: float) -> tuple[trust.Anchor, ...]:
    return tuple(anchor for anchor in anchors if now <= anchor.not_after) or anchors


def _staged(known: Known, new: Sequence[trust.Anchor], now: Moment) -> Heard:
    before = {each.anchor.fingerprint: each for each in known.staged}
    notes, staged, keep = [], [], False
    for root in new:
        old = before.pop(root.fingerprint, None)
        if old is None:
            first = Staged(root, now.wall, 0.0, now)
            staged.append(first)
            keep = True
            more = {"adopted_after": duration(known.adopt_after), "valid_until": timestamp(root.not_after)}
            notes.append(_note(Level.WARNING, "root-ca-staged", root, **more))
            continue
        vouched = old.vouched + _proven(old.at, now)
        is_ripe, was_ripe = vouched >= known.adopt_after, old.vouched >= known.adopt_after
        if was_ripe or not (is_ripe or vouched - old.vouched >= PROGRESS):
            staged.append(old)  # the time since then counts at the next confirmation all the same
            continue
        staged.append(replace(old, vouched=vouched, at=now))
        keep = True
        left = staged[-1].left(known.adopt_after)
        event = "root-ca-ripe" if is_ripe else "root-ca-confirmed"
        notes.append(_note(Level.INFO, event, root, **({"adopted_in": duration(left)} if left else {})))
    for gone in before.values():
        keep = True
        if gone.anchor.fingerprint not in {anchor.fingerprint for anchor in known.anchors}:
            notes.append(_note(Level.WARNING, "root-ca-dropped", gone.anchor))
    return Heard(tuple(staged), notes=tuple(notes), keep=keep)


def _proven(then: Moment, now: Moment) -> float:
    """Return the seconds that a confirmation proves: of one boot by its own clock, else by the wall's; a day at most.

    So a clock that jumps gives nothing while the device runs and a day at each boot, and a device that is switched off
    every night gets there all the same.
    """
    passed = now.mono - then.mono if now.boot == then.boot else now.wall - then.wall
    return min(max(round(passed, 3), 0.0), DAY)


def _note(level: Level, event: str, root: trust.Anchor, **more: str) -> Note:
    return Note(level, event, {"fingerprint": root.fingerprint, "subject": root.subject, **more})
