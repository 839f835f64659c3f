"""Where the enrolment machine stands: what it knows, what it waits for and until when, and what is shown of it."""

from __future__ import annotations

import math
from dataclasses import replace
from enum import Enum
from random import Random
from typing import Final

from margod.engine import doubt, policy, verdicts
from margod.engine import messages as m
from margod.engine.gate import View, Watch
from margod.engine.picture import Picture, until
from margod.engine.policy import Policy, Schedule
from margod.engine.streaks import Streaks
from margod.engine.upkeep import Upkeep
from margod.model import reasons
from margod.model.outcome import Kind, Outcome, Step
from margod.model.reasons import Reason
from margod.model.state import Condition, State

ABOUT_US: Final = (Step.REPORT, Step.CONFIRM)
"""The steps whose answer says whether the WFM knows this device."""
SILENCED: Final = (Kind.UNREACHABLE, Kind.UNTRUSTED, Kind.INTERCEPTED, Kind.CLOCK, Kind.BUSY, Kind.BAD_ANSWER)
"""What a downtime explains: a request that was under way when it began and met nobody, or a page in the WFM's place."""


class On(Enum):
    """What the machine waits for."""

    TIMER = "timer"
    EXAMINED = "examined"
    RECORDED = "recorded"
    DONE = "done"
    KEPT = "kept"
    REISSUED = "reissued"


