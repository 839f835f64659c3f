"""The enrolment machine: order, dialects, conflicts, waits, wakes, restarts, and what it says."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from margod.engine import messages as m
from margod.engine.policy import SPREAD, Policy
from margod.model import reasons
from margod.model.outcome import Step
from margod.model.state import State
from margod.model.wire import Answer, Request, TransportFailure
from margod.protocols.signed import Dialect, Signed
from tests.engine.world import DEVICE, World, accepting, answer

LOST = TransportFailure(reasons.TIMED_OUT, "", sent=True)
UNSENT = TransportFailure(reasons.CONNECT_REFUSED, "", sent=False)


class Script:
    """A WFM that gives these answers to enrolments in turn, the last one for ever, and accepts everything else."""

    def __init__(self, *said: Answer | TransportFailure) -> None:
        self.said = list(said)

    def __call__(self, step: Step, request: Request) -> Answer | TransportFailure:
        if step is not Step.ENROL:
            return accepting(step, request)
        return self.said.pop(0) if len(self.said) > 1 else self.said[0]


ID = answer(201, b'{"clientId": "client-1"}')


def test_from_nothing_to_enrolled() -> None:
    """The intent is recorded first, the record is kept before the report, and then nothing is left to do."""
    world = World(trusted=False)
    world.settle()
    assert [step for step, _, _ in world.asked] == [Step.FETCH_TRUST, Step.ENROL, Step.REPORT]
    assert world.condition() == (State.ENROLLED, "enrolled")
    assert world.engine.due is None


def test_restart_when_enrolled_asks_nothing() -> None:
    """After a restart the device is enrolled without a single request."""
    world = World()
    world.settle()
    since = world.engine.condition(world.now).since
    world.pass_time(1_000)
    world.asked.clear()
    world.start()
    world.settle()
    assert world.condition() == (State.ENROLLED, "enrolled")
    assert world.asked == []
    assert since <= world.engine.condition(world.now).since


def test_changed_capabilities_are_put() -> None:
    """A device whose capabilities changed reports again, by PUT, and stays enrolled meanwhile."""
    world = World()
    world.settle()
    world.capabilities = type(DEVICE)(None, "Vendor", "Model", "SN-2")
    world.server = Script(UNSENT)
    world.server = lambda step, request: answer(503)
    world.tell(world.examined())
    world.settle()
    assert world.condition() == (State.ENROLLED, "enrolled")
    assert world.asked[-1][2].method == "PUT"
    assert world.engine.condition(world.now).last_error is not None
    world.server = accepting
    assert 6 <= world.until_due() <= 60
    assert world.engine.due is None
    assert world.engine.condition(world.now).last_error is None


@pytest.mark.parametrize("refusal", [400, 415])
def test_dialect_forms_in_order(refusal: int) -> None:
    """A refusal that fits a known deviation is answered with the next older form, each persisted before it is sent."""
    world = World(server=Script(answer(refusal), answer(refusal), ID))
    world.settle()
    enrolments = [form for step, form, _ in world.asked if step is Step.ENROL]
    assert enrolments == ["certificate-der", "certificate-pem", "public_certificate-pem"]
    assert world.condition()[0] is State.ENROLLED


def test_dialect_goes_straight_to_the_field_that_is_named() -> None:
    """A refusal that names public_certificate is answered with that field, not with every form before it."""
    world = World(server=Script(answer(422, b'{"detail": "public_certificate: field required"}'), ID))
    world.settle()
    assert [form for step, form, _ in world.asked if step is Step.ENROL][1] == "public_certificate-pem"


def test_dialect_is_tried_once_per_wfm() -> None:
    """Once every form was refused the device is blocked, goes on with the specification's, and never cycles again."""
    world = World(server=Script(answer(400)))
    world.settle()
    assert world.condition() == (State.BLOCKED, "certificate-refused")
    assert world.enrolments() == 3
    for restart in (False, True, False):
        if restart:
            world.start()
            world.settle()
        world.until_due()
    assert world.enrolments() == 6
    assert {form for _, form, _ in world.asked[3:]} == {"certificate-der"}


@pytest.mark.parametrize("status", [500, 502, 503])
def test_dialect_may_change_after_a_server_error(status: int) -> None:
    """A WFM or proxy that was still booting does not cost the older forms."""
    world = World(server=Script(answer(status), answer(400), ID))
    world.settle()
    world.until_due()
    assert world.condition()[0] is State.ENROLLED


