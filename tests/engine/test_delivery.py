"""The outbox's machine: what is sent next and when, what is set aside, and what the enrolment hears of it."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from margod.engine import delivery as d
from margod.engine import messages as m
from margod.model import reasons
from margod.model.outcome import Kind, Outcome
from margod.model.report import About, Reply
from tests.engine.mailroom import AWAY, BUSY, KNOWN, PAGE, REFUSED, STRANGER, TAKEN, UNSAID, UNSURE, Mailroom, busy_for

UNKNOWN = Outcome(Kind.UNKNOWN, reasons.CLIENT_UNKNOWN)
UNREACHABLE = Outcome(Kind.UNREACHABLE, reasons.CONNECT_FAILED)


def test_in_order_and_once_each() -> None:
    """What waits leaves in its order, what comes later follows, and nothing is left."""
    room = Mailroom()
    for number in range(20):
        room.put(f"d{number % 3}")
    room.settle()
    room.put("d0", final=True)
    room.settle()
    assert [number for _, number in room.record] == list(range(1, 22))
    assert (room.held, room.machine.due, room.machine.trouble) == ([], None, None)


def test_accepted_reports_are_forgotten_before_the_next_of_their_deployment() -> None:
    """After a kill at any moment the WFM hears at most the latest of a deployment again."""
    for steps in range(60):
        room = Mailroom()
        for number in range(9):
            room.put(f"d{number % 2}")
        room.settle(steps)
        room.start()
        room.settle()
        for deployment in ("d0", "d1"):
            heard = [number for name, number in room.record if name == deployment]
            assert heard == sorted(heard)
            assert len(heard) <= len(set(heard)) + 1
        assert {number for _, number in room.record} == set(range(1, 10))


def test_a_disk_has_what_was_sent_now_and_then() -> None:
    """Not each of a long queue waits for the disk, and not more than a batch is without it."""
    room = Mailroom()
    kept = []
    for _ in range(200):
        room.put("d")
    while room.under_way:
        command = room.under_way[0]
        if isinstance(command, d.Forget):
            kept.append(command.lasting)
        room.step()
    assert 3 <= sum(kept) <= 5
    assert max(len(run) for run in "".join("x" if lasting else "." for lasting in kept).split("x")) < d.BATCH


@pytest.mark.parametrize("reply", [AWAY, BUSY, STRANGER])
def test_for_as_long_as_it_takes(reply: Reply) -> None:
    """A month of it parks nothing; it goes on with the oldest; at most six attempts an hour after the first."""
    room = Mailroom(server=lambda report, form: reply, supersede_after=0.0)
    room.put("d")
    room.put("e")
    room.settle()
    room.pass_time(30 * 86_400.0)
    assert room.waiting() == [1, 2]
    assert {number for number, _ in room.sent} == {1}
    assert 30 * 24 * 0.9 <= len(room.sent) <= 30 * 24 * 12
    room.server = lambda report, form: TAKEN
    room.pass_time(3_700.0)
    assert room.record == [("d", 1), ("e", 2)]
    assert room.machine.trouble is None


def test_what_is_about_the_device_goes_to_the_enrolment() -> None:
    """Unreachable and unknown are told at once, a busy WFM is this lane's own affair, all well now and then."""
    room = Mailroom(server=lambda report, form: STRANGER)
    room.put("d")
    room.settle()
    assert room.told == [STRANGER.outcome]
    room.server = lambda report, form: TAKEN
    room.pass_time(3_700.0)
    assert room.told[-1] == KNOWN
    heard = len(room.told)
    for _ in range(50):
        room.put("d")
        room.settle()
    assert len(room.told) == heard + 1, "of fifty within a minute"
    room.server = lambda report, form: BUSY
    room.put("d")
    room.settle()
    assert len(room.told) == heard + 1
    assert room.notes[-1].event == "reports-wait"
    assert room.machine.trouble is not None


