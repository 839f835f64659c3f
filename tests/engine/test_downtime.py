"""Downtime: no request is begun inside of it, whatever the clock does, and afterwards all goes on."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from margod.engine import messages as m
from margod.engine.gate import Gate, Span, Watch
from margod.engine.policy import DAY, SPREAD, Policy
from margod.model import reasons, windows
from margod.model.outcome import Kind, Outcome, Step
from margod.model.state import Connection, State
from margod.model.windows import LONGEST
from margod.model.wire import Request, TransportFailure
from tests.engine.test_properties import Device
from tests.engine.world import World, accepting, answer

HOUR = 3_600.0
BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, mono: float = 1_000.0) -> m.Now:
    """Return the moment at which clocks in Berlin show this."""
    return m.Now(mono, datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp())


def gate(*texts: str, span: Span | None = None) -> Gate:
    """Return a gate with these windows."""
    return Gate(tuple(windows.parse(text) for text in texts), span)


def world(*texts: str, now: str = "2026-11-21 12:00", span: Span | None = None, **more: Any) -> World:
    """Return a device with these downtimes at a moment of a Saturday."""
    return World(policy=Policy(gate=gate(*texts, span=span)), now=at(now), **more)


def silent(step: Step, request: Request) -> TransportFailure:
    """Nobody answers."""
    return TransportFailure(reasons.TIMED_OUT, "", sent=True)


def set_clock(world: World, text: str) -> None:
    """Set the wall clock, as the daemon tells of it."""
    world.now = at(text, world.now.mono)
    world.tell(m.Reread())
    world.tell(m.Woken(m.Cause.CLOCK))
    world.settle()


def wall(world: World) -> str:
    """Return what clocks in Berlin show."""
    return datetime.fromtimestamp(world.now.wall, BERLIN).isoformat(" ", "minutes")[:16]


def attempt(world: World) -> None:
    """Let time run to the next attempt, over the edges of windows."""
    for _ in range(20):
        asked = len(world.asked)
        world.until_due()
        if len(world.asked) > asked:
            return
    raise AssertionError("no attempt")


def test_a_first_start_inside_waits_for_the_end() -> None:
    """Nothing is asked and nothing recorded before the end; then it enrols, within the spread of a fleet."""
    device = world("Sat 08:00-18:00 Europe/Berlin")
    device.settle()
    condition = device.engine.condition(device.now)
    assert (condition.state, condition.reason) == (State.ONBOARDING, reasons.DOWNTIME)
    assert condition.connection is Connection.DOWNTIME
    assert condition.downtime == at("2026-11-21 18:00").wall
    assert condition.detail == "until 2026-11-21T17:00:00Z"
    assert condition.next_attempt_at is not None
    assert 0.0 <= condition.next_attempt_at - at("2026-11-21 18:00").wall <= SPREAD
    assert condition.attempt == 0
    assert (device.asked, device.entries) == ([], [])
    attempt(device)
    assert wall(device) in ("2026-11-21 18:00", "2026-11-21 18:01")
    assert device.condition() == (State.ENROLLED, "enrolled")
    assert device.engine.condition(device.now).connection is Connection.ONLINE
    begun, over = [note for note in device.notes if note.event.startswith("downtime")]
    assert (begun.event, begun.data["by"]) == ("downtime", "Sat 08:00-18:00 Europe/Berlin")
    assert over.event == "downtime-over"


def test_one_that_begins_in_a_wait_holds_the_attempt_back() -> None:
    """The engine wakes where it begins, shows it, and keeps what the WFM has said; the attempt follows its end."""
    device = world("Sat 12:05-18:00 Europe/Berlin", server=lambda *_: answer(202))
    device.settle()
    assert device.condition()[0] is State.PENDING_APPROVAL
    asked = 0
    while device.engine.condition(device.now).downtime is None:
        asked = len(device.asked)
        device.until_due()
    assert wall(device) == "2026-11-21 12:05"
    assert len(device.asked) == asked
    assert device.condition()[0] is State.PENDING_APPROVAL
    assert device.engine.condition(device.now).connection is Connection.DOWNTIME
    attempt(device)
    assert at("2026-11-21 18:00").wall <= device.now.wall <= at("2026-11-21 18:00").wall + SPREAD


def test_a_fleet_is_spread_over_the_end() -> None:
    """No second after the end sees more than its share of ten thousand devices, whose clocks agree."""
    end = at("2026-11-21 18:00").wall
    seconds: dict[int, int] = {}
    for seed in range(1_000):
        device = world("Sat 08:00-18:00 Europe/Berlin", seed=seed)
        device.settle()
        attempt(device)
        second = int(device.now.wall - end)
        seconds[second] = seconds.get(second, 0) + 1
    assert len(seconds) > 100
    assert max(seconds.values()) < 0.03 * 1_000


def test_a_failure_that_it_explains_is_not_reported() -> None:
    """A request that was under way when it began and fails leaves no warning, no last error and no other state."""
    device = world("Sat 12:00-18:00 Europe/Berlin", now="2026-11-21 11:59", server=silent)
    while not isinstance(command := device.queue.pop(0), m.Send):
        if (event := device.perform(command)) is not None:
            device.tell(event)
    device.pass_time(90.0)
    for kind in (Kind.UNREACHABLE,):
        device.tell(m.Done(command.step, Outcome(kind, reasons.TIMED_OUT, "no answer", sent=True, lost=True)))
    device.settle()
    condition = device.engine.condition(device.now)
    assert condition.last_error is None
    assert condition.connection is Connection.DOWNTIME
    assert condition.state is State.ONBOARDING
    assert [note for note in device.notes if note.level is m.Level.WARNING] == []
    assert device.examined().history.unanswered, "that an answer was lost is remembered all the same"
    device.server = accepting
    attempt(device)
    assert device.condition()[0] is State.ENROLLED


@pytest.mark.parametrize("kind", [Kind.UNREACHABLE, Kind.UNTRUSTED, Kind.BUSY])
def test_another_lanes_failure_is_not_reported_either(kind: Kind) -> None:
    """What a poll meets in it is nobody's fault; outside it is said."""
    device = world("Sat 12:05-18:00 Europe/Berlin")
    device.settle()
    assert device.condition()[0] is State.ENROLLED
    failed = m.Heard(Outcome(kind, reasons.TIMED_OUT), 60.0)
    device.pass_time(600.0)
    device.tell(failed)
    assert device.engine.condition(device.now).last_error is None
    device.pass_time(6 * HOUR)
    device.tell(failed)
    assert device.engine.condition(device.now).last_error is not None