@pytest.mark.parametrize("first", [answer(202), answer(403), LOST, answer(504)], ids=["202", "403", "timeout", "504"])
def test_dialect_never_changes_after_the_wfm_may_have_registered(first: Answer | TransportFailure) -> None:
    """After 202, 403, a timeout or a lost answer another form could register a second time: it is not tried."""
    world = World(server=Script(first, answer(400)))
    world.settle()
    world.start()  # and that survives a restart
    world.settle()
    world.until_due()
    assert {form for _, form, _ in world.asked} == {"certificate-der"}
    assert world.condition() == (State.BLOCKED, "certificate-refused")


def test_report_begins_anew_with_the_specifications_route() -> None:
    """Where both routes of the report were refused the next attempt asks the specification's first again."""
    world = World(server=lambda step, request: ID if step is Step.ENROL else answer(404))
    world.settle()
    assert world.condition() == (State.ONBOARDED, "client-unknown")
    world.server = accepting
    world.until_due()
    assert [form for step, form, _ in world.asked if step is Step.REPORT] == ["device", "client", "device"]
    assert world.condition()[0] is State.ENROLLED


def test_dialect_by_hand_is_the_only_form() -> None:
    """A form that the owner set is used alone."""
    generation = Signed(Dialect(certificate_field="public_certificate", certificate_encoding="der"))
    world = World(server=Script(answer(400)), generation=generation)
    world.settle()
    assert [form for _, form, _ in world.asked] == ["public_certificate-der"]


def test_conflict_after_a_lost_answer_reissues_once() -> None:
    """A 409 after an answer that was lost is our own registration: a new certificate over the same key, once."""
    world = World(server=Script(LOST, answer(409), answer(409)))
    world.settle()
    world.until_due()
    assert world.certificate == 1
    assert world.condition() == (State.BLOCKED, "registered-by-other")
    world.until_due()
    assert world.certificate == 1


def test_conflict_after_a_lost_answer_and_a_power_cut() -> None:
    """The intent without an answer tells the same after a power cut in the middle of the request."""
    world = World(server=Script(answer(409), ID))
    world.queue = [*world.engine.handle(world.examined(), world.now)]
    for command in list(world.queue):
        if isinstance(command, m.RecordIntent):
            world.perform(command)
    world.start()
    world.settle()
    world.until_due()
    assert world.certificate == 1
    assert world.condition()[0] is State.ENROLLED


def test_conflict_after_a_power_cut_a_clear_answer_and_another_start() -> None:
    """An answer to the next request says nothing of the one that the cut left open: the 409 is still our own."""
    world = World(server=Script(answer(429), answer(409), ID))
    world.queue = [*world.engine.handle(world.examined(), world.now)]
    for command in list(world.queue):
        if isinstance(command, m.RecordIntent):
            world.perform(command)
    for _ in range(2):
        world.start()
        world.settle()
        world.until_due()
    assert world.certificate == 1
    assert world.condition()[0] is State.ENROLLED


def test_conflict_is_not_ours_without_a_lost_answer() -> None:
    """A 409 when every answer so far was read is somebody else's registration: blocked, no new certificate."""
    world = World(server=Script(answer(202), answer(409)))
    world.settle()
    world.until_due()
    assert world.certificate == 0
    assert world.condition() == (State.BLOCKED, "registered-by-other")


@pytest.mark.parametrize("how", ["setting", "files"])
def test_conflict_reissue_can_be_forbidden(how: str) -> None:
    """Neither against the setting nor for a certificate of the operator's is one reissued."""
    world = World(server=Script(LOST, answer(409)), policy=Policy(reissue_on_conflict=how != "setting"))
    world.can_reissue = how != "files"
    world.settle()
    world.until_due()
    assert world.certificate == 0
    assert world.condition() == (State.BLOCKED, "registered-by-other")


def test_backoff_doubles_to_its_cap_and_never_ends() -> None:
    """Waits lie in windows that double from 1 s to 5 min, and go on for ever."""
    world = World(server=Script(UNSENT))
    world.settle()
    for n in range(40):
        window = min(300.0, 2.0**n)
        assert 0.1 * window <= world.until_due() <= window