def test_a_report_that_is_refused_is_parked_and_the_rest_goes_on() -> None:
    """422 of one deployment's report sets that one aside alone."""
    room = Mailroom(server=lambda report, form: REFUSED if report.number == 2 else TAKEN)
    for _ in range(3):
        room.put("d")
    room.settle()
    assert [number for _, number in room.record] == [1, 3]
    assert [(r.number, r.parked, r.overtaken) for r in room.held] == [(2, "report-refused", True)]
    assert room.notes[-1].data["number"] == 2


def test_the_older_route_is_tried_and_kept_to() -> None:
    """A WFM that knows `/deployment/` alone costs one request more, once, and nothing is parked."""
    room = Mailroom(server=lambda report, form: TAKEN if form == "singular" else UNSURE)
    for _ in range(3):
        room.put("d")
    room.settle()
    assert room.sent == [(1, "plural"), (1, "singular"), (2, "singular"), (3, "singular")]
    room.machine.configure(("plural", "singular"), 600.0)
    room.put("d")
    room.settle()
    assert room.sent[-1] == (4, "singular"), "a reload does not forget it"


@pytest.mark.parametrize(("known", "parks"), [(KNOWN, True), (UNKNOWN, False), (UNREACHABLE, False)])
def test_a_question_decides_what_a_404_is_about(known: Outcome, parks: bool) -> None:
    """Only a WFM that says, asked then, that it knows the device has spoken about the report."""
    room = Mailroom(server=lambda report, form: UNSURE, confirm=lambda: known)
    room.put("d")
    room.settle()
    assert [bool(report.parked) for report in room.held] == [parks]
    assert room.told == [known]
    assert (room.machine.due is None) is parks


def test_retry_after_is_a_floor() -> None:
    """Nothing leaves before it, whoever asks; only another enrolment is not bound by it."""
    room = Mailroom(server=lambda report, form: busy_for(1_000.0))
    room.put("d")
    room.settle()
    for event in (m.Woken(m.Cause.OPERATOR), m.Woken(m.Cause.NETWORK), d.Reachable(), d.Changed(anew=True)):
        room.tell(event)
        room.settle()
    room.pass_time(999.0)
    assert len(room.sent) == 1
    room.pass_time(130.0)
    assert len(room.sent) == 2


def test_waits_end_early() -> None:
    """A person is obeyed at once, another lane's success too; the network is spread; a suspend counts."""
    room = Mailroom(server=lambda report, form: AWAY)
    room.put("d")
    room.settle()
    room.tell(m.Woken(m.Cause.OPERATOR))
    room.settle()
    assert len(room.sent) == 2
    room.tell(m.Woken(m.Cause.OPERATOR))
    room.settle()
    assert len(room.sent) == 2, "once a minute"
    room.at(room.now.mono + 61.0)
    room.tell(d.Reachable())
    room.settle()
    assert len(room.sent) == 3
    room.tell(d.Reachable())
    room.settle()
    assert len(room.sent) == 3, "once a minute"
    due = room.machine.due
    assert due is not None
    room.tell(m.Slept(3_600.0))
    assert room.machine.due is not None
    assert room.machine.due <= min(due, room.now.mono + 60.0)


def test_superseded_after_an_absence() -> None:
    """Away for longer than is set: of each run the newest, and every final state; away for less: everything."""
    for away, expected in ((1_200.0, [2, 5, 6]), (60.0, [1, 2, 3, 4, 5, 6])):
        room = Mailroom(server=lambda report, form: AWAY)
        for final in (False, True, False, False, False):
            room.put("d", final=final)
        room.put("e")
        room.settle()
        room.pass_time(away)
        room.server = lambda report, form: TAKEN
        room.pass_time(700.0)
        assert [number for _, number in room.record] == expected, away


def test_a_long_queue_is_no_absence() -> None:
    """A WFM that answers is told everything, however long it takes."""
    room = Mailroom()
    for _ in range(100):
        room.put("d")
    while room.under_way:
        room.step()
        room.at(room.now.mono + 60.0)
    assert len(room.record) == 100