def test_a_refusal_in_it_counts() -> None:
    """What the WFM says is an answer, not a failure of the network."""
    device = world("Sat 12:00-18:00 Europe/Berlin", now="2026-11-21 11:59")
    while not isinstance(command := device.queue.pop(0), m.Send):
        if (event := device.perform(command)) is not None:
            device.tell(event)
    device.pass_time(90.0)
    device.tell(m.Done(command.step, Outcome(Kind.FORBIDDEN, reasons.REJECTED, sent=True)))
    assert device.condition()[0] is State.REJECTED


def test_one_that_begins_beneath_the_intent() -> None:
    """The intent was written and the window begins: it does not leave, and the same intent is good afterwards."""
    device = world("Sat 12:00-18:00 Europe/Berlin", now="2026-11-21 11:59")
    while not isinstance(command := device.queue.pop(0), m.RecordIntent):
        if (event := device.perform(command)) is not None:
            device.tell(event)
    device.pass_time(61.0)
    recorded = device.perform(command)
    assert isinstance(recorded, m.Recorded)
    device.tell(recorded)
    device.settle()
    assert device.asked == []
    assert device.engine.condition(device.now).attempt == 0
    attempt(device)
    assert device.condition()[0] is State.ENROLLED
    assert sum(entry.kind == "intent" for entry in device.entries) <= 1


def test_upkeep_that_falls_due_in_it_is_made_up_once() -> None:
    """An enrolled device asks once after it, spread."""
    device = world("2026-11-21 12:05 to 2026-11-25 12:00 Europe/Berlin")
    device.engine.rules = replace(device.policy, upkeep={Step.CONFIRM: DAY})
    device.settle()
    asked = len(device.asked)
    attempt(device)
    end = at("2026-11-25 12:00").wall
    assert end <= device.now.wall <= end + SPREAD
    assert len(device.asked) == asked + 1


