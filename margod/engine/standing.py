"""Where the enrolment machine stands: what it knows, what it waits for and until when, and what is shown of it."""

from __future__ import annotations

from enum import Enum
from random import Random
from typing import Final

from margod.engine import doubt, policy, verdicts
from margod.engine import messages as m
from margod.engine.picture import Picture
from margod.engine.policy import Policy, Schedule
from margod.engine.streaks import Streaks
from margod.engine.upkeep import Upkeep
from margod.model import reasons
from margod.model.outcome import Kind, Outcome, Step
from margod.model.reasons import Reason
from margod.model.state import Condition, State

ABOUT_US: Final = (Step.REPORT, Step.CONFIRM)
"""The steps whose answer says whether the WFM knows this device."""


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
        self._former_asked, self._is_new, self._look_again = False, True, False
        self._upkeep, self._doubt, self._resting = Upkeep(rng), doubt.NONE, False
        self._picture = Picture(now)
        self._attempt = self._streak = 0
        self._schedule: Schedule | None = None
        self._streaks = Streaks()
        self._floor = 0.0
        self._last_wake = self._last_told = -policy.SPREAD

    @property
    def due(self) -> float | None:
        """When to send `Due`, on the monotonic clock; None while an answer is awaited or nothing is left to do."""
        return self._due

    def condition(self, now: m.Now) -> Condition:
        """Return what the device is to be told as being."""
        return self._picture.condition(self._attempt, self._next_at(now))

    def memory(self, now: m.Now) -> m.Memory | None:
        """Return what should survive a restart, or None before the first `Examined`."""
        if self._facts is None:
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
        return None if self._due is None or self._resting else now.wall + max(0.0, self._due - now.mono)

    def _begin_step(self) -> None:
        self._attempt, self._streak, self._schedule, self._streaks = 0, 0, None, Streaks()

    def _wait_after(self, step: Step, outcome: Outcome, now: m.Now) -> list[m.Command]:
        """Enter the state that the outcome leads to and set the time of the next attempt."""
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
        if enrolled and step in ABOUT_US:
            self._doubt = self._doubt.heard(step, outcome, now.mono)
        said = step in ABOUT_US and self._doubt.counts(outcome)
        stays = self._picture.state is State.REFUSED and bool(self._doubt.last)
        if stays or (said and self._doubt.is_enough(self.rules.forgotten_after)):
            state, reason = State.REFUSED, self._doubt.reason
            detail = outcome.detail if said else self._picture.detail
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
        self._schedule, self._on = schedule, On.TIMER
        wait = schedule.delay(self._streak, self._rng)
        floor = policy.floor(retry_after)
        if floor > 0.0:
            self._floor = now.mono + floor
            wait = max(wait, policy.after_floor(floor, schedule.window(self._streak), self._rng))
        self._due = now.mono + wait
        return wait

    def _enter(self, state: State, reason: Reason, detail: str, now: m.Now) -> list[m.Command]:
        return [*self._picture.enter(state, reason, detail, now, self._next_at(now))]
