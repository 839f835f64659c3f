"""The machine that takes a device from nothing to enrolled and keeps it there.

    Examined ──> obstacle? ──yes──> wait (LOCAL), Examine again
                    │ no
                    ├─ not trusted ──────> FETCH_TRUST ─┐
                    ├─ no enrolment record > RecordIntent > Recorded > ENROL ─┤> Done ─ accepted > Keep > Kept ─> next
                    ├─ report is not accepted yet > REPORT ─┘         └ otherwise: policy > wait > again
                    └─ nothing left: enrolled; from time to time CONFIRM, REFRESH_TRUST, and REPORT if it is in doubt

It never loses an enrolment record that it was given, never asks for a second one while it has one, never asks without a
durable intent, and always has a next event: `due`, or the answer to its last command.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, assert_never

from margod.engine import doubt, forms, policy
from margod.engine import messages as m
from margod.engine.failures import state_note
from margod.engine.resume import resume
from margod.engine.standing import ABOUT_US, On, Standing
from margod.engine.streaks import Streaks
from margod.model import reasons
from margod.model.outcome import Kind, Outcome, Step
from margod.model.state import State

_REFUSALS: Final = (Kind.INVALID, Kind.UNAUTHORIZED, Kind.WRONG_ADDRESS, Kind.CONFLICT, Kind.UNKNOWN)
_OTHER: Final = {Step.REPORT: Step.CONFIRM, Step.CONFIRM: Step.REPORT}
_NO_ANSWER: Final = (Kind.UNREACHABLE, Kind.UNTRUSTED, Kind.INTERCEPTED, Kind.CLOCK, Kind.BUSY)


class Enrolment(Standing):
    """One device's way to enrolment. `handle` is the only way in; it never raises for any order of events."""

    def handle(self, event: m.Event, now: m.Now) -> list[m.Command]:
        """Take one event, return what is to be done. An event that nothing waits for is passed over."""
        notes = self._turn(now)
        if isinstance(event, m.Slept):  # the time that has passed counts
            self._due = None if self._due is None else policy.slept(self._due, event.seconds, now.mono, self._rng)
            self._floor -= event.seconds
            left, floor, known = self._left
            self._left = left, floor - event.seconds, known
            self._upkeep.slept(event.seconds, now)
        commands = [*notes, *self._dispatch(event, now)]
        if self._told_early and self._on is not On.EXAMINED:
            self._told_early = False
            commands += self._woken(m.Cause.OPERATOR, now)
        self._hold(now)
        if self._look_again and self._on is On.TIMER:
            # Nothing else is begun meanwhile: what the look commits must not meet a request made under older facts.
            self._look_again, self._on = False, On.EXAMINED
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
            case m.Due() if self._on is On.TIMER and self._due is not None and now.mono >= self._due:
                return self._proceed(now)
            case m.Recorded() if self._on is On.RECORDED:
                return self._recorded(now)
            case m.RecordFailed() if self._on is On.RECORDED:
                return self._stopped_by(State.BLOCKED, reasons.STATE_NOT_WRITABLE, event.detail, now)
            case m.Done() if self._on is On.DONE and event.step is self._step:
                return self._done(event.step, event.outcome, now)
            case m.Kept() if self._on is On.KEPT:
                return self._kept(now)
            case m.KeepFailed() if self._on in (On.KEPT, On.REISSUED):
                stays = self._picture.state in (State.ONBOARDED, State.ENROLLED, State.REFUSED)
                state = self._picture.state if stays else State.ONBOARDING
                return self._stopped_by(state, reasons.STATE_NOT_WRITABLE, event.detail, now)
            case m.Heard():
                return self._heard(event, now)
            case m.Due() | m.Slept() | m.Recorded() | m.RecordFailed() | m.Done() | m.Kept() | m.KeepFailed():
                return []
            case _:
                assert_never(event)

    def _heard(self, event: m.Heard, now: m.Now) -> list[m.Command]:
        """Take another lane's word on what the WFM says of an enrolled device: as good as a CONFIRM of our own."""
        facts = self._facts
        if facts is None or not (facts.enrolled and facts.reported) or self._on is not On.TIMER:
            return []
        outcome = self._picture.exchanged(Step.CONFIRM, event.outcome, facts, now)
        if outcome.kind is Kind.ACCEPTED:
            self._upkeep.done(Step.CONFIRM, now)
            reports = facts.next_step(former_asked=False) is Step.REPORT and not self._doubt.last
            other = reports or self._to_keep is not None  # what went wrong there is not over because of this
            notes: list[m.Command] = [] if other else [*self._picture.recovered(now)]
            if self._only_the_report_is_refused:
                return [*notes, *self._known_otherwise(now)]
            if self._doubt.last:
                self._doubt = doubt.NONE
                if now.mono < self._floor:
                    return [*notes, *self._enter(State.ENROLLED, reasons.ENROLLED, "", now)]
                return [*notes, *self._upkept(Step.CONFIRM, now)]
            if self._resting:
                self._due = self._upkeep.due()
            return notes
        if not self._resting:
            return []  # it asks for itself already
        if self._doubt.counts(outcome):
            return self._wait_after(Step.CONFIRM, outcome, now, heard=True)  # it asks for itself from now on
        return self._failed(outcome.reason, outcome.kind, outcome.detail, event.wait, now)

    def _examined(self, event: m.Examined, now: m.Now) -> list[m.Command]:
        old, new = self._facts, event.facts
        same_binding = old is not None and old.binding == new.binding
        if self._on in (On.RECORDED, On.DONE, On.KEPT) or (self._on is On.REISSUED and same_binding):
            self._look_again = True  # these facts may be older than the answer under way: look once it is here
            return []
        if same_binding and old is not None and old.enrolled and not new.enrolled:
            new = replace(new, enrolled=True)  # a record once kept is not unlearned by a late look
        back, known = None, self.memory(now)
        self._facts = new
        if not same_binding:
            left = self._left
            if old is not None and old.binding:
                self._left = old.binding, self._floor, known if old.obstacle is None else None
            back = self._come_back(new.binding, left, now)
            is_back = old is not None and not old.binding and left[0] == new.binding
            if new.binding and not is_back:  # while nobody is known, what was accepted stays in memory
                self._to_keep = self._in_part = None
            self._history, self._intent_form = event.history, None
            self._former_asked, self._doubt, self._vouched = False, doubt.NONE, False
            self._picture.recall(new, event.history.memory, now)
        if new.obstacle is not None:
            self._attempt += 1
            return self._stopped_by(new.obstacle.state, new.obstacle.reason, new.obstacle.detail, now)
        if (self._is_new and self._restore(event.history.memory, now)) or self._restore(back, now):
            self._is_new = False
            gone = self._picture.mended(old.obstacle.reason, now) if old is not None and old.obstacle else []
            note = state_note(self.condition(now), now, resumed=True)
            return [*gone, note, *(self._proceed(now) if self._due is not None and self._due <= now.mono else [])]
        resumed = self._is_new and self._picture.state is State.ENROLLED
        mended = old is None or old.obstacle is not None
        new_report = old is not None and new.enrolled and old.report != new.report
        if self._resting:  # an interval may be another one by now
            self._upkeep.plan(self.rules.upkeep, now)
            self._due = self._upkeep.due()
        if self._due is None:
            self._due = max(now.mono, self._floor)
        if mended or old is None or old.key != new.key or old.trusted is not new.trusted or new_report:
            self._begin_step()
            self._resting = False
            self._due = max(policy.found(self._picture.looked_for(now), now.mono), self._floor)
        self._on, self._is_new = On.TIMER, False
        commands = self._proceed(now) if self._due <= now.mono else []
        if mended and not commands and (step := self._choose(now)) is not None:  # a Retry-After holds it back
            commands = self._first_words(step, now)
        return [state_note(self.condition(now), now, resumed=True), *commands] if resumed else commands

    def _come_back(self, binding: str, left: tuple[str, float, m.Memory | None], now: m.Now) -> m.Memory | None:
        """Take up the Retry-After of the binding that was left, if this is that; return what is to be gone on with.

        That is what was known of it, where a Retry-After runs or the WFM has spoken against it; None otherwise.
        """
        name, floor, known = left
        self._floor = floor if name == binding and floor > now.mono else 0.0
        if name != binding or known is None or not (self._floor or known.doubt.last):
            return None
        floor_at = now.wall + floor - now.mono if self._floor else 0.0
        return replace(known, at=now.wall, next_at=now.wall, floor_at=floor_at)

    def _restore(self, memory: m.Memory | None, now: m.Now) -> bool:
        """Go on where an earlier process stood, if that was under the same facts. The wall clock is not believed."""
        facts = self._facts
        if facts is None or memory is None or not memory.holds_under(facts):
            return False
        self._picture.restore(memory.state, memory.reason, memory.detail, min(memory.since, now.wall))
        self._upkeep.recall(memory.upkeep, now)
        self._doubt = memory.doubt.shifted(now.mono)
        resumed = resume(memory, now, self._rng)
        if facts.next_step(former_asked=False) is None and not self._doubt.last and resumed.floor <= now.mono:
            return False  # enrolled since then; nothing is waited for
        self._streaks = Streaks({resumed.schedule: memory.streak})
        self._attempt, self._streak, self._on, self._resting = memory.attempt, memory.streak, On.TIMER, False
        self._due, self._floor, self._schedule = resumed.due, resumed.floor, resumed.schedule
        step = facts.next_step(former_asked=False)
        if memory.reason is reasons.DOWNTIME and step is not None:  # of another one, or of none by now
            self._first_words(step, now)
            if not self._silent:
                self._due = max(self._floor, min(self._due, now.mono + self._rng.uniform(0.0, policy.SPREAD)))
        self._hold(now)
        return True

    def _choose(self, now: m.Now) -> Step | None:
        """Return what an attempt now is to be made at; None if there is nothing to do yet."""
        step = self._facts.next_step(former_asked=self._former_asked) if self._facts else None
        if step not in (None, Step.REPORT):
            return step
        if self._doubt.last:  # by turns: it takes words on both routes to be sure
            turn = self._doubt.next_step()
            return _OTHER[turn] if turn is self._mute else turn
        if step is not None and self._step is step and self._facts is not None and self._facts.reported:
            return self._upkeep.next(now) or step  # what is refused for days must not keep the upkeep from its turn
        return step or self._upkeep.next(now)

    def _form(self, step: Step) -> str:
        return forms.present(self._facts, self._history, step)

    def _proceed(self, now: m.Now) -> list[m.Command]:
        """Do what comes next, now."""
        self._due, self._resting = None, False
        if self._to_keep is not None and self._facts is not None and self._facts.binding:
            self._on = On.KEPT
            return [self._to_keep]
        if self._look_again or self._facts is None or self._facts.obstacle is not None:
            self._look_again, self._on = False, On.EXAMINED
            return [m.Examine()]
        self._upkeep.plan(self.rules.upkeep, now)
        step = self._choose(now)
        if step is None:
            return self._rest(now)
        says_nothing = self._schedule is None or self._picture.reason is reasons.DOWNTIME
        notes = self._first_words(step, now) if says_nothing else []
        if self._silent:
            self._on, self._due = On.TIMER, now.mono  # `_hold` has the time
            return notes
        self._step = step
        self._attempt += 1
        if step is Step.ENROL and self._intent_form != self._form(step):
            self._on = On.RECORDED
            form = self._form(step)
            tried = self._history.tried if form in self._history.tried else (*self._history.tried, form)
            self._history = replace(self._history, tried=tried)
            return [*notes, m.RecordIntent(form, tried, self._attempt, self._streak)]
        self._on = On.DONE
        return [*notes, m.Send(step, self._form(step))]

    def _recorded(self, now: m.Now) -> list[m.Command]:
        """The intent is durable: ask, unless a downtime has begun meanwhile, or there is something to be looked at.

        Then it is good for the next attempt.
        """
        self._on, self._intent_form = On.DONE, self._form(Step.ENROL)
        if self._silent or self._look_again:
            self._on, self._due, self._attempt = On.TIMER, now.mono, self._attempt - 1
            return self._first_words(Step.ENROL, now) if self._silent else []
        return [m.Send(Step.ENROL, self._form(Step.ENROL))]

    def _rest(self, now: m.Now) -> list[m.Command]:
        """Nothing is left to do until an upkeep is due."""
        self._on, self._due, self._resting = On.TIMER, self._upkeep.due(), True
        self._begin_step()
        return [*self._picture.recovered(now), *self._enter(State.ENROLLED, reasons.ENROLLED, "", now)]

    def _woken(self, cause: m.Cause, now: m.Now) -> list[m.Command]:
        if self._on is On.EXAMINED:  # a wait may come of what the look finds, and a person wants none
            self._told_early = self._told_early or cause is m.Cause.OPERATOR
            return []
        if self._on is not On.TIMER or self._due is None or self._resting or (self._silent and self._would_send):
            return []
        told = cause is m.Cause.OPERATOR
        last = self._last_told if told else self._last_wake
        due = policy.wake(now.mono, last, self._floor, self._rng, told=told)
        if due >= self._due:
            return []
        self._due, self._last_wake, self._last_told = due, due, due if told else self._last_told
        return self._proceed(now) if due <= now.mono else []

    def _kept(self, now: m.Now) -> list[m.Command]:
        kept, facts, rest = self._to_keep, self._facts, self._in_part
        self._to_keep = self._in_part = None
        if rest is not None and kept is not None and facts is not None:
            self._facts = replace(facts, reported=m.IN_PART)
            return self._wait_after(kept.step, rest, now)
        self._begin_step()
        if kept is None or facts is None:
            return self._proceed(now)
        match kept.step:
            case Step.FETCH_TRUST:
                self._facts = replace(facts, trusted=True)
            case Step.ENROL:
                self._facts = replace(facts, enrolled=True)
            case Step.REPORT:
                self._facts = replace(facts, reported=facts.report)
            case Step.CONFIRM | Step.REFRESH_TRUST:  # another binding or other anchors: only a look can tell
                self._on = On.EXAMINED
                return [m.Examine()]
            case _:
                assert_never(kept.step)
        return self._proceed(now)

    def _done(self, step: Step, outcome: Outcome, now: m.Now) -> list[m.Command]:
        outcome = self._picture.exchanged(step, outcome, self._facts, now)
        says = outcome.kind is Kind.ACCEPTED or self._doubt.counts(outcome)
        self._mute = step if self._doubt.last and not says else None
        if outcome.kind is Kind.ACCEPTED:
            return self._accepted(step, outcome, now)
        if step is Step.ENROL:
            return self._enrol_refused(outcome, now)
        if outcome.records:  # some of it was accepted: durable first, then what came of the rest
            self._to_keep, self._in_part, self._on = m.Keep(step, outcome.records), outcome, On.KEPT
            return [self._to_keep]
        told = outcome.kind is Kind.UNKNOWN and self._facts is not None and self._facts.reported != ""
        form = None if told else forms.other(self._facts, self._history, step, outcome, ())
        if form is not None:
            self._history = forms.taken(self._history, step, form)
            return [forms.note(step, form), *self._proceed(now)]
        if outcome.kind in _REFUSALS and not told:  # a form that was accepted once is not what is wrong
            self._history = forms.anew(self._history, step)
        if step is Step.CONFIRM and self._former_is_refused(outcome):
            self._former_asked = True  # it was an enrolment of another place: this WFM does not know it
            return self._proceed(now)
        if step is Step.REFRESH_TRUST and outcome.kind not in _NO_ANSWER:
            return self._upkept(step, now, outcome.retry_after)
        if outcome.reason is reasons.NO_CONFIRM_ROUTE and not self._doubt.last:
            return self._upkept(step, now, outcome.retry_after)  # nothing to be learnt there, for it or against it
        return self._wait_after(step, outcome, now)

    def _former_is_refused(self, outcome: Outcome) -> bool:
        said_no = outcome.kind in (*_REFUSALS, Kind.FORBIDDEN) and not outcome.by_clock
        return said_no and self._facts is not None and not self._facts.enrolled

    def _accepted(self, step: Step, outcome: Outcome, now: m.Now) -> list[m.Command]:
        if step is Step.CONFIRM and not outcome.records and self._only_the_report_is_refused:
            return self._known_otherwise(now)
        notes = self._picture.recovered(now)
        self._intent_form, self._vouched = None, False
        if step in ABOUT_US:
            self._doubt = doubt.NONE
        self._upkeep.done(step, now)
        if outcome.records:
            self._to_keep, self._on = m.Keep(step, outcome.records), On.KEPT
            return [*notes, self._to_keep]
        return [*notes, *self._upkept(step, now)]

    @property
    def _only_the_report_is_refused(self) -> bool:
        """Whether what speaks against this device was said to a report that is still to be made."""
        due = self._facts is not None and self._facts.next_step(former_asked=False) is Step.REPORT
        return due and Step.REPORT in self._doubt.last

    def _known_otherwise(self, now: m.Now) -> list[m.Command]:
        """The WFM knows this device: the report is made again in its own time, not because another route is well."""
        self._doubt, self._vouched = doubt.NONE, True
        self._upkeep.done(Step.CONFIRM, now)
        self._due = max(now.mono + self._wait(policy.REJECTED, None, now), self._floor)
        return self._enter(State.ENROLLED, reasons.ENROLLED, "", now)

    def _upkept(self, step: Step, now: m.Now, retry_after: float | None = None) -> list[m.Command]:
        """A step that leaves nothing to keep is done; nothing else is begun within a Retry-After, in seconds."""
        self._upkeep.done(step, now)
        if policy.floor(retry_after) > 0.0:
            self._wait(policy.CALLS, retry_after, now)
            self._begin_step()
            return []
        self._begin_step()
        return self._proceed(now)

    def _enrol_refused(self, outcome: Outcome, now: m.Now) -> list[m.Command]:
        facts, history = self._facts, self._history
        assert facts is not None
        if outcome.sent:
            self._intent_form = None
        self._history = history = history.after(outcome)
        if outcome.kind is Kind.CONFLICT and history.unanswered and not history.reissued:
            if self.rules.reissue_on_conflict and facts.can_reissue:
                self._on = On.REISSUED
                why = {"message": "an answer was lost, the WFM says 409"}
                return [m.Note(m.Level.WARNING, "certificate-reissued", why), m.Reissue()]
        elif outcome.kind is Kind.INVALID:
            form = None if history.settled else forms.other(facts, history, Step.ENROL, outcome, history.tried)
            if form is not None:
                self._history = forms.taken(history, Step.ENROL, form)
                memory = self.memory(now)
                answer = [m.RecordAnswer(outcome, memory, history.settled)] if memory else []
                return [*answer, forms.note(Step.ENROL, form), *self._proceed(now)]
            if not history.settled:
                self._history = forms.anew(self._history, Step.ENROL)
        commands = self._wait_after(Step.ENROL, outcome, now)
        memory = self.memory(now) if outcome.sent else None
        if memory is not None:
            commands.insert(0, m.RecordAnswer(outcome, memory, self._history.settled))
        return commands