def test_a_retry_after_holds_beyond_the_end() -> None:
    """Who was told to come in a day does not come at the end of a window."""
    device = world("Sat 12:05-13:00 Europe/Berlin", server=lambda *_: answer(503, retry_after="86400"))
    device.settle()
    asked_at = device.now.wall
    attempt(device)
    assert device.now.wall - asked_at >= DAY


def test_a_person_cannot_wake_it() -> None:
    """`margod retry` and an announcement change nothing; a device that looks at its files goes on doing so."""
    device = world("Sat 08:00-18:00 Europe/Berlin")
    device.settle()
    before = device.engine.due
    for cause in m.Cause:
        device.tell(m.Woken(cause))
    device.settle()
    assert (device.asked, device.engine.due) == ([], before)
    device.obstacle = m.Obstacle(State.BLOCKED, reasons.STATE_NEWER)
    device.tell(m.Reread())
    device.settle()
    assert device.condition() == (State.BLOCKED, "state-newer")
    assert device.engine.due is not None
    assert device.engine.due - device.now.mono <= 300.0


def test_what_was_mended_in_it_is_shown() -> None:
    """An obstacle that goes leaves a device that waits for the end, not one that is still blocked."""
    device = world("Sat 08:00-18:00 Europe/Berlin", obstacle=m.Obstacle(State.BLOCKED, reasons.STATE_NEWER))
    device.settle()
    device.obstacle = None
    device.tell(m.Reread())
    device.settle()
    assert device.condition() == (State.ONBOARDING, "downtime")
    assert device.asked == []


def test_the_operators_own() -> None:
    """Four hours from now, and ended before: the attempt follows at once when a person ended it, spread otherwise."""
    device = world(span=Span(1_000.0 + 4 * HOUR))
    device.settle()
    assert device.engine.condition(device.now).downtime == at("2026-11-21 16:00").wall
    device.pass_time(HOUR)
    device.engine.rules = Policy()
    device.tell(m.Woken(m.Cause.OPERATOR))
    device.settle()
    assert device.condition()[0] is State.ENROLLED
    device = world(span=Span(1_000.0 + 4 * HOUR))
    device.settle()
    device.engine.rules = Policy()
    device.tell(m.Reread())
    device.settle()
    assert device.engine.due is not None
    assert 0.0 <= device.engine.due - device.now.mono <= SPREAD


@pytest.mark.parametrize("jump", ["1970-01-02 00:00", "2026-11-20 12:00", "2026-11-28 12:00", "2199-01-01 00:00"])
def test_a_clock_that_jumps_leaves_the_operators_own_as_long_as_it_was(jump: str) -> None:
    """Four hours are four hours by the clock that nobody sets."""
    device = world(span=Span(1_000.0 + 4 * HOUR))
    device.settle()
    device.pass_time(HOUR)
    set_clock(device, jump)
    assert device.asked == []
    attempt(device)
    assert 4 * HOUR <= device.now.mono - 1_000.0 <= 4 * HOUR + SPREAD


def test_after_another_boot_the_wall_clock_may_end_it() -> None:
    """A span that is bounded by wall time too ends where either clock says so."""
    now = at("2026-11-21 12:00")
    span = Span(now.mono + 4 * HOUR, at("2026-11-21 13:00").wall)
    assert span.end(now) == at("2026-11-21 13:00").wall
    assert span.end(at("2026-11-21 14:00")) is None
    assert span.end(m.Now(now.mono + 4 * HOUR, at("2020-01-01 00:00").wall)) is None


def test_the_clock_jumps_out_of_a_window_and_into_one() -> None:
    """Forward over the end and back into it: what the clock on the wall shows counts."""
    device = world("Sat 08:00-18:00 Europe/Berlin", server=silent)
    device.settle()
    set_clock(device, "2026-11-21 19:00")
    assert device.engine.condition(device.now).downtime is None
    assert device.engine.due is not None
    assert device.engine.due - device.now.mono <= SPREAD, "it does not wait for what was the end"
    attempt(device)
    set_clock(device, "2026-11-21 17:00")
    assert device.engine.condition(device.now).downtime == at("2026-11-21 18:00").wall
    asked = len(device.asked)
    attempt(device)
    assert len(device.asked) == asked + 1
    assert device.now.wall >= at("2026-11-21 18:00").wall