def test_never_in_anothers_name() -> None:
    """What was reported under one enrolment is parked under another, and what is said then is not counted for it."""
    room = Mailroom(server=lambda report, form: UNSURE)
    room.put("d")
    room.put("d")
    room.settle(2)
    room.allow("there")
    room.settle()
    assert {report.parked for report in room.held} == {reasons.REPORT_OF_OTHER.code}
    room.server = lambda report, form: TAKEN
    room.put("d")
    room.settle()
    assert room.record == [("d", 3)]


@pytest.mark.parametrize("old", [True, False])
def test_a_plant_that_gets_its_power_back(old: bool) -> None:
    """What has waited for long is sent at a moment drawn from two minutes; a person need not wait, nor a new report."""
    due = []
    for seed in range(50):
        room = Mailroom(seed=seed)
        room.allow("")
        room.put("d")
        room.at(room.now.mono + (3_600.0 if old else 60.0))
        room.start()
        room.settle()
        assert bool(room.record) is not old
        if room.machine.due is not None:
            due.append(room.machine.due - room.now.mono)
        room.tell(m.Woken(m.Cause.OPERATOR))
        room.settle()
        assert room.record == [("d", 1)]
    if old:
        assert 0 < min(due) < 20 < 100 < max(due) <= 120


def test_nobody_to_send_for() -> None:
    """Without an enrolment nothing leaves; what was accepted is still forgotten."""
    room = Mailroom()
    room.put("d")
    room.settle(2)
    room.allow("")
    room.put("d")
    room.settle()
    assert (room.record, room.waiting(), room.machine.due) == ([("d", 1)], [2], None)
    room.allow("here")
    room.settle()
    assert room.record == [("d", 1), ("d", 2)]


def test_a_full_disk() -> None:
    """What was accepted is not sent again for want of room to say so, and nothing later of it leaves before."""
    room = Mailroom()
    room.disk_full = True
    room.put("d")
    room.put("d")
    room.settle()
    room.pass_time(3_600.0)
    assert room.record == [("d", 1)]
    assert room.machine.trouble is not None
    assert {note.event for note in room.notes} == {"outbox-unusable"}
    assert len([note for note in room.notes if note.level is m.Level.WARNING]) <= 2
    room.disk_full = False
    room.pass_time(400.0)
    assert room.record == [("d", 1), ("d", 2)]
    assert room.machine.trouble is None


def test_what_was_said_to_another_enrolment_is_not_told() -> None:
    """An acceptance under the enrolment before says nothing of the present one; nor does a call that was not made."""
    room = Mailroom()
    room.put("d")
    room.step()
    room.allow("there")
    room.settle()
    assert (room.record, room.held, room.told) == ([("d", 1)], [], [])
    unsent = Reply(About.MOMENT, Outcome(Kind.UNREACHABLE, reasons.NOT_ENROLLED, sent=False))
    room.server = lambda report, form: unsent
    room.put("d")
    room.settle()
    assert (room.told, room.machine.trouble) == ([], None)
    assert room.machine.due is not None


def test_what_has_no_word_is_taken_without_a_word_of_the_wfm() -> None:
    """It leaves the outbox in its turn, and says nothing of WFM or route: a page is not taken for the WFM's refusal."""
    room = Mailroom(server=lambda report, form: UNSAID)
    room.put("d")
    room.put("e")
    room.settle()
    assert (room.held, room.record, room.told, room.machine.trouble) == ([], [], [], None)
    replies = {3: AWAY, 4: UNSAID, 5: PAGE}
    room.server = lambda report, form: replies[report.number]
    room.put("d")
    room.put("d")
    room.put("d")
    room.settle()
    assert room.waiting() == [3, 4, 5], "nothing overtakes what waits"
    replies[3] = UNSAID
    room.tell(m.Woken(m.Cause.OPERATOR))
    room.settle()
    assert room.waiting() == [5]
    assert not any(report.parked for report in room.held)
    assert all(outcome.kind is not Kind.ACCEPTED for outcome in room.told)