def test_offline_records_one_intent_only() -> None:
    """An intent whose request never left is still good: a year offline does not write to the flash."""
    world = World(server=Script(UNSENT))
    world.settle()
    for _ in range(50):
        world.until_due()
    assert len(world.entries) == 1


@pytest.mark.parametrize(("asked", "least", "most"), [("120", 120, 240), ("5", 5, 10), ("99999999", 86_400, 86_520)])
def test_retry_after_is_a_floor(asked: str, least: float, most: float) -> None:
    """Retry-After is obeyed, with jitter, up to a day; an operator's retry does not undercut it."""
    world = World(server=Script(answer(429, retry_after=asked)))
    world.settle()
    world.tell(m.Woken(m.Cause.OPERATOR))
    world.settle()
    assert world.enrolments() == 1
    assert least <= world.until_due() <= most


def test_a_person_who_asks_before_the_first_look() -> None:
    """`margod retry` right after a start ends the wait that the look brings back; a network that comes does not."""
    for cause, made in ((m.Cause.OPERATOR, 1), (m.Cause.NETWORK, 0)):
        world = World(server=lambda step, request: UNSENT)
        world.settle()
        for _ in range(8):
            world.until_due()
        world.asked.clear()
        world.restart_with_memory(told=m.Woken(cause))
        assert len(world.asked) == made
        assert world.engine.due is not None
        assert world.engine.due > world.now.mono


def test_operator_wakes_once_a_minute() -> None:
    """The first retry acts at once, the next within a minute of it only when the minute is over."""
    world = World(server=Script(answer(400, b"expired")))
    world.settle()
    for _ in range(10):
        world.tell(m.Woken(m.Cause.OPERATOR))
        world.settle()
    assert world.enrolments() == 2
    assert 59 <= world.until_due() <= 60


def test_network_wake_is_spread() -> None:
    """What wakes a whole fleet is spread over two minutes."""
    waits = []
    for seed in range(50):
        world = World(server=Script(answer(404)), seed=seed)
        world.settle()
        world.tell(m.Woken(m.Cause.NETWORK))
        waits.append(world.until_due())
    assert min(waits) < 10
    assert 100 < max(waits) <= 120


def test_network_wake_does_not_gather_a_fleet_at_the_end_of_a_retry_after() -> None:
    """A Retry-After ends for all at once: what wakes all of them does not pull their spread waits to that moment."""
    world = World(server=Script(answer(503, retry_after="3600")))
    world.settle()
    before = world.engine.due
    world.tell(m.Woken(m.Cause.NETWORK))
    assert world.engine.due == before
    world.tell(m.Woken(m.Cause.OPERATOR))
    assert world.until_due() == 3600.0


def test_a_person_does_not_wait_for_a_planned_wake() -> None:
    """What an announcement has planned for some time in the next two minutes a person may have at once."""
    world = World(server=Script(answer(404)))
    world.settle()
    world.tell(m.Woken(m.Cause.NETWORK))
    world.settle()
    assert world.enrolments() == 1
    world.tell(m.Woken(m.Cause.OPERATOR))
    world.settle()
    assert world.enrolments() == 2


@pytest.mark.parametrize(("looked_for", "earliest", "latest"), [(5.0, 0.0, 0.0), (3600.0, 60.0, 120.0)])
def test_a_wfm_that_was_long_looked_for(looked_for: float, earliest: float, latest: float) -> None:
    """Found at once: asked at once. Found after an hour, as by everybody else: the asking is spread."""
    waits = []
    for seed in range(50):
        world = World(seed=seed, obstacle=m.Obstacle(State.DISCOVERING, reasons.NO_WFM_FOUND))
        world.settle()
        world.pass_time(looked_for)
        world.obstacle = None
        world.tell(m.Reread())
        world.settle()
        world.tell(m.Woken(m.Cause.NETWORK))
        waits.append(0.0 if world.enrolments() else world.until_due())
    assert earliest <= max(waits) <= latest