def test_a_suspend_over_the_end() -> None:
    """A device that sleeps over the end asks within two minutes of waking; one that wakes inside waits on."""
    device = world("Sat 08:00-18:00 Europe/Berlin")
    device.settle()
    for hours, inside in ((3, True), (5, False)):
        device.now = m.Now(device.now.mono, device.now.wall + hours * HOUR)
        device.tell(m.Slept(hours * HOUR))
        device.settle()
        assert device.asked == []
        assert (device.engine.condition(device.now).downtime is not None) is inside
    assert device.engine.due is not None
    assert device.engine.due - device.now.mono <= SPREAD


def test_a_restart_inside_goes_on_waiting() -> None:
    """The state of before, and the end of the window, not that of a wait that was shorter."""
    device = world("Sat 12:05-18:00 Europe/Berlin", server=lambda *_: answer(202))
    device.settle()
    device.pass_time(600.0)
    device.tell(m.Due())
    device.settle()
    device.restart_with_memory()
    asked = len(device.asked)
    condition = device.engine.condition(device.now)
    assert condition.state is State.PENDING_APPROVAL
    assert condition.connection is Connection.DOWNTIME
    assert condition.next_attempt_at is not None
    assert condition.next_attempt_at >= at("2026-11-21 18:00").wall
    attempt(device)
    assert device.now.wall >= at("2026-11-21 18:00").wall
    assert len(device.asked) == asked + 1


@pytest.mark.parametrize(
    ("texts", "now", "until"),
    [
        (["Sun 01:00-04:00 Europe/Berlin"], "2026-03-29 01:30", "2026-03-29 04:00"),  # an hour that is not
        (["Sun 01:00-02:30 Europe/Berlin"], "2026-03-29 01:30", "2026-03-29 03:30"),
        (["Sun 02:15-02:45 Europe/Berlin"], "2026-10-25 02:20", "2026-10-25 02:45"),  # an hour that comes twice
        (["22:00-06:00 Europe/Berlin"], "2026-12-31 23:59", "2027-01-01 06:00"),
        (["2026-12-24 to 2027-01-01 Europe/Berlin"], "2026-12-31 23:59", "2027-01-02 00:00"),
        (["2026-12-01 to 2027-03-01 Europe/Berlin"], "2026-12-02 00:00", "2027-03-02 00:00"),
        (["Sat 08:00-18:00 Europe/Berlin", "Sat 18:00-19:00 Europe/Berlin"], "2026-11-21 12:00", "2026-11-21 19:00"),
        (["12:00-13:00 UTC"], "2026-11-21 13:30", "2026-11-21 14:00"),
    ],
)
def test_ends(texts: list[str], now: str, until: str) -> None:
    """Over changes of summer time, the end of a year, and windows that touch, the end is where a clock shows it."""
    found = gate(*texts).look(at(now)).until
    assert found is not None
    assert datetime.fromtimestamp(found, BERLIN).isoformat(" ", "minutes")[:16] == until


def test_the_operators_own_and_a_window_are_one() -> None:
    """A window that begins before the operator's ends, and one after that, make one downtime."""
    own = Span(1_000.0 + 2 * HOUR)
    found = gate("Sat 13:30-15:00 Europe/Berlin", "Sat 10:00-11:00 Europe/Berlin", span=own).look(
        at("2026-11-21 12:00")
    )
    assert found.until == at("2026-11-21 15:00").wall
    found = gate("Sat 10:00-13:00 Europe/Berlin", "Sat 14:00-15:00 Europe/Berlin", span=own).look(
        at("2026-11-21 12:00")
    )
    assert found.until == at("2026-11-21 15:00").wall


def test_without_an_end() -> None:
    """A window that never ends is looked at again, and said to last; so does one that the operator's runs into."""
    always = gate("00:00-24:00 Europe/Berlin")
    now = at("2026-11-21 12:00")
    found = always.look(now)
    assert (found.until, found.lasting) == (now.wall + LONGEST, True)
    assert replace(always, span=Span(now.mono + HOUR)).look(now).lasting
    device = world("00:00-24:00 Europe/Berlin")
    device.settle()
    assert device.engine.condition(device.now).detail == "until further notice"
    for _ in range(10):
        device.until_due()
    assert device.asked == []
    assert device.engine.condition(device.now).downtime is not None


