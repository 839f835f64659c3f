"""The machine that takes a device from nothing to enrolled and keeps it there.

    Examined ──> obstacle? ──yes──> wait (LOCAL), Examine again
                    │ no
                    ├─ not trusted ──────> FETCH_TRUST ─┐
                    ├─ no enrolment record > RecordIntent > Recorded > ENROL ─┤> Done ─ accepted > Keep > Kept ─> next
                    ├─ report is not accepted yet > REPORT ─┘         └ otherwise: policy > wait > again
                    └─ nothing left: enrolled, no timer

It never loses an enrolment record that it was given, never asks for a second one while it has one, never asks without a
durable intent, and always has a next event: `due`, or the answer to its last command.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from random import Random
from typing import Final, assert_never

from margod.engine import messages as m
from margod.engine import policy
from margod.engine.failures import FailureLog, state_note
from margod.engine.policy import Policy, Schedule
from margod.engine.resume import resume
from margod.model import reasons
from margod.model.outcome import Kind, Outcome, Step
from margod.model.reasons import Reason
from margod.model.state import Condition, Connection, LastError, State

SPOKEN: Final = frozenset({State.PENDING_APPROVAL, State.REJECTED, State.BLOCKED})
"""What the WFM has said and a failing network does not take back."""

_REFUSALS: Final = (Kind.INVALID, Kind.UNAUTHORIZED, Kind.WRONG_ADDRESS, Kind.CONFLICT)
_CONNECTIONS: Final = {
    Kind.UNREACHABLE: Connection.OFFLINE,
    Kind.UNTRUSTED: Connection.UNTRUSTED,
    Kind.CLOCK: Connection.CLOCK,
}
_FIRST_WORDS: Final = {
    Step.FETCH_TRUST: (State.ONBOARDING, reasons.FETCHING_CA),
    Step.ENROL: (State.ONBOARDING, reasons.ASKING),
    Step.REPORT: (State.ONBOARDED, reasons.REPORTING),
}


class _On(Enum):
    """What the machine waits for."""

    TIMER = "timer"
    EXAMINED = "examined"
    RECORDED = "recorded"
    DONE = "done"
    KEPT = "kept"
    REISSUED = "reissued"


class Enrolment:
    """One device's way to enrolment. `handle` is the only way in; it never raises for any order of events."""

    def __init__(self, rules: Policy, rng: Random, now: m.Now) -> None:
        """Begin in `starting`, waiting for the first `Examined`."""
        self.rules = rules
        self._rng = rng
        self._on = _On.EXAMINED
        self._due: float | None = None
        self._facts: m.Facts | None = None
        self._history = m.History()
        self._step: Step | None = None
        self._to_keep: m.Keep | None = None
        self._intent_form: str | None = None
        """The form of a durable intent whose request certainly never left: it is still good for that form."""
        self._is_new = True
        self._look_again = False
        self._state, self._reason, self._detail, self._since = State.STARTING, reasons.STARTING, "", now.wall
        self._attempt = self._streak = 0
        self._schedule: Schedule | None = None
        self._floor = 0.0
        self._last_wake = -policy.WAKE_INTERVAL
        self._last_error: LastError | None = None
        self._connection, self._connection_since = Connection.IDLE, now.wall
        self._failures = FailureLog()

    @property
    def due(self) -> float | None:
        """When to send `Due`, on the monotonic clock; None while an answer is awaited or nothing is left to do."""
        return self._due

    def condition(self, now: m.Now) -> Condition:
        """Return what the device is to be told as being."""
        return Condition(
            state=self._state,
            reason=self._reason,
            detail=self._detail,
            since=self._since,
            attempt=self._attempt,
            next_attempt_at=None if self._due is None else now.wall + max(0.0, self._due - now.mono),
            last_error=self._last_error,
            connection=self._connection,
            connection_since=self._connection_since,
        )

    def memory(self, now: m.Now) -> m.Memory | None:
        """Return what should survive a restart, or None before the first `Examined`."""
        if self._facts is None:
            return None
        return m.Memory(
            at=now.wall,
            key=self._facts.key,
            state=self._state,
            reason=self._reason,
            detail=self._detail,
            since=self._since,
            attempt=self._attempt,
            streak=self._streak,
            next_at=None if self._due is None else now.wall + max(0.0, self._due - now.mono),
            floor_at=now.wall + self._floor - now.mono if self._floor > now.mono else 0.0,
        )

    def handle(self, event: m.Event, now: m.Now) -> list[m.Command]:
        """Take one event, return what is to be done. An event that nothing waits for is passed over."""
        commands = self._dispatch(event, now)
        if self._look_again and self._on is _On.TIMER:
            # Nothing else is begun meanwhile: what the look commits must not meet a request made under older facts.
            self._look_again, self._on = False, _On.EXAMINED
            commands.append(m.Examine())
        return commands

    def _dispatch(self, event: m.Event, now: m.Now) -> list[m.Command]:
        match event:
            case m.Examined():
                return self._examined(event, now)
            case m.Reread():
                self._look_again = True
                return []
            case m.Woken():
                return self._woken(event.cause, now)
            case m.Slept():
                self._slept(event.seconds, now)
                return []
            case m.Due() if self._on is _On.TIMER and self._due is not None and now.mono >= self._due:
                return self._proceed(now)
            case m.Recorded() if self._on is _On.RECORDED:
                self._on, self._intent_form = _On.DONE, self._form(Step.ENROL)
                return [m.Send(Step.ENROL, self._form(Step.ENROL))]
            case m.RecordFailed() if self._on is _On.RECORDED:
                return self._cannot_write(event.detail, State.BLOCKED, now)
            case m.Done() if self._on is _On.DONE and event.step is self._step:
                return self._done(event.step, event.outcome, now)
            case m.Kept() if self._on is _On.KEPT:
                return self._kept(now)
            case m.KeepFailed() if self._on in (_On.KEPT, _On.REISSUED):
                stays = self._state in (State.ONBOARDED, State.ENROLLED)
                return self._cannot_write(event.detail, self._state if stays else State.ONBOARDING, now)
            case m.Due() | m.Recorded() | m.RecordFailed() | m.Done() | m.Kept() | m.KeepFailed():
                return []
            case _:
                assert_never(event)

    def _examined(self, event: m.Examined, now: m.Now) -> list[m.Command]:
        old, new = self._facts, event.facts
        same_binding = old is not None and old.binding == new.binding
        if self._on in (_On.RECORDED, _On.DONE, _On.KEPT) or (self._on is _On.REISSUED and same_binding):
            self._look_again = True  # these facts may be older than the answer under way: look once it is here
            return []
        if same_binding and old is not None and old.enrolled and not new.enrolled:
            new = replace(new, enrolled=True)  # a record once kept is not unlearned by a late look
        self._facts = new
        if not same_binding:
            self._history, self._intent_form, self._to_keep, self._floor = event.history, None, None, 0.0
        if new.obstacle is not None:
            self._attempt += 1
            return self._stopped_by(new.obstacle.state, new.obstacle.reason, new.obstacle.detail, now)
        if self._is_new and self._restore(event.history.memory, now):
            self._is_new = False
            note = state_note(self.condition(now), now, resumed=True)
            return [note, *(self._proceed(now) if self._due is not None and self._due <= now.mono else [])]
        resumed = self._is_new and self._state is State.ENROLLED
        mended = old is None or old.obstacle is not None
        new_report = old is not None and new.enrolled and old.report != new.report
        if mended or old is None or old.key != new.key or old.trusted is not new.trusted or new_report:
            self._attempt = self._streak = 0
            self._schedule = None
            self._due = max(now.mono, self._floor)
        self._on, self._is_new = _On.TIMER, False
        commands = self._proceed(now) if self._due is not None and self._due <= now.mono else []
        return [state_note(self.condition(now), now, resumed=True), *commands] if resumed else commands

    def _restore(self, memory: m.Memory | None, now: m.Now) -> bool:
        """Go on where an earlier process stood, if that was under the same facts. The wall clock is not believed."""
        facts = self._facts
        if facts is None or memory is None or memory.key != facts.key:
            return False
        step = self._next_step()
        expected = {State.ONBOARDED, State.ENROLLED} if facts.enrolled else {State.ONBOARDING, State.UNTRUSTED, *SPOKEN}
        if memory.state not in expected or (step is None) is not (memory.state is State.ENROLLED):
            return False
        self._state, self._reason, self._detail = memory.state, memory.reason, memory.detail
        self._since = min(memory.since, now.wall)
        if step is None:
            return False  # enrolled since then; nothing is waited for
        self._attempt, self._streak = memory.attempt, memory.streak
        resumed = resume(memory, now, self._rng)
        self._due, self._floor, self._schedule = resumed.due, resumed.floor, resumed.schedule
        self._on = _On.TIMER
        return True

    def _next_step(self) -> Step | None:
        facts = self._facts
        if facts is None:
            return None
        if not facts.trusted:
            return Step.FETCH_TRUST
        if facts.enrols and not facts.enrolled:
            return Step.ENROL
        return Step.REPORT if facts.report != facts.reported else None

    def _form(self, step: Step) -> str:
        forms = self._facts.forms.get(step, ()) if self._facts else ()
        remembered = self._history.form.get(step, "")
        return remembered if remembered in forms else (forms[0] if forms else "")

    def _proceed(self, now: m.Now) -> list[m.Command]:
        """Do what comes next, now."""
        self._due = None
        if self._to_keep is not None:
            self._on = _On.KEPT
            return [self._to_keep]
        if self._facts is None or self._facts.obstacle is not None:
            self._on = _On.EXAMINED
            return [m.Examine()]
        step = self._step = self._next_step()
        if step is None:
            self._on = _On.TIMER
            self._attempt = self._streak = 0
            self._schedule = None
            return [*self._recovered(now), *self._enter(State.ENROLLED, reasons.ENROLLED, "", now)]
        self._attempt += 1
        notes: list[m.Command] = []
        if self._schedule is None:  # the first attempt at this step: nothing was said about it yet
            state, reason = _FIRST_WORDS[step]
            if self._facts.reported and (step is Step.REPORT or self._facts.enrolled):
                state, reason = State.ENROLLED, reasons.ENROLLED
            notes = self._enter(state, reason, "", now)
        if step is Step.ENROL and self._intent_form != self._form(step):
            self._on = _On.RECORDED
            form = self._form(step)
            tried = self._history.tried if form in self._history.tried else (*self._history.tried, form)
            self._history = replace(self._history, tried=tried)
            return [*notes, m.RecordIntent(form, tried, self._attempt, self._streak)]
        self._on = _On.DONE
        return [*notes, m.Send(step, self._form(step))]

    def _woken(self, cause: m.Cause, now: m.Now) -> list[m.Command]:
        if self._on is not _On.TIMER or self._due is None:
            return []
        spread = 0.0 if cause is m.Cause.OPERATOR else self._rng.uniform(0.0, policy.WAKE_INTERVAL)
        due = max(now.mono + spread, self._last_wake + policy.WAKE_INTERVAL, self._floor)
        if due >= self._due:
            return []
        self._due, self._last_wake = due, due
        return self._proceed(now) if due <= now.mono else []

    def _slept(self, seconds: float, now: m.Now) -> None:
        """Count a suspend as time that has passed; what fell due in it is spread: a whole fleet may wake at once."""
        self._floor -= seconds
        if self._on is _On.TIMER and self._due is not None:
            passed = self._due - seconds
            soon = now.mono + self._rng.uniform(0.0, policy.WAKE_INTERVAL)
            self._due = passed if passed > now.mono else min(self._due, soon)

    def _kept(self, now: m.Now) -> list[m.Command]:
        kept, facts = self._to_keep, self._facts
        self._to_keep = None
        self._attempt = self._streak = 0
        self._schedule = None
        if kept is None or facts is None:
            return self._proceed(now)
        match kept.step:
            case Step.FETCH_TRUST:
                self._facts = replace(facts, trusted=True)
            case Step.ENROL:
                self._facts = replace(facts, enrolled=True)
            case Step.REPORT:
                self._facts = replace(facts, reported=facts.report)
            case _:
                assert_never(kept.step)
        return self._proceed(now)

    def _done(self, step: Step, outcome: Outcome, now: m.Now) -> list[m.Command]:
        self._connect(outcome.kind, now)
        if outcome.kind is Kind.ACCEPTED:
            notes = self._recovered(now)
            self._intent_form = None
            self._to_keep, self._on = m.Keep(step, outcome.records), _On.KEPT
            return [*notes, self._to_keep]
        if step is Step.ENROL:
            return self._enrol_refused(outcome, now)
        form = self._other_form(step, outcome, ())
        if form is not None:
            return [_form_note(step, form), *self._proceed(now)]
        if outcome.kind in _REFUSALS:
            self._begin_forms_anew(step)
        return self._wait_after(step, outcome, now)

    def _enrol_refused(self, outcome: Outcome, now: m.Now) -> list[m.Command]:
        facts, history = self._facts, self._history
        assert facts is not None
        if outcome.sent:
            self._intent_form = None
        settled = history.settled or outcome.kind in (Kind.PENDING, Kind.FORBIDDEN, Kind.CONFLICT)
        settled = settled or (outcome.lost and outcome.reason is not reasons.WFM_ERROR)
        self._history = history = replace(history, settled=settled, unanswered=history.unanswered or outcome.lost)
        if outcome.kind is Kind.CONFLICT and history.unanswered and not history.reissued:
            if self.rules.reissue_on_conflict and facts.can_reissue:
                self._on = _On.REISSUED
                why = {"message": "an answer was lost, the WFM says 409"}
                return [m.Note(m.Level.WARNING, "certificate-reissued", why), m.Reissue()]
        elif outcome.kind is Kind.INVALID:
            form = None if history.settled else self._other_form(Step.ENROL, outcome, history.tried)
            if form is not None:
                memory = self.memory(now)
                answer = [m.RecordAnswer(outcome, memory, history.settled)] if memory else []
                return [*answer, _form_note(Step.ENROL, form), *self._proceed(now)]
            if not history.settled:
                self._begin_forms_anew(Step.ENROL)
        commands = self._wait_after(Step.ENROL, outcome, now)
        memory = self.memory(now)
        if outcome.sent and memory is not None:
            commands.insert(0, m.RecordAnswer(outcome, memory, self._history.settled))
        return commands

    def _other_form(self, step: Step, outcome: Outcome, tried: tuple[str, ...]) -> str | None:
        """Take the form that a known deviation asks for, if it was not tried before; None leaves all as it is."""
        forms = self._facts.forms.get(step, ()) if self._facts else ()
        form, present = outcome.other_form, self._form(step)
        if form is None or form not in forms or form in tried or forms.index(form) <= forms.index(present):
            return None
        self._history = replace(self._history, form={**self._history.form, step: form})
        return form

    def _begin_forms_anew(self, step: Step) -> None:
        """Every known form was refused: the specification's own is the one to go on with."""
        form = {other: name for other, name in self._history.form.items() if other is not step}
        self._history = replace(self._history, form=form)

    def _wait_after(self, step: Step, outcome: Outcome, now: m.Now) -> list[m.Command]:
        """Enter the state that the outcome leads to and set the time of the next attempt."""
        facts = self._facts
        assert facts is not None
        kind, reason = outcome.kind, outcome.reason
        if kind is Kind.FORBIDDEN and step is Step.ENROL and self.rules.forbidden_is_pending:
            kind, reason = Kind.PENDING, reasons.NOT_APPROVED_YET
        verdict = self.rules.verdict(step, kind, enrolled=facts.enrolled and facts.reported != "")
        state, detail = verdict.state, outcome.detail
        failed_reason = reason
        if state is None:
            state = self._state if self._state in SPOKEN else State.ONBOARDING
        if (verdict.state is None and state in SPOKEN) or state is State.ENROLLED:
            reason, detail = self._reason, self._detail
        wait = self._wait(verdict.schedule, outcome.retry_after, now)
        notes: list[m.Command] = []
        if kind is Kind.PENDING and step is Step.ENROL:
            notes += self._recovered(now)
            notes += self._failures.waiting(reason, self._since if state is self._state else now.wall, now)
        else:
            self._last_error = LastError(failed_reason, outcome.detail, now.wall)
            notes.append(self._failures.failed(failed_reason, outcome.detail, wait, now))
        return [*notes, *self._enter(state, reason, detail, now)]

    def _cannot_write(self, detail: str, state: State, now: m.Now) -> list[m.Command]:
        return self._stopped_by(state, reasons.STATE_NOT_WRITABLE, detail, now)

    def _stopped_by(self, state: State, reason: Reason, detail: str, now: m.Now) -> list[m.Command]:
        wait = self._wait(policy.LOCAL, None, now)
        self._last_error = LastError(reason, detail, now.wall)
        return [self._failures.failed(reason, detail, wait, now), *self._enter(state, reason, detail, now)]

    def _wait(self, schedule: Schedule, retry_after: float | None, now: m.Now) -> float:
        """Set `due` and return how far away it is, seconds."""
        self._streak = self._streak + 1 if schedule is self._schedule else 0
        self._schedule, self._on = schedule, _On.TIMER
        wait = schedule.delay(self._streak, self._rng)
        floor = policy.floor(retry_after)
        if floor > 0.0:
            self._floor = now.mono + floor
            wait = max(wait, floor + self._rng.uniform(0.0, min(policy.RETRY_AFTER_JITTER, floor)))
        self._due = now.mono + wait
        return wait

    def _recovered(self, now: m.Now) -> list[m.Command]:
        self._last_error = None
        note = self._failures.recovered(now)
        return [] if note is None else [note]

    def _connect(self, kind: Kind, now: m.Now) -> None:
        connection = _CONNECTIONS.get(kind, Connection.ONLINE)
        if connection is not self._connection:
            self._connection, self._connection_since = connection, now.wall

    def _enter(self, state: State, reason: Reason, detail: str, now: m.Now) -> list[m.Command]:
        changed = state is not self._state
        told = changed or reason is not self._reason
        self._reason, self._detail = reason, detail
        if changed:
            self._state, self._since = state, now.wall
        return [state_note(self.condition(now), now)] if told else []


def _form_note(step: Step, form: str) -> m.Note:
    return m.Note(m.Level.INFO, "dialect-form", {"step": step.value, "form": form})
