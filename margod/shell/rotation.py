"""A candidate on its way: runs its lane beside the one in force, has it promoted or given up, and says how it stands.

A candidate is begun by `margod identity rotate`, or by the WFM's clear word that it has forgotten this device where
`onboarding.when_forgotten: reonboard` asks for that. What happens to the files is candidate.py's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from margod.engine.messages import Due, Reread
from margod.identity import Identity
from margod.model import reasons
from margod.model.errors import MargodError
from margod.model.state import Connection, State
from margod.model.text import timestamp
from margod.shell import archive
from margod.shell.candidate import Candidate, NotRotated, Succession, wish
from margod.shell.disk import Disk
from margod.shell.lane import Inbox, Lane
from margod.shell.situation import Situation

log: Final = structlog.get_logger()

SPREAD: Final = 86_400.0
"""Seconds over which devices that were forgotten together ask anew: 10,000 of them make one request in nine seconds."""
AGAIN: Final = 60.0
"""Seconds between two attempts at what the disk did not take."""

_ACCEPTED: Final = (State.ONBOARDED, State.ENROLLED)


class Rotation:
    """The candidate's lane, while there is one. `changed` is called after each of its events."""

    def __init__(self, force: Lane, disk: Disk, inbox: Inbox, changed: Callable[[], None]) -> None:
        """Stand beside `force`, whose looks settle what is found in `next/`."""
        self._force, self._disk, self._inbox, self._changed = force, disk, inbox, changed
        self._succession = Succession(force.ground)
        force.actions.prepare = self._succession.settle
        self._waits_until = 0.0
        self._busy, self._not_before = False, 0.0
        self._promoting = False
        self.lane: Lane | None = None

    def document(self) -> dict[str, object] | None:
        """Return what status says of it (local/openapi.yaml, `Rotation`)."""
        lane, candidate = self.lane, self._succession.candidate
        if lane is None or candidate is None:
            return None
        condition, about = lane.condition, candidate.about
        reason, at = condition.reason, condition.next_attempt_at
        if self._waits_until and about is not None:
            reason, at = reasons.REONBOARD_WAITS, about.begin
        return {
            "why": about.why if about else archive.ROTATED,
            "state": condition.state.value,
            "reason": reason.code,
            "message": reason.says,
            "hint": reason.hint,
            "detail": condition.detail,
            "since": timestamp(about.since if about else condition.since),
            "next_attempt_at": None if at is None else timestamp(at),
            "fingerprint": candidate.fingerprint,
        }

    def identity(self) -> Identity | None:
        """Return who the candidate is; None without one, or where it cannot be read."""
        candidate = self._succession.candidate
        return candidate.identity if candidate else None

    async def rotate(self) -> dict[str, object]:
        """Make a candidate with another identity and have it onboarded. Raises MargodError."""
        candidate = await self._begin(archive.ROTATED, 0.0)
        return {
            "message": f"Begun: certificate {candidate.fingerprint} is onboarded beside the one in force, and takes "
            "its place when the WFM has accepted it."
        }

    async def abort(self) -> dict[str, object]:
        """Give the candidate up. Raises MargodError."""
        candidate = self._succession.candidate
        if not await self._drop(None):
            raise NotRotated("No other identity is being onboarded.", reasons.NO_CANDIDATE)
        which = candidate.fingerprint if candidate and candidate.fingerprint else "that cannot be read"
        return {
            "message": f"Given up: certificate {which}. If the WFM knows it, remove it there. The identity in force is "
            "what it was."
        }

    async def looked(self) -> None:
        """Act on what the last look at the enrolment in force left: a candidate, another one, or none."""
        if self._succession.candidate is not None:  # the look may have found another WFM, or a reset
            await self._disk.run(lambda: self._succession.settle(promotes=False))
        candidate = self._succession.candidate
        if self.lane is not None and self.lane.ground is not candidate:
            await self._end()
        if candidate is None or candidate.vault is None:
            return
        if self.lane is None:
            self._start(candidate)
        elif self._waits_until == 0.0:
            self._configure(self.lane)
            self.lane.post(Reread())  # where the WFM is and what verifies it may be another by now

    def consider(self, *, reonboards: bool) -> None:
        """Begin or give up a candidate by what the WFM says about the enrolment in force."""
        condition, candidate = self._force.condition, self._succession.candidate
        if self._busy or time.monotonic() < self._not_before or (candidate is not None and candidate.about is None):
            return
        situation = self._force.actions.situation
        reonboards = reonboards and not (situation is not None and situation.leaving)
        said = condition.reason if condition.state is State.REFUSED else None
        wanted = wish(
            candidate.about if candidate else None,
            reonboards=reonboards,
            forgotten=said is reasons.FORGOTTEN,
            revoked=said not in (None, reasons.FORGOTTEN),
            accepted=condition.state in _ACCEPTED
            and condition.connection is Connection.ONLINE
            and condition.last_error is None,
        )
        if wanted:
            self._busy = True
            # By the time that it begins, what the WFM said may be about an enrolment that is no longer in force.
            of = self._force.binding
            delay = moment(random.Random())  # noqa: S311 - a spread, no secret
            begins = wanted == "begin"
            self._force.start(
                self._obey(self._begin(archive.FORGOTTEN, delay, of) if begins else self._drop(archive.FORGOTTEN))
            )

    async def _obey(self, work: Awaitable[object]) -> None:
        """Do what the WFM's words ask for; what cannot be done now is tried again later."""
        try:
            await work
        except MargodError as error:
            self._not_before = time.monotonic() + AGAIN
            log.warning("rotation-waits", code=error.code, message=error.message, hint=error.hint)
        finally:
            self._busy = False

    async def _begin(self, why: str, delay: float, of: str | None = None) -> Candidate:
        candidate = await self._disk.run(lambda: self._succession.begin(why, delay, of))
        await self.looked()
        return candidate

    async def _drop(self, why: str | None) -> bool:
        await self._end()  # nothing more is asked for it, and nothing of it written
        try:
            return await self._disk.run(lambda: self._succession.drop(why))
        finally:
            await self.looked()
            self._changed()

    def _start(self, candidate: Candidate) -> None:
        rules = self._force.engine.rules
        self.lane = lane = Lane(
            candidate,
            self._disk,
            rules,
            self._inbox,
            handled=self._handled,
            looked=_nothing,
            about={"candidate": "yes"},
        )
        lane.actions.met_ripe = self._met_ripe
        self._configure(lane)
        left = min(candidate.about.begin - candidate.clock(), SPREAD) if candidate.about else 0.0
        self._promoting, self._waits_until = False, 0.0
        if left > 0.0:
            self._waits_until = time.monotonic() + left
            lane.start(self._begin_later(lane, left))
        else:
            lane.begin()
        self._changed()

    def _met_ripe(self) -> None:
        """Have the enrolment in force find out whether the root that the candidate met is to be adopted."""
        self._force.actions.adopts = True
        self._force.post(Reread())

    def _configure(self, lane: Lane) -> None:
        lane.actions.config, lane.engine.rules = self._force.ground.config, self._force.engine.rules

    async def _begin_later(self, lane: Lane, delay: float) -> None:
        await asyncio.sleep(delay)
        self._waits_until = 0.0
        self._configure(lane)
        lane.begin()

    def _handled(self, lane: Lane) -> None:
        if lane.condition.state is State.ENROLLED and not self._promoting:
            self._promoting = True
            lane.start(self._promote(lane))
        self._changed()

    async def _promote(self, lane: Lane) -> None:
        """Have the enrolment in force looked at, which promotes the candidate as soon as no request is under way."""
        while self.lane is lane:
            await self._force.look_again()
            await asyncio.sleep(AGAIN)

    async def _end(self) -> None:
        lane, self.lane = self.lane, None
        if lane is not None:
            lane.end()
            await lane.actions.close()
            self._force.post(Due())


def moment(rng: random.Random) -> float:
    """Return the seconds until a device that was forgotten asks anew."""
    return rng.uniform(0.0, SPREAD)


async def _nothing(_: Situation | None) -> None:
    """The candidate has nothing that follows a look."""