@pytest.mark.parametrize(("off", "least", "most"), [(2.0, 0.0, 0.0), (3600.0, 60.0, 120.0)])
def test_power_comes_back_to_all_at_once(off: float, least: float, most: float) -> None:
    """A wait that ended while there was no power is made up within two minutes; a quick restart asks when it is due."""
    waits = []
    for seed in range(50):
        world = World(server=Script(answer(202)), seed=seed)
        world.settle()
        due = world.engine.due
        assert due is not None
        world.pass_time(due - world.now.mono + off)
        before = world.enrolments()
        world.start()
        world.settle()
        waits.append(0.0 if world.enrolments() > before else world.until_due())
    assert least <= max(waits) <= most


def test_power_comes_back_within_a_retry_after() -> None:
    """The rest of a Retry-After is obeyed after a restart, and its end is spread again."""
    waits = []
    for seed in range(50):
        world = World(server=Script(answer(503, retry_after="3600")), seed=seed)
        world.settle()
        world.pass_time(600.0)
        world.start()
        world.settle()
        waits.append(world.until_due())
    assert min(waits) >= 3000.0
    assert 3060.0 < max(waits) <= 3120.0


@pytest.mark.parametrize("status", [202, 403, 404])
def test_restart_goes_on_where_it_stood(status: int) -> None:
    """State, reason, attempt and next attempt survive a restart; the attempt is made when it was due."""
    world = World(server=Script(answer(status)))
    world.settle()
    before = world.engine.condition(world.now)
    world.pass_time(0.5)
    world.start()
    world.settle()
    after = world.engine.condition(world.now)
    assert (after.state, after.reason, after.attempt, after.since) == (
        before.state,
        before.reason,
        before.attempt,
        before.since,
    )
    assert after.next_attempt_at == pytest.approx(before.next_attempt_at)
    assert world.enrolments() == 1


def test_restart_keeps_the_retry_after() -> None:
    """A crash loop does not undercut what the WFM asked for."""
    world = World(server=Script(answer(429, retry_after="600")))
    world.settle()
    for _ in range(5):
        world.pass_time(1)
        world.start()
        world.settle()
    assert world.enrolments() == 1
    assert 590 <= world.until_due() <= 660


@pytest.mark.parametrize("jump", [-10 * 365 * 86_400.0, 10 * 365 * 86_400.0])
def test_restart_with_a_clock_that_jumped(jump: float) -> None:
    """A wall clock that is years off neither stalls the next attempt beyond its schedule nor hurries it twice."""
    world = World(server=Script(answer(202)))
    world.settle()
    world.now = m.Now(world.now.mono, world.now.wall + jump)
    world.start()
    world.settle()
    if world.engine.due is not None:
        assert world.engine.due - world.now.mono <= 600
    assert world.enrolments() <= 2


def test_pending_survives_a_failing_network() -> None:
    """What a person at the WFM has to do does not change because the network fails; the connection says offline."""
    world = World(server=Script(answer(202), UNSENT))
    world.settle()
    world.until_due()
    condition = world.engine.condition(world.now)
    assert condition.state is State.PENDING_APPROVAL
    assert condition.connection.value == "offline"
    assert condition.last_error is not None


def test_full_disk_before_the_request() -> None:
    """Without a durable intent nothing is sent; once there is room the device enrols by itself."""
    world = World(disk_full=True)
    world.settle()
    assert world.condition() == (State.BLOCKED, "state-not-writable")
    assert world.asked == []
    world.disk_full = False
    world.until_due()
    assert world.condition()[0] is State.ENROLLED


def test_full_disk_after_the_answer() -> None:
    """An accepted record stays in memory and is written again and again; it is never asked for a second time."""

    def server(step: Step, request: Request) -> Answer:
        world.disk_full = True
        return accepting(step, request)

    world = World(server=server)
    world.settle()
    assert world.condition() == (State.ONBOARDING, "state-not-writable")
    for _ in range(5):
        world.until_due()
    world.server, world.disk_full = accepting, False
    world.until_due()
    assert world.condition()[0] is State.ENROLLED
    assert world.enrolments() == 1


def test_obstacle_is_looked_at_again() -> None:
    """What stands in the way on this device is looked at again by itself, and gone through once it is mended."""
    world = World(obstacle=m.Obstacle(State.UNTRUSTED, reasons.CA_FILE_UNREADABLE, "/x"))
    world.settle()
    assert world.condition() == (State.UNTRUSTED, "ca-file-unreadable")
    assert world.asked == []
    world.until_due()
    assert world.asked == []
    world.obstacle = None
    world.until_due()
    assert world.condition()[0] is State.ENROLLED