class Outboxes(RuleBasedStateMachine):
    """Anything may happen in any order, at any moment: what was acknowledged arrives, in order, once it can."""

    def __init__(self) -> None:
        """Begin with an empty one and a WFM that takes everything."""
        super().__init__()
        self.reply = TAKEN
        self.known = KNOWN
        self.refused: set[int] = set()
        self.room = Mailroom(server=self.answer, confirm=lambda: self.known)

    def answer(self, report: object, form: str) -> Reply:
        """Answer as the rules have it."""
        number = getattr(report, "number", 0)
        return REFUSED if number in self.refused and self.reply is TAKEN else self.reply

    @rule(deployment=st.sampled_from("abc"), final=st.booleans(), bad=st.integers(0, 9))
    def agent_reports(self, deployment: str, final: bool, bad: int) -> None:
        """A report comes; one in ten is refused for what it says."""
        number = self.room.put(deployment, final=final)
        if bad == 0:
            self.refused.add(number)

    @rule(steps=st.integers(1, 30))
    def some_of_it_happens(self, steps: int) -> None:
        """Carry out some commands."""
        self.room.settle(steps)

    @rule(reply=st.sampled_from([TAKEN, AWAY, BUSY, STRANGER, UNSURE, busy_for(100.0)]))
    def wfm_answers(self, reply: Reply) -> None:
        """Another answer from now on."""
        self.reply = reply

    @rule(known=st.sampled_from([KNOWN, UNKNOWN, UNREACHABLE]))
    def wfm_knows(self, known: Outcome) -> None:
        """Another answer to the question from now on."""
        self.known = known

    @rule(seconds=st.sampled_from([1.0, 61.0, 700.0, 4_000.0]))
    def time_passes(self, seconds: float) -> None:
        """Wait; the timers go off."""
        self.room.pass_time(seconds)

    @rule(cause=st.sampled_from(list(m.Cause)))
    def woken(self, cause: m.Cause) -> None:
        """Ask for an early attempt."""
        self.room.tell(m.Woken(cause))

    @rule(seconds=st.floats(1.0, 10_000.0))
    def sleeps(self, seconds: float) -> None:
        """The device is suspended."""
        self.room.tell(m.Slept(seconds))

    @rule()
    def killed(self) -> None:
        """The process ends and another one begins."""
        self.room.start()

    @rule()
    def retried(self) -> None:
        """A person takes up again what is parked."""
        self.room.retry()

    @rule(full=st.booleans())
    def disk(self, full: bool) -> None:
        """The disk is full, or has room again."""
        self.room.disk_full = full

    @rule(allowed=st.booleans())
    def enrolment(self, allowed: bool) -> None:
        """Reports may leave, or not."""
        self.room.allow("here" if allowed else "")

    @rule(
        stray=st.sampled_from(
            [d.Loaded(()), d.Stored(), d.Confirmed(KNOWN), d.NotStored(reasons.OUTBOX_UNUSABLE, ""), d.Reachable()]
        )
    )
    @precondition(lambda self: not self.room.under_way)
    def stray(self, stray: d.Event) -> None:
        """An answer that nobody waits for is passed over."""
        self.room.tell(stray)

    @invariant()
    def in_order(self) -> None:
        """Of a deployment the WFM never hears an older report after a newer one."""
        newest: dict[str, int] = {}
        for deployment, number in self.room.record:
            assert number >= newest.get(deployment, 0)
            newest[deployment] = number

    @invariant()
    def there_is_a_next_event(self) -> None:
        """What waits is under way or has its time, unless there is nobody to send for."""
        machine = self.room.machine
        if self.room.waiting() and machine._binding:
            assert self.room.under_way or machine.due is not None

    def teardown(self) -> None:
        """In the end everything has arrived that was not refused, overtaken by a person's retry or superseded."""
        self.reply, self.known, self.room.disk_full = TAKEN, KNOWN, False
        self.room.allow("here")
        self.room.settle()
        self.room.pass_time(100_000.0)
        arrived = {number for _, number in self.room.record}
        held = {report.number for report in self.room.held}
        assert arrived | held | set(self.room.superseded) == set(range(1, self.room.last + 1))
        assert self.room.waiting() == []
        assert all(report.parked for report in self.room.held)
        assert self.room.machine.trouble is None
        self.in_order()


Outboxes.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_any_order_of_events = Outboxes.TestCase