def test_looked_at_seldom() -> None:
    """Windows are worked out where they change, not at every event; a clock that is set is noticed."""
    looks = 0

    class Counted(Gate):
        def look(self, now: m.Now) -> Any:
            nonlocal looks
            looks += 1
            return super().look(now)

    counted = Counted((windows.parse("Sat 08:00-18:00 Europe/Berlin"),))
    watch, now = Watch(), at("2026-11-21 12:00")
    for second in range(1_000):
        watch.look(counted, m.Now(now.mono + second, now.wall + second))
    assert looks == 1
    assert watch.look(counted, at("2026-11-21 19:00")).until is None
    assert watch.look(counted, at("2026-11-21 18:00", 1_000.0 + 6 * HOUR)).until is None
    assert looks >= 2


class Checked(World):
    """A world that sees every request begun."""

    def tell(self, event: m.Event) -> None:
        """Give the engine an event; what it asks for is not asked in a downtime."""
        commands = self.engine.handle(event, self.now)
        for command in commands:
            if isinstance(command, m.Send | m.RecordIntent):
                assert self.engine.rules.gate.look(self.now).until is None, "asked in a downtime"
        self.queue += commands


WINDOWS = st.builds(
    lambda day, start, length, zone: windows.parse(
        f"{day} {start // 60:02}:{start % 60:02}-{(start + length) % 1440 // 60:02}:{(start + length) % 60:02} {zone}"
    ),
    st.sampled_from(["Mon", "Wed-Thu", "Fri-Sun"]),
    st.integers(0, 1439),
    st.integers(1, 1439),
    st.sampled_from(["Europe/Berlin", "America/Santiago", "UTC", ""]),
)


class Scheduled(Device):
    """The same device with downtimes, planned ones and an operator's."""

    of = Checked

    planned: tuple[windows.Window, ...] = ()
    own: float | None = None

    def govern(self) -> None:
        """Have the engine go by what holds now, as the daemon does."""
        span = None if self.own is None else Span(self.own)
        rules = replace(self.world.policy, gate=Gate(self.planned, span))
        self.world.policy = self.world.engine.rules = rules

    @rule(hours=st.floats(0.02, 720))
    def operator_starts(self, hours: float) -> None:
        """`margod downtime start`."""
        self.own = self.world.now.mono + hours * HOUR
        self.govern()
        self.world.tell(m.Woken(m.Cause.CLOCK))

    @rule()
    def operator_stops(self) -> None:
        """`margod downtime stop`."""
        self.own = None
        self.govern()
        self.world.tell(m.Woken(m.Cause.OPERATOR))

    @rule(found=st.lists(WINDOWS, min_size=1, max_size=2))
    def other_windows(self, found: list[windows.Window]) -> None:
        """Reload another configuration."""
        self.planned = tuple(found)
        self.govern()
        self.world.tell(m.Reread())

    @rule(hours=st.integers(-200, 200))
    def clock_is_set(self, hours: int) -> None:
        """Set the wall clock by hours, over a window or into one, and tell of it as the daemon does."""
        now = self.world.now
        self.world.now = m.Now(now.mono, now.wall + hours * HOUR)
        self.world.tell(m.Reread())
        self.world.tell(m.Woken(m.Cause.CLOCK))

    @invariant()
    def waits_are_bounded(self) -> None:
        """No wait is longer than a day or the downtime, and the jitter after it."""
        engine, now = self.world.engine, self.world.now
        until = engine.condition(now).downtime
        longest = 86_520.0 + (31 * DAY if until is not None else 0.0)
        assert engine.attempt_due is None or engine.attempt_due - now.mono <= longest

    def teardown(self) -> None:
        """Whatever happened: with nothing in the way any more the device is enrolled after the last window."""
        if not hasattr(self, "world"):
            return
        world = self.world
        self.said, world.disk_full, world.obstacle = None, False, None
        world.settle()
        world.tell(m.Reread())
        world.settle()
        for _ in range(400):
            if world.condition()[0] is State.ENROLLED:
                return
            world.until_due()
        raise AssertionError(f"never enrolled: {world.engine.condition(world.now)}")


TestScheduled = Scheduled.TestCase
TestScheduled.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