def test_reload_in_the_middle_of_a_request() -> None:
    """Facts read while an answer is under way do not make the engine forget that answer."""
    world = World()
    world.queue = world.engine.handle(world.examined(), world.now)
    old = world.examined()
    while not any(isinstance(command, m.Send) for command in world.queue):
        event = world.perform(world.queue.pop(0))
        if event:
            world.tell(event)
    world.tell(old)
    world.settle()
    assert world.condition()[0] is State.ENROLLED
    assert world.enrolments() == 1


def test_failures_are_said_once_then_summed_up() -> None:
    """The first failure of a kind is a warning with its hint, repeats are debug, an hour brings one summary."""
    world = World(server=Script(UNSENT))
    world.settle()
    for _ in range(60):
        world.until_due()
    world.server = accepting
    world.until_due()
    loud = [note for note in world.notes if note.level is not m.Level.DEBUG and note.event != "state"]
    first, *rest = loud
    assert (first.event, first.level) == ("attempt-failed", m.Level.WARNING)
    assert first.data["hint"]
    assert {note.event for note in rest} == {"still-failing", "recovered"}
    assert len(rest) <= 6
    assert rest[-1].event == "recovered"


def test_a_late_look_does_not_unlearn_the_record() -> None:
    """Facts read before the record was stored, and told after it, do not lead to a second enrolment request."""
    world = World()
    old = world.examined()
    world.settle()
    world.tell(m.Examined(replace(old.facts, forms={}), old.history))
    world.settle()
    assert world.enrolments() == 1


def test_certificate_is_reissued_once_only() -> None:
    """When the answer for the reissued certificate is lost too, the device stops there: never a third registration."""
    world = World(server=Script(LOST, answer(409), LOST, answer(409)))
    world.settle()
    for _ in range(3):
        world.until_due()
    assert world.certificate == 1
    assert world.condition() == (State.BLOCKED, "registered-by-other")


def test_a_look_refused_in_the_middle_is_made_afterwards() -> None:
    """What a reload found while an answer was awaited takes effect as soon as the answer is there."""

    def server(step: Step, request: Request) -> Answer:
        world.obstacle = m.Obstacle(State.UNTRUSTED, reasons.NO_ANCHOR)
        world.tell(world.examined())
        return answer(202)

    world = World(server=server)
    world.settle()
    assert world.condition() == (State.UNTRUSTED, "no-anchor")


def test_a_reread_waits_for_what_is_under_way() -> None:
    """A look could bind the vault to another identity: none is asked for between a request and its kept answer."""
    world = World()
    world.queue = world.engine.handle(world.examined(), world.now)
    while not any(isinstance(command, m.Send) for command in world.queue):
        event = world.perform(world.queue.pop(0))
        if event:
            world.tell(event)
    world.tell(m.Reread())
    assert not any(isinstance(command, m.Examine) for command in world.queue)
    send = next(command for command in world.queue if isinstance(command, m.Send))
    world.queue.clear()
    world.tell(world.send(send))
    assert not any(isinstance(command, m.Examine) for command in world.queue), "kept is not durable yet"
    world.settle()
    assert world.condition()[0] is State.ENROLLED
    assert world.enrolments() == 1


def test_nothing_is_begun_while_a_look_is_under_way() -> None:
    """An attempt that falls due during a look waits for what the look says."""
    world = World(server=Script(answer(202)))
    world.settle()
    world.tell(m.Reread())
    assert [type(command) for command in world.queue] == [m.Examine]
    world.pass_time(10_000)
    world.tell(m.Due())
    assert [type(command) for command in world.queue] == [m.Examine]
    world.settle()
    assert world.enrolments() == 2


def test_a_clock_that_was_ahead_does_not_lengthen_a_retry_after() -> None:
    """Stored while the clock was two days ahead, a Retry-After of 20 s is still 20 s with the right clock."""
    world = World(server=Script(answer(503, retry_after="20")))
    world.settle()
    world.now = m.Now(world.now.mono, world.now.wall - 2 * 86_400)
    world.start()
    world.settle()
    assert world.until_due() <= 300
    assert world.enrolments() == 2


