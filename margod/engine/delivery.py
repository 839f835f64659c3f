"""What of the outbox is sent next, and when: in order, for as long as it takes, and what is set aside.

    Load ──> Loaded ──> waited long? ─yes─> Supersede ──> Load
                            │ no
                            └─> Deliver ─> Answered ─ taken, unsaid ─> Forget before the next of the same deployment
                                                    ├ report ─> Park, if the WFM said so (refusals.py)
                                                    ├ unsure ─> the other form, or Confirm ─ known ─> the same
                                                    └ device, moment, not known ─> wait, then Load again

A report that was accepted is forgotten before a later one of the same deployment leaves: after a kill the WFM hears
again at most the latest that it has of a deployment, never one before it. A disk need not sync each of these (a power
cut may repeat the last BATCH, in their order). One of the commands above is under way at a time; there is always a next
event, unless there is nothing to send or nobody to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from random import Random
from typing import Final, assert_never

from margod.engine import messages as m
from margod.engine import policy, verdicts
from margod.engine.delivery_messages import (
    Allowed,
    Answered,
    Changed,
    Command,
    Confirm,
    Confirmed,
    Deliver,
    Event,
    Forget,
    Load,
    Loaded,
    NotStored,
    Park,
    Reachable,
    Stored,
    Supersede,
    Tell,
    Trouble,
    Waiting,
)
from margod.engine.failures import FailureLog
from margod.engine.refusals import Refusals
from margod.engine.streaks import Streaks
from margod.model import reasons
from margod.model.outcome import Kind, Outcome
from margod.model.reasons import Side
from margod.model.report import About, Reply

__all__ = [
    "BATCH",
    "TELL_INTERVAL",
    "WARN_INTERVAL",
    "Allowed",
    "Answered",
    "Changed",
    "Command",
    "Confirm",
    "Confirmed",
    "Deliver",
    "Delivery",
    "Event",
    "Forget",
    "Load",
    "Loaded",
    "NotStored",
    "Park",
    "Reachable",
    "Stored",
    "Supersede",
    "Tell",
    "Trouble",
    "Waiting",
]

BATCH: Final = 50
"""Accepted reports that are forgotten at once, and after which the disk has to have it."""
TELL_INTERVAL: Final = 60.0
"""Seconds between two times that the enrolment is told that all is well; a failure is told at once."""
WARN_INTERVAL: Final = 60.0
"""Seconds between two warnings about parked reports; those in between are debug."""

_NO_ANSWER: Final = frozenset({Kind.UNREACHABLE, Kind.UNTRUSTED, Kind.INTERCEPTED, Kind.CLOCK})
_RESTS: Final = frozenset({reasons.NOT_ENROLLED, reasons.DOWNTIME})
_KNOWN: Final = Outcome(Kind.ACCEPTED, reasons.ENROLLED)


class _On(Enum):
    """What the machine waits for."""

    NOTHING = "nothing"
    TIMER = "timer"
    LOADED = "loaded"
    ANSWERED = "answered"
    CONFIRMED = "confirmed"
    STORED = "stored"


class Delivery:
    """The outbox's machine. `handle` is the only way in; it never raises for any order of events."""

    def __init__(self, forms: Sequence[str], supersede_after: float, rng: Random) -> None:
        """`forms`: the ways to send a report, the likeliest first. `supersede_after`: seconds; 0: never."""
        self.supersede_after = supersede_after
        self.trouble: Trouble | None = None
        """What went wrong last, until a report is accepted."""
        self._forms = list(forms)
        self._untried: list[str] = []
        self._rng = rng
        self._on = _On.NOTHING
        self._due: float | None = None
        self._floor = 0.0
        self._last_wake = self._last_told = -policy.SPREAD
        self._binding = ""
        self._more = True
        self._comes_back = False
        self._queue: deque[Waiting] = deque()
        self._current: Waiting | None = None
        self._accepted: dict[str, int] = {}
        """By deployment, what is done with and the outbox still holds: no other of it leaves before it is forgotten."""
        self._forgetting = False
        self._unsynced = 0
        self._form, self._under = "", ""
        self._refusals = Refusals()
        self._answered_at: float | None = None
        self._streaks = Streaks()
        self._failures = FailureLog()
        self._kind: Kind | None = None
        self._all_well_at: float | None = None
        self._warned_at: float | None = None

    @property
    def due(self) -> float | None:
        """When to send `Due`, monotonic seconds; None while something else is waited for."""
        return self._due if self._on is _On.TIMER else None

    def configure(self, forms: Sequence[str], supersede_after: float) -> None:
        """Take other settings; the form that was accepted last stays the first, if it may still be used."""
        self._forms = sorted(forms, key=lambda form: self._forms.index(form) if form in self._forms else len(forms))
        self.supersede_after = supersede_after

    def handle(self, event: Event, now: m.Now) -> list[Command]:
        """Take one event, return what is to be done. An event that nothing waits for is passed over."""
        match event:
            case Allowed():
                self._allowed(event.binding)
            case Changed():
                self._more = True
                if event.anew:
                    self._queue.clear()
            case m.Slept():
                self._slept(event.seconds, now)
            case m.Woken():
                self._woken(event.cause, now)
            case Reachable():
                self._reachable(now)
            case m.Due():
                pass
            case Loaded() | Answered() | Confirmed() | Stored() | NotStored():
                return self._answer(event, now)
            case _:
                assert_never(event)
        return self._proceed(now)

    def _answer(self, event: Loaded | Answered | Confirmed | Stored | NotStored, now: m.Now) -> list[Command]:
        """Take the answer to the command under way; another one is passed over."""
        match event:
            case Loaded() if self._on is _On.LOADED:
                self._on = _On.NOTHING
                self._queue.extend(event.reports)
                return [*(() if self._queue else self._nothing_waits(now)), *self._proceed(now)]
            case Answered() if self._on is _On.ANSWERED:
                self._on = _On.NOTHING
                return self._answered(event.reply, now)
            case Confirmed() if self._on is _On.CONFIRMED:
                self._on = _On.NOTHING
                if self._under != self._binding:
                    return self._reload(now)
                if event.outcome.kind is not Kind.ACCEPTED:
                    return self._wait(event.outcome, now)
                return [*(self._well(now) if self._refusals.by_wfm else []), *self._set_aside(now)]
            case Stored() if self._on is _On.STORED:
                self._on = _On.NOTHING
                if self._forgetting:
                    self._accepted, self._forgetting = {}, False
                return [*self._disk_works(now), *self._proceed(now)]
            case NotStored() if self._on in (_On.STORED, _On.LOADED):
                return self._not_stored(event, now)
            case Loaded() | Answered() | Confirmed() | Stored() | NotStored():
                return []
            case _:
                assert_never(event)

    def _proceed(self, now: m.Now) -> list[Command]:
        """Do what comes next, unless something is under way or waited for."""
        if self._on not in (_On.NOTHING, _On.TIMER):
            return []
        if self._on is _On.TIMER and self._due is not None and now.mono < self._due:
            return []
        self._on, self._due = _On.NOTHING, None
        following = self._queue[0] if self._queue else None
        if self._accepted and (
            not self._binding
            or following is None
            or following.deployment_id in self._accepted
            or len(self._accepted) >= BATCH
        ):
            self._on, self._forgetting = _On.STORED, True
            self._unsynced += len(self._accepted)
            lasting = self._unsynced >= BATCH
            self._unsynced = 0 if lasting else self._unsynced
            return [Forget(tuple(self._accepted.values()), lasting)]
        if not self._binding:
            return []
        if following is None:
            return self._load()
        if self._comes_back:
            self._comes_back = False
            if following.waited >= policy.SPREAD:  # power, or the end of a downtime: one moment for a whole plant
                self._on, self._due = _On.TIMER, now.mono + self._rng.uniform(0.0, policy.SPREAD)
                return []
        if self._waited_long(following, now):
            self._answered_at = now.mono  # asked once per absence; what is loaded next is what is left
            self._queue.clear()
            self._on, self._more = _On.STORED, True
            return [Supersede()]
        self._current, self._untried, self._under = self._queue.popleft(), list(self._forms), self._binding
        self._refusals.begin()
        return self._deliver(self._current)

    def _deliver(self, report: Waiting) -> list[Command]:
        self._on, self._form = _On.ANSWERED, self._untried.pop(0)
        return [Deliver(report.number, self._form, self._under)]

    def _load(self) -> list[Command]:
        if not self._more:
            return []
        self._more, self._on = False, _On.LOADED
        return [Load(self._binding)]

    def _waited_long(self, oldest: Waiting, now: m.Now) -> bool:
        """Return whether nothing could be delivered for longer than the owner wants to hear every state of."""
        quiet = oldest.waited
        if self._answered_at is not None:
            quiet = min(quiet, now.mono - self._answered_at)
        return 0.0 < self.supersede_after <= quiet

    def _answered(self, reply: Reply, now: m.Now) -> list[Command]:
        current = self._current
        assert current is not None, "something was delivered"
        if reply.about is About.TAKEN:
            self._forms.sort(key=lambda form: form != self._form)  # what was just accepted is tried first from now on
            self._refusals.accepted(self._form, self._under)
            self._accepted[current.deployment_id], self._more = current.number, True
            well = self._well(now) if self._under == self._binding else []  # else it speaks for an enrolment of before
            return [*well, *self._proceed(now)]
        if self._under != self._binding:
            return self._reload(now)
        if reply.about in (About.REPORT, About.UNSURE):
            self._refusals.refused(reply, self._form, self._under)
        match reply.about:
            case About.UNSAID:  # nothing was heard of the WFM, and the route is not known to work
                self._accepted[current.deployment_id], self._more = current.number, True
                return self._proceed(now)
            case About.REPORT:
                return self._set_aside(now)
            case About.UNSURE if self._untried:
                return self._deliver(current)
            case About.UNSURE:
                self._on = _On.CONFIRMED
                return [Confirm()]
            case About.DEVICE | About.MOMENT:
                return self._wait(reply.outcome, now)
            case _:
                assert_never(reply.about)

    def _well(self, now: m.Now) -> list[Command]:
        """The WFM has answered, and knows this device."""
        commands: list[Command] = []
        if (note := self._failures.recovered(now)) is not None:
            commands.append(replace(note, event="reports-recovered"))
        if self._all_well_at is None or now.mono - self._all_well_at >= TELL_INTERVAL:
            self._all_well_at = now.mono
            commands.append(Tell(_KNOWN, 0.0))
        self._answered_at, self._streaks, self._floor = now.mono, Streaks(), 0.0
        self._trouble_over()
        return commands

    def _set_aside(self, now: m.Now) -> list[Command]:
        """Park the report if it was the WFM that refused it."""
        current, refusal = self._current, self._refusals.outcome
        assert current is not None, "something was delivered"
        if not self._refusals.by_wfm:
            return self._wait(self._refusals.for_now(), now)
        self._answered_at = now.mono
        loud = self._warned_at is None or now.mono - self._warned_at >= WARN_INTERVAL
        self._warned_at = now.mono if loud else self._warned_at
        about: dict[str, str | int | float] = {"number": current.number, "deployment": current.deployment_id}
        about |= {"code": reasons.REPORT_REFUSED.code, "detail": refusal.detail, "hint": reasons.REPORT_REFUSED.hint}
        self._on, self._more, self._current = _On.STORED, True, None
        note = m.Note(m.Level.WARNING if loud else m.Level.DEBUG, "report-parked", about)
        return [note, Park(current.number, reasons.REPORT_REFUSED, refusal.detail)]

    def _wait(self, outcome: Outcome, now: m.Now) -> list[Command]:
        """Try again later, from the oldest on; what is about the device is the enrolment's to judge."""
        schedule = verdicts.REPORT.get(outcome.kind, policy.CALLS)
        schedule = policy.CALLS if schedule is policy.TRYING else schedule
        streak = self._streaks.next(schedule)
        wait = schedule.delay(streak, self._rng)
        if (floor := policy.floor(outcome.retry_after)) > 0.0:
            self._floor = now.mono + floor
            wait = max(wait, policy.after_floor(floor, schedule.window(streak), self._rng))
        self._again_in(wait, now)
        self._kind, self.trouble = outcome.kind, Trouble(outcome.reason, outcome.detail, now.wall)
        if outcome.reason in _RESTS or outcome.reason.side is Side.NONE:  # it was not to leave: nothing failed
            self.trouble = None
            return []
        if outcome.kind in (Kind.BUSY, Kind.BAD_ANSWER):  # it answered: nothing is wrong with device or network
            note = self._failures.failed(outcome.reason, outcome.detail, wait, now)
            return [replace(note, event="reports-wait")]
        self._all_well_at = None
        return [Tell(outcome, wait)]

    def _not_stored(self, event: NotStored, now: m.Now) -> list[Command]:
        """The outbox cannot be used: try again later; what was accepted may be sent once more then."""
        wait = policy.LOCAL.delay(self._streaks.next(policy.LOCAL), self._rng)
        self._again_in(wait, now)
        self._kind, self.trouble = None, Trouble(event.reason, event.detail, now.wall)
        note = self._failures.failed(event.reason, event.detail, wait, now)
        return [replace(note, event="outbox-unusable")]

    def _reload(self, now: m.Now) -> list[Command]:
        """What was heard was said to another enrolment: nothing follows from it for this one."""
        self._current, self._more = None, True
        self._queue.clear()
        return self._proceed(now)

    def _disk_works(self, now: m.Now) -> list[Command]:
        """Take back what was said of the disk; what the WFM does is another matter."""
        if self.trouble is None or self._kind is not None:
            return []
        self._trouble_over()
        note = self._failures.recovered(now)
        return [] if note is None else [replace(note, event="reports-recovered")]

    def _nothing_waits(self, now: m.Now) -> list[Command]:
        """There is nothing left that trouble could keep back: it was dropped, or parked otherwise."""
        if self._accepted:
            return []
        said = self._disk_works(now)
        self._trouble_over()
        return said

    def _again_in(self, wait: float, now: m.Now) -> None:
        self._queue.clear()
        self._on, self._more, self._current, self._forgetting = _On.TIMER, True, None, False
        self._due = now.mono + wait

    def _allowed(self, binding: str) -> None:
        if binding == self._binding:
            return
        self._binding, self._more, self._comes_back = binding, True, bool(binding)
        self._queue.clear()
        if self._on is _On.TIMER and binding:  # another enrolment, or this one again: what was said is not its
            self._due, self._floor = 0.0, 0.0
            self._streaks = Streaks()
        if not binding:
            self._trouble_over()

    def _reachable(self, now: m.Now) -> None:
        """Do not wait for what another lane has just found."""
        if self._on is _On.TIMER and self._kind in _NO_ANSWER and self._floor <= now.mono:
            earliest = self._last_wake + policy.WAKE_INTERVAL
            if earliest <= now.mono:
                self._due, self._last_wake = now.mono, now.mono

    def _woken(self, cause: m.Cause, now: m.Now) -> None:
        if self._on is not _On.TIMER or self._due is None:
            return
        told = cause is m.Cause.OPERATOR
        last = self._last_told if told else self._last_wake
        due = policy.wake(now.mono, last, self._floor, self._rng, told=told)
        if due < self._due:
            self._due, self._last_wake, self._last_told = due, due, due if told else self._last_told

    def _slept(self, seconds: float, now: m.Now) -> None:
        self._floor -= seconds
        if self._answered_at is not None:
            self._answered_at -= seconds
        if self._due is not None:
            self._due = policy.slept(self._due, seconds, now.mono, self._rng)

    def _trouble_over(self) -> None:
        self._kind, self.trouble = None, None