class Standing:
    """The part of the machine that holds still between two events; Enrolment is the part that moves."""

    def __init__(self, rules: Policy, rng: Random, now: m.Now) -> None:
        """Begin in `starting`, waiting for the first `Examined`."""
        self.rules = rules
        self._rng = rng
        self._on = On.EXAMINED
        self._due: float | None = None
        self._facts: m.Facts | None = None
        self._history = m.History()
        self._step: Step | None = None
        self._to_keep: m.Keep | None = None
        self._in_part: Outcome | None = None
        """What came of the rest of a step, a part of which was accepted and is being kept."""
        self._intent_form: str | None = None
        """The form of a durable intent whose request certainly never left: it is still good for that form."""
        self._former_asked, self._is_new, self._look_again, self._told_early = False, True, False, False
        self._upkeep, self._doubt, self._resting = Upkeep(rng), doubt.NONE, False
        self._mute: Step | None = None
        """The step that has just said nothing of this device, for it or against it: the other one is next."""
        self._vouched = False
        """The WFM knows this device by another route than that of its report, which it refuses."""
        self._picture = Picture(now)
        self._attempt = self._streak = 0
        self._schedule: Schedule | None = None
        self._streaks = Streaks()
        self._floor = 0.0
        self._left: tuple[str, float, m.Memory | None] = ("", 0.0, None)
        """The binding before the present one, its Retry-After's end, what was known: for whoever comes back to it."""
        self._last_wake = self._last_told = -policy.SPREAD
        self._watch, self._view, self._held = Watch(), View(None), False

    @property
    def due(self) -> float | None:
        """When to send `Due`, on the monotonic clock: for the next attempt, or where a downtime begins or ends.

        None while an answer is awaited or nothing is left to do, and no downtime is ahead.
        """
        attempt = self._due if self._on is On.TIMER else None
        return min((at for at in (attempt, self._view.edge) if at is not None), default=None)

    @property
    def looks(self) -> bool:
        """Whether it waits for what is configured and stored; a person's wish for an attempt is kept till then."""
        return self._on is On.EXAMINED

    @property
    def attempt_due(self) -> float | None:
        """When the next attempt is, on the monotonic clock; None while an answer is awaited or nothing is left.

        Where it looks in the middle of a wait: when that was to end, and the look may find something else.
        """
        return self._due

    def condition(self, now: m.Now) -> Condition:
        """Return what the device is to be told as being."""
        condition = self._picture.condition(self._attempt, self._next_at(now))
        return replace(condition, downtime=math.inf if self._view.lasting else self._view.until)

    def memory(self, now: m.Now) -> m.Memory | None:
        """Return what should survive a restart; None where it is not known of whom: what was kept before stays."""
        if self._facts is None or not self._facts.binding:
            return None
        return m.Memory(
            at=now.wall,
            key=self._facts.key,
            state=self._picture.state,
            reason=self._picture.reason,
            detail=self._picture.detail,
            since=self._picture.since,
            attempt=self._attempt,
            streak=self._streak,
            next_at=self._next_at(now),
            floor_at=now.wall + self._floor - now.mono if self._floor > now.mono else 0.0,
            upkeep=self._upkeep.memory(now),
            doubt=self._doubt.shifted(-now.mono),
            trail=self._picture.trail(now),
        )

    def _next_at(self, now: m.Now) -> float | None:
        if self._held and self._view.lasting:
            return None
        return None if self._due is None or self._resting else now.wall + max(0.0, self._due - now.mono)

    @property
    def _silent(self) -> bool:
        """Whether it is downtime."""
        return self._view.until is not None

    def _turn(self, now: m.Now) -> list[m.Command]:
        """Look at the gate; say where a downtime begins or ends."""
        was, self._view = self._view, self._watch.look(self.rules.gate, now)
        if self._view is was:
            return []
        notes: list[m.Command] = []
        if self._view.until is not None:
            notes += self._picture.falls_silent(self._view, now)
        elif was.until is not None:
            notes += self._picture.speaks_again(now)
            far = self._due is not None and self._due > now.mono + policy.SPREAD
            if self._held and far:  # it ended before its time
                self._due = max(self._floor, now.mono + self._rng.uniform(0.0, policy.SPREAD))
            self._held = False
        return notes

    def _hold(self, now: m.Now) -> None:
        """Put an attempt that would be made in a downtime behind its end, spread: it is one moment for a fleet."""
        if self._view.until is None or self._due is None or self._on is not On.TIMER or not self._would_send:
            return
        end = now.mono + self._view.until - now.wall
        is_late = self._held and self._due > max(end, self._floor) + policy.SPREAD
        if self._due < end or is_late:
            self._due = max(end, self._floor) + self._rng.uniform(0.0, policy.SPREAD)
            self._held = True

    @property
    def _would_send(self) -> bool:
        """Whether what is waited for is a request; looking at files again and writing to the disk is none."""
        return not (self._resting or self._facts is None or self._facts.obstacle or self._to_keep)

    def _failed(self, reason: Reason, kind: Kind, detail: str, wait: float, now: m.Now) -> list[m.Command]:
        """Report a request that failed, unless a downtime explains it."""
        if (self._silent or reason is reasons.DOWNTIME) and kind in SILENCED:
            return []
        return [self._picture.failed(reason, detail, wait, now)]

    def _first_words(self, step: Step, now: m.Now) -> list[m.Command]:
        """Show what is begun, or is begun when a downtime ends: nothing was said about this step yet."""
        if (self._picture.state is State.REFUSED and self._doubt.last) or self._facts is None:
            return []
        known = self._facts.reported and (step is Step.REPORT or self._facts.enrolled)
        state, reason = policy.first_words(step, known=bool(known))
        if self._view.until is not None and state is not State.ENROLLED:
            return self._enter(state, reasons.DOWNTIME, f"until {until(self._view)}", now)
        return self._enter(state, reason, "", now)

    def _begin_step(self) -> None:
        self._attempt, self._streak, self._schedule, self._streaks = 0, 0, None, Streaks()

    def _wait_after(self, step: Step, outcome: Outcome, now: m.Now, *, heard: bool = False) -> list[m.Command]:
        """Enter the state that the outcome leads to and set the time of the next attempt.

        `heard`: it was another lane's, on a route that may have its own mind; a plain word is heard for oneself first.
        """
        facts = self._facts
        assert facts is not None
        kind, reason = outcome.kind, outcome.reason
        if kind is Kind.FORBIDDEN and step is Step.ENROL and self.rules.forbidden_is_pending:
            kind, reason = Kind.PENDING, reasons.NOT_APPROVED_YET
        enrolled = facts.enrolled and facts.reported != ""
        verdict = verdicts.verdict(step, kind, accepted=facts.enrolled, enrolled=enrolled)
        state, detail = verdict.state, outcome.detail
        failed_reason = reason
        if state is None:
            state = self._picture.state if self._picture.state in m.SPOKEN else State.ONBOARDING
        if (self._silent or reason is reasons.DOWNTIME) and kind in SILENCED:
            self._wait(verdict.schedule, outcome.retry_after, now)
            return self._first_words(step, now) if self._picture.reason in policy.FIRST_REASONS else []
        said = step in ABOUT_US and self._doubt.counts(outcome)
        plain = said and facts.enrolled and reason in doubt.PLAIN and not heard
        plain = plain and not (self._vouched and step is Step.REPORT)
        if enrolled and step in ABOUT_US:
            self._doubt = self._doubt.heard(step, outcome, now.mono)
        stays = self._picture.state is State.REFUSED and (bool(self._doubt.last) or kind in SILENCED)
        enough = self._doubt.is_enough(self.rules.forgotten_after)
        if stays and not said:
            state, reason, detail = State.REFUSED, self._picture.reason, self._picture.detail
        elif stays or plain or (said and enough):
            early = self._picture.reason in doubt.PLAIN and not enough
            state = State.REFUSED
            if not plain:
                reason = self._picture.reason if early else self._doubt.reason
        elif state is State.ENROLLED:
            reason, detail = reasons.ENROLLED, ""
        elif verdict.state is None and state in m.SPOKEN:
            reason, detail = self._picture.reason, self._picture.detail
        wait = self._wait(verdict.schedule, outcome.retry_after, now)
        notes: list[m.Command] = []
        if kind is Kind.PENDING and step is Step.ENROL:
            notes += self._picture.recovered(now)
            notes += self._picture.waits(reason, state, now)
        else:
            notes.append(self._picture.failed(failed_reason, outcome.detail, wait, now))
        return [*notes, *self._enter(state, reason, detail, now)]

    def _stopped_by(self, state: State, reason: Reason, detail: str, now: m.Now) -> list[m.Command]:
        wait = self._wait(policy.LOCAL, None, now)
        return [self._picture.failed(reason, detail, wait, now), *self._enter(state, reason, detail, now)]

    def _wait(self, schedule: Schedule, retry_after: float | None, now: m.Now) -> float:
        """Set `due` and return how far away it is, seconds."""
        self._streak = self._streaks.next(schedule)
        self._schedule, self._on, self._resting = schedule, On.TIMER, False
        wait = schedule.delay(self._streak, self._rng)
        floor = policy.floor(retry_after)
        if floor > 0.0:
            self._floor = now.mono + floor
            wait = max(wait, policy.after_floor(floor, schedule.window(self._streak), self._rng))
        self._due = now.mono + wait
        return wait

    def _enter(self, state: State, reason: Reason, detail: str, now: m.Now) -> list[m.Command]:
        return [*self._picture.enter(state, reason, detail, now, self._next_at(now))]