def test_retry_after_survives_an_obstacle_at_boot() -> None:
    """A device that finds its disk or files unfit at boot goes on with the remembered wait once that is mended."""
    world = World(server=Script(answer(429, retry_after="600")))
    world.settle()
    world.obstacle = m.Obstacle(State.UNTRUSTED, reasons.CA_FILE_UNREADABLE)
    world.start()
    world.settle()
    world.obstacle = None
    world.until_due()
    assert world.enrolments() == 1


@pytest.mark.parametrize("restarted", [False, True])
def test_retry_after_survives_a_block_under_which_nothing_is_known(restarted: bool) -> None:
    """A state directory that did not last, and does again: who the device is was not even looked at meanwhile."""
    world = World(server=Script(answer(429, retry_after="600")))
    world.settle()
    world.remembered = world.engine.memory(world.now)
    obstacle = m.Obstacle(State.BLOCKED, reasons.STATE_VOLATILE, "on a tmpfs")
    unknown = replace(world.facts(), obstacle=obstacle, binding="", trusted=False, report="")
    world.tell(m.Examined(unknown, m.History()))
    world.pass_time(60.0)
    assert world.condition() == (State.BLOCKED, "state-volatile")
    if restarted:
        world.remembered = world.engine.memory(world.now) or world.remembered
        world.start()
        world.settle()
    else:
        world.tell(world.examined())
        world.settle()
    assert world.enrolments() == 1
    assert 540.0 <= world.until_due() <= 600.0 + SPREAD
    assert world.enrolments() == 2


@pytest.mark.parametrize("early", [Step.FETCH_TRUST, Step.ENROL])
def test_what_is_to_be_looked_at_comes_before_the_next_request(early: Step) -> None:
    """A reset that is ordered during one waits for that alone, and the next is not made for what is given up."""

    def server(step: Step, request: Request) -> Answer | TransportFailure:
        if step is early:
            world.obstacle = m.Obstacle(State.BLOCKED, reasons.WIPED)
            world.tell(m.Reread())
        return accepting(step, request)

    world = World(trusted=False, server=server)
    world.settle()
    assert world.asked[-1][0] is early
    assert world.condition() == (State.BLOCKED, "wiped")
    assert len(world.records) + len(world.entries) > 0, "what was accepted is kept first"


@pytest.mark.parametrize("wiped", [False, True])
def test_what_is_to_be_looked_at_comes_before_the_request_of_an_intent(wiped: bool) -> None:
    """What is ordered while the intent is written is looked at first; the intent is good for the request after it."""
    world = World()
    (intent,) = (one for one in world.engine.handle(world.examined(), world.now) if not isinstance(one, m.Note))
    world.queue.clear()
    recorded = world.perform(intent)
    assert recorded is not None
    assert world.engine.handle(m.Reread(), world.now) == []
    if wiped:
        world.obstacle = m.Obstacle(State.BLOCKED, reasons.WIPED)
    assert world.engine.handle(recorded, world.now) == [m.Examine()]
    world.queue = world.engine.handle(world.examined(), world.now)
    if wiped:
        assert world.condition() == (State.BLOCKED, "wiped")
        assert m.Send not in {type(one) for one in world.queue}
        return
    assert world.queue[-1] == m.Send(Step.ENROL, "certificate-der")
    assert world.engine.condition(world.now).attempt == 1
    world.settle()
    assert world.condition() == (State.ENROLLED, "enrolled")


def test_while_it_looks_nothing_is_due() -> None:
    """A look that lasts beyond the wait it came into is waited for, not asked after again and again."""
    world = World(server=Script(answer(202)))
    world.settle()
    due = world.engine.due
    assert due is not None
    assert world.engine.handle(m.Reread(), world.now) == [m.Examine()]
    assert world.engine.due is None
    world.pass_time(due - world.now.mono + 60.0)
    assert world.engine.handle(m.Due(), world.now) == []
    assert world.engine.due is None
    world.tell(world.examined())
    world.settle()
    assert world.enrolments() == 2, "the wait is over by now"


def test_an_intent_is_good_for_its_own_form_only() -> None:
    """When the owner sets another form while the device is offline, an intent with that form comes first."""
    world = World(server=Script(UNSENT))
    world.settle()
    world.generation = Signed(Dialect(certificate_encoding="pem"))
    world.tell(world.examined())
    world.settle()
    assert [entry.about["form"] for entry in world.entries] == ["certificate-der", "certificate-pem"]


