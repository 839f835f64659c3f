"""The shell around `renewal.py`: hears the Certificate API's answer, tries chains, and keeps what is to be shown."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from margod import trust
from margod.engine.messages import Note
from margod.model import reasons
from margod.model.errors import TrustError
from margod.model.outcome import Kind, Outcome
from margod.model.text import clean
from margod.protocols import CA_ANSWER
from margod.shell import presenting, renewal
from margod.shell.anchoring import FIRST_USE, PIN
from margod.shell.situation import Situation, Warned
from margod.trust.presented import Presented

if TYPE_CHECKING:
    from margod.config import Config

log: Final = structlog.get_logger()

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Renewing:
    """What is known of another root CA than the anchors: offered by the WFM, or presented by whoever answers."""

    def __init__(self, wall: Callable[[], float]) -> None:
        """Begin with nothing known."""
        self.presented: Presented | None = None
        """Who answered in the WFM's place at the last attempt, if somebody did."""
        self._wall, self._boot = wall, _boot()
        self._differing: tuple[trust.Anchor, ...] = ()
        self._problem: Warned | None = None

    def warnings(self) -> tuple[Warned, ...]:
        """Return what a person should know."""
        found = [] if self._problem is None else [self._problem]
        if self._differing:
            found.append(Warned(reasons.CA_DIFFERS, _differs(self._differing)))
        return tuple(found)

    def forget(self) -> None:
        """The WFM or what it is verified by is another one."""
        self.presented, self._differing, self._problem = None, (), None

    async def heard(self, situation: Situation, outcome: Outcome, adopt_after: float, pins: tuple[str, ...]) -> Outcome:
        """Judge an accepted answer that came over the verified channel; its records are what is to be kept."""
        now = self._now()
        try:
            by_pin = situation.trust_source == PIN
            offered = trust.decode_answer(outcome.records[CA_ANSWER], now.wall, pass_over=by_pin)
        except TrustError as error:
            self._problem = Warned(error.reason, error.message)
            return Outcome(Kind.BAD_ANSWER, error.reason, clean(error.message))
        self._problem = None
        known = renewal.Known(
            situation.anchors, situation.trust_source, pins, situation.staged, adopt_after, situation.retired
        )
        heard = renewal.hear(known, offered, now)
        if heard.differing and heard.differing != self._differing:
            log.warning("root-ca-differs", message=_differs(heard.differing), hint=reasons.CA_DIFFERS.hint)
        self._differing = heard.differing
        verifying = await self._verifying(situation, heard.staged, adopt_after)
        records, notes = renewal.settle(known, heard, verifying, now)
        _say(notes)
        return replace(outcome, records=records)

    async def adoptable(self, situation: Situation, adopt_after: float) -> dict[str, bytes]:
        """Return the records that make a ripe root an anchor under which the WFM's new chain verifies; {} if none."""
        if not renewal.ripe(situation.staged, adopt_after):
            return {}
        known = renewal.Known(situation.anchors, situation.trust_source, (), situation.staged, adopt_after)
        verifying = await self._verifying(situation, situation.staged, adopt_after)
        records, notes = renewal.settle(known, renewal.Heard(situation.staged), verifying, self._now())
        _say(notes)
        return records

    async def refused(self, situation: Situation, outcome: Outcome) -> Outcome:
        """Return the outcome of a request to somebody unknown with what was expected and what was presented."""
        self.presented = await presenting.who(situation)
        expected = ""
        if situation.anchors:
            more = f" (+{len(situation.anchors) - 1})" if len(situation.anchors) > 1 else ""
            expected = f"; expected root CA {situation.anchors[0].fingerprint}{more}"
        found = f"; presented: issued by {self.presented.issuer}" if self.presented else ""
        return replace(outcome, detail=clean(outcome.detail + expected + found))

    async def _verifying(
        self, situation: Situation, staged: tuple[renewal.Staged, ...], adopt_after: float
    ) -> frozenset[str]:
        ripe = [each.anchor for each in renewal.ripe(staged, adopt_after)]
        return frozenset([anchor.fingerprint for anchor in ripe if await presenting.verifies(situation, anchor)])

    def _now(self) -> renewal.Moment:
        return renewal.Moment(self._boot, time.monotonic(), self._wall())


def may_ask(situation: Situation, config: Config) -> bool:
    """Return whether a person may accept what is offered: as the first root CA, or after a change of it.

    After a change not where the owner named the root CA, and not where the system's store can vouch for another one.
    """
    if situation.withdrawn:
        return "ask" in (config.trust.on_change, config.trust.first_use)
    if situation.unverified is not None:
        return situation.unverified.source == FIRST_USE and config.trust.first_use == "ask"
    replaceable = situation.trust_source in renewal.STAGES and bool(situation.anchors)
    return config.trust.on_change == "ask" and replaceable and (situation.facts.enrolled or not config.trust.system)


def _differs(roots: tuple[trust.Anchor, ...]) -> str:
    more = f" (+{len(roots) - 1})" if len(roots) > 1 else ""
    return clean(f"The WFM offers another root CA: {roots[0].subject}, {roots[0].fingerprint}{more}")


def _say(notes: tuple[Note, ...]) -> None:
    for note in notes:
        getattr(log, note.level.value)(note.event, **note.data)


def _boot() -> str:
    """Return the name of this run of the kernel; one of this process alone where there is none."""
    try:
        return _BOOT_ID.read_text("ascii").strip() or uuid.uuid4().hex
    except (OSError, ValueError):
        return uuid.uuid4().hex