def test_a_report_that_is_known_already_is_put() -> None:
    """A 409 at the first report says that the WFM has one, whose answer was lost: it is updated."""

    def server(step: Step, request: Request) -> Answer:
        if step is Step.ENROL:
            return accepting(step, request)
        return answer(409) if request.method == "POST" else answer(200)

    world = World(server=server)
    world.settle()
    assert world.condition()[0] is State.ENROLLED
    assert [(request.method, request.path) for step, _, request in world.asked if step is Step.REPORT] == [
        ("POST", "/api/v1/clients/client-1/capabilities/client-1"),
        ("PUT", "/api/v1/clients/client-1/capabilities/client-1"),
    ]


def test_the_journal_says_what_state_a_restart_goes_on_in() -> None:
    """After a restart the first line names the state, since when, and when it goes on: pending, blocked, enrolled."""
    for said, state in ((answer(202), "pending-approval"), (answer(404), "blocked"), (ID, "enrolled")):
        world = World(server=Script(said))
        world.settle()
        world.notes.clear()
        memory = world.engine.memory(world.now)
        world.start()
        examined = world.examined()
        world.queue = world.engine.handle(
            m.Examined(examined.facts, replace(examined.history, memory=memory)), world.now
        )
        world.settle()
        first = next(note for note in world.notes if note.event == "state")
        assert (first.data["state"], first.data["resumed"]) == (state, "yes")
        assert ("next_in" in first.data) is (state != "enrolled")


def test_a_new_wait_for_a_person_is_no_long_one() -> None:
    """Who was approved days ago and is to be approved anew waits since now, and is said after a day."""
    world = World(server=Script(answer(202)))
    world.settle()
    world.server = accepting
    world.until_due()
    assert world.condition()[0] is State.ENROLLED
    world.pass_time(3 * 86_400)
    world.certificate += 1
    world.entries.clear()
    world.records.clear()
    world.server = Script(answer(202))
    world.notes.clear()
    world.tell(world.examined())
    world.settle()
    assert world.condition()[0] is State.PENDING_APPROVAL
    began = world.now.mono
    assert "still-waiting" not in {note.event for note in world.notes}
    while "still-waiting" not in {note.event for note in world.notes}:
        assert world.now.mono < began + 90_000.0
        world.until_due()
    assert world.now.mono >= began + 86_400.0


def test_a_long_wait_for_a_person_is_said_once_a_day() -> None:
    """A device that waits for approval for a week says so about seven times, with what to do."""
    world = World(server=Script(answer(202)))
    world.settle()
    world.notes.clear()
    end = world.now.mono + 7 * 86_400
    while world.now.mono < end:
        world.until_due()
    lines = [note for note in world.notes if note.level is not m.Level.DEBUG]
    assert {note.event for note in lines} == {"still-waiting"}
    assert 6 <= len(lines) <= 7
    assert lines[-1].data["hint"]


def test_kinds_of_failures_that_alternate_back_off_each_to_its_own_cap() -> None:
    """A WFM that cannot be reached and cannot be trusted by turns is asked some hundred times in a week."""
    kinds = itertools.cycle((reasons.CONNECT_REFUSED, reasons.TLS_EXPIRED))
    world = World(server=lambda *_: TransportFailure(next(kinds), "", sent=False))
    world.settle()
    end, waits = world.now.mono + 7 * 86_400, []
    while world.now.mono < end:
        waits.append(world.until_due())
    assert 200 < len(world.asked) < 1_000
    by_turns = sorted((max(waits[-40::2]), max(waits[-39::2])))
    assert by_turns[0] <= 300
    assert 1_800 < by_turns[1] <= 3_600


def test_an_answer_in_good_order_ends_what_failed_before() -> None:
    """Failures of a network days ago do not lengthen the first wait of today's, while a person is waited for."""
    answers: list[Answer | TransportFailure] = []
    lost = TransportFailure(reasons.CONNECT_REFUSED, "", sent=False)
    world = World(server=lambda *_: answers.pop(0))
    answers += [*[lost] * 12, answer(202), lost, answer(202)]
    world.settle()
    waits = [world.until_due() for _ in range(14)]
    assert waits[11] > 30
    assert waits[13] <= 1
