"""When desired state is asked for: rate and jitter, hours, failures, what ends a wait early, time that jumps."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from margod.engine.messages import Cause, Due, Now, Slept, Woken
from margod.engine.policy import CALLS, SPREAD, WAKE_INTERVAL
from margod.engine.polling import JITTER, Allowed, Event, Forbidden, Polled, Polling, Ruled, Rules
from margod.model import reasons, windows
from margod.model.outcome import Kind, Outcome
from margod.model.windows import parse

FINE = Outcome(Kind.ACCEPTED, reasons.ENROLLED)
DOWN = Outcome(Kind.UNREACHABLE, reasons.TIMED_OUT)
WRONG = Outcome(Kind.BAD_ANSWER, reasons.ANSWER_INVALID)
NOON = 1_795_003_200.0
"""2026-11-18 (a Wednesday) 12:00 UTC."""
NIGHT = (parse("22:00-06:00 UTC"),)


class Device:
    """A machine with the time of its own."""

    def __init__(self, rules: Rules | None = None, seed: int = 1, wall: float = NOON) -> None:
        """Begin at noon."""
        self.now = Now(1_000.0, wall)
        self.polling = Polling(rules or Rules(), Random(seed))

    def tell(self, event: Event) -> bool:
        """Hand an event over."""
        return self.polling.handle(event, self.now)

    def run(self, seconds: float) -> None:
        """Let time go by on both clocks."""
        self.now = Now(self.now.mono + seconds, self.now.wall + seconds)

    def until_poll(self) -> float:
        """Let time run to the next poll; return how long that was."""
        began = self.now.mono
        for _ in range(10):
            assert self.polling.due is not None
            self.run(max(0.0, self.polling.due - self.now.mono))
            if self.tell(Due()):
                return self.now.mono - began
        raise AssertionError("never polls")


def test_at_once_then_at_the_rate() -> None:
    """A device that has just become enrolled asks at once, then every five minutes, a tenth more or less."""
    device = Device()
    assert device.polling.due is None
    device.tell(Allowed(at_once=True))
    assert device.until_poll() == 0.0
    waits = []
    for _ in range(200):
        assert not device.tell(Due())
        device.tell(Polled(FINE))
        waits.append(device.until_poll())
    assert 300 * (1 - JITTER) <= min(waits) < 275 < 325 < max(waits) <= 300 * (1 + JITTER)


def test_a_plant_whose_power_comes_back_is_spread() -> None:
    """After a restart the first poll comes within two minutes, and no second has more than two in a hundred."""
    firsts = []
    for seed in range(2_000):
        device = Device(seed=seed)
        device.tell(Allowed(at_once=False))
        firsts.append(device.until_poll())
    assert max(firsts) <= SPREAD
    assert max(sum(1 for at in firsts if s <= at < s + 1) for s in range(120)) <= 40


def test_what_was_missed_is_made_up_once() -> None:
    """A night's sleep over a hundred polls is followed by one, spread, and then the rate."""
    device = Device()
    device.tell(Allowed(at_once=True))
    device.until_poll()
    device.tell(Polled(FINE))
    device.now = Now(device.now.mono + 1, device.now.wall + 30_000)
    device.tell(Slept(29_999.0))
    assert device.until_poll() <= WAKE_INTERVAL
    device.tell(Polled(FINE))
    assert device.until_poll() >= 270


def test_within_the_hours_alone() -> None:
    """Outside its hours it waits for them, spread behind their beginning; a poll that ends late waits a day."""
    device = Device(Rules(3_600.0, NIGHT))
    device.tell(Allowed(at_once=True))
    wait = device.until_poll()
    assert 10 * 3_600 <= wait <= 10 * 3_600 + SPREAD
    for _ in range(7):
        device.tell(Polled(FINE))
        device.until_poll()
    device.run(7_200 - 120)  # a server that took its time; it is past six by now
    device.tell(Polled(FINE))
    assert device.until_poll() > 14 * 3_600
    assert windows.ends(NIGHT, device.now.wall) is not None


def test_an_hour_of_a_minute_is_not_missed() -> None:
    """The spread behind a beginning stays within hours that are short."""
    for seed in range(50):
        device = Device(Rules(300.0, (parse("13:00-13:01 UTC"),)), seed)
        device.tell(Allowed(at_once=False))
        assert 3_600 <= device.until_poll() <= 3_660


def test_a_clock_that_is_set_is_gone_by() -> None:
    """Set into the hours, it asks; set back, it waits for them; what is left of a wait at the rate stays."""
    device = Device(Rules(300.0, NIGHT))
    device.tell(Allowed(at_once=True))
    device.now = Now(device.now.mono + 5, NOON + 11 * 3_600)
    device.tell(Woken(Cause.CLOCK))
    assert device.until_poll() == 0.0
    device.tell(Polled(FINE))
    device.now = Now(device.now.mono + 5, NOON)
    assert not device.tell(Due())
    device.tell(Woken(Cause.CLOCK))
    assert 10 * 3_600 <= device.until_poll() <= 10 * 3_600 + SPREAD


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
def test_hours_keep_their_times_over_summer_time(zone: str) -> None:
    """A year of nights: every poll is in the hours, one at least in each, whatever the clocks do."""
    period = (parse(f"01:30-03:30 {zone}"),)
    device = Device(Rules(3_600.0, period))
    device.tell(Allowed(at_once=False))
    days = set()
    for _ in range(900):
        device.until_poll()
        assert windows.ends(period, device.now.wall) is not None
        days.add(int((device.now.wall - 6 * 3_600) // 86_400))
        device.tell(Polled(FINE))
    assert len(days) >= 365
    assert max(days) - min(days) + 1 == len(days)


def test_failures_back_off_and_end() -> None:
    """No network: a minute, doubling to ten; then the rate again. A refused content is asked for at the rate."""
    device = Device()
    device.tell(Allowed(at_once=True))
    device.until_poll()
    for failed in range(8):
        device.tell(Polled(DOWN))
        assert 0.1 * CALLS.window(failed) <= device.until_poll() <= CALLS.window(failed)
    device.tell(Polled(FINE))
    assert device.polling.failures == 0
    assert device.until_poll() >= 270
    device.tell(Polled(WRONG))
    assert device.until_poll() >= 270


def test_the_wfm_names_the_time() -> None:
    """Retry-After is a floor, for a person's retry too, and a person waits for no rate and no hours."""
    device = Device(Rules(300.0, NIGHT))
    device.tell(Allowed(at_once=True))
    device.tell(Woken(Cause.OPERATOR))
    assert device.until_poll() == 0.0
    device.tell(Polled(Outcome(Kind.BUSY, reasons.WFM_BUSY, retry_after=900.0)))
    device.tell(Woken(Cause.OPERATOR))
    assert 900.0 <= device.until_poll() <= 901.0
    device.tell(Polled(FINE))
    assert device.until_poll() > 9 * 3_600


def test_what_ends_a_wait_early() -> None:
    """A person at once, once a minute; another network only after a failure, spread; nothing while a poll runs."""
    device = Device()
    device.tell(Allowed(at_once=True))
    device.until_poll()
    device.tell(Woken(Cause.OPERATOR))
    assert device.polling.next_at(device.now) is None
    device.tell(Polled(FINE))
    device.tell(Woken(Cause.NETWORK))
    at = device.polling.next_at(device.now)
    assert at is not None
    assert at - device.now.wall >= 270
    device.tell(Woken(Cause.OPERATOR))
    assert device.until_poll() == 0.0
    device.tell(Polled(FINE))
    device.tell(Woken(Cause.OPERATOR))
    assert device.until_poll() == pytest.approx(WAKE_INTERVAL)
    for _ in range(5):
        device.tell(Polled(DOWN))
        device.until_poll()
    device.tell(Polled(DOWN))
    device.tell(Woken(Cause.NETWORK))
    assert device.until_poll() <= SPREAD


def test_who_asks_again_waits_no_longer() -> None:
    """A poll that a person has asked for stands: who asks for it once more puts off neither it nor the one after it."""
    device = Device()
    device.tell(Allowed(at_once=True))
    device.until_poll()
    device.tell(Polled(FINE))
    device.tell(Woken(Cause.OPERATOR))
    assert device.until_poll() == 0.0
    device.tell(Polled(FINE))
    for _ in range(5):
        device.tell(Woken(Cause.OPERATOR))
    assert device.until_poll() == pytest.approx(WAKE_INTERVAL)
    device.tell(Polled(FINE))
    device.tell(Woken(Cause.OPERATOR))
    assert device.until_poll() == pytest.approx(WAKE_INTERVAL)


def test_a_person_who_asks_before_it_may_is_not_forgotten() -> None:
    """`margod retry` right after a start, when the mirror is not open yet: at once, once, and outside the hours too."""
    for rules in (Rules(), Rules(300.0, NIGHT)):
        device = Device(rules)
        device.tell(Woken(Cause.OPERATOR))
        device.tell(Woken(Cause.NETWORK))
        device.tell(Forbidden())
        assert device.polling.next_at(device.now) is None
        device.tell(Allowed(at_once=False))
        assert device.until_poll() == 0.0
        device.tell(Polled(FINE))
        device.tell(Forbidden())
        device.tell(Allowed(at_once=False))
        assert device.polling.due is not None
        assert device.polling.due > device.now.mono


def test_off_is_off() -> None:
    """Without a rate nothing is asked for, whoever wants it; a rate that is set then is gone by at once."""
    device = Device(Rules(None))
    device.tell(Allowed(at_once=True))
    device.tell(Woken(Cause.OPERATOR))
    assert device.polling.next_at(device.now) is None
    device.tell(Ruled(Rules(60.0)))
    assert device.until_poll() == 0.0
    device.tell(Polled(FINE))
    device.tell(Ruled(Rules(10.0)))
    assert device.until_poll() <= 11.0
    device.tell(Forbidden())
    device.tell(Polled(FINE))
    assert device.polling.due is None


def test_another_enrolment_asks_at_once() -> None:
    """The answer to a poll of the enrolment before does not put off the first one of the next."""
    device = Device()
    device.tell(Allowed(at_once=False))
    device.until_poll()
    device.tell(Forbidden())
    device.tell(Allowed(at_once=True))
    assert device.polling.next_at(device.now) is None
    device.tell(Polled(FINE))
    assert device.until_poll() == 0.0


class AnyOrder(RuleBasedStateMachine):
    """Events in any order: never a poll that must not be, and always one to come where one may be."""

    @initialize(seed=st.integers(0, 2**32), rate=st.sampled_from([None, 10.0, 300.0, 86_400.0]), hours=st.booleans())
    def begin(self, seed: int, rate: float | None, hours: bool) -> None:
        """Make a device."""
        self.wanted = Rules(rate, NIGHT if hours else ())
        self.device = Device(self.wanted, seed)
        self.allowed = self.busy = self.told = self.kept = self.stale = False
        self.floor = float("-inf")
        self.polls: list[float] = []

    @rule(at_once=st.booleans())
    def allow(self, at_once: bool) -> None:
        """May ask."""
        if not self.allowed and self.kept:
            self.kept = False
            self.told = not self.busy and self.wanted.rate is not None
        self.allowed = True
        assert not self.device.tell(Allowed(at_once))

    @rule()
    def forbid(self) -> None:
        """May not."""
        self.allowed, self.told, self.stale = False, False, self.busy
        assert not self.device.tell(Forbidden())

    @rule(rate=st.sampled_from([None, 10.0, 300.0]), hours=st.booleans())
    def change(self, rate: float | None, hours: bool) -> None:
        """Other settings."""
        self.wanted = Rules(rate, NIGHT if hours else ())
        assert not self.device.tell(Ruled(self.wanted))

    @rule(cause=st.sampled_from(list(Cause)))
    def wake(self, cause: Cause) -> None:
        """Something happens."""
        self.kept = self.kept or (cause is Cause.OPERATOR and not self.allowed)
        self.told = self.told or (
            cause is Cause.OPERATOR and self.allowed and not self.busy and self.wanted.rate is not None
        )
        assert not self.device.tell(Woken(cause))

    @rule(seconds=st.floats(1, 100_000))
    def sleep(self, seconds: float) -> None:
        """Suspend."""
        now = self.device.now
        self.device.now = Now(now.mono, now.wall + seconds)
        self.floor -= seconds
        assert not self.device.tell(Slept(seconds))

    @rule(seconds=st.floats(-1e6, 1e6))
    def set_clock(self, seconds: float) -> None:
        """Set the wall clock."""
        now = self.device.now
        self.device.now = Now(now.mono, now.wall + seconds)
        assert not self.device.tell(Woken(Cause.CLOCK))

    @rule(seconds=st.floats(0, 50_000))
    def wait(self, seconds: float) -> None:
        """Let time go by, and say Due in the midst of it."""
        self.device.run(seconds)
        self.due()

    @precondition(lambda self: self.device.polling.due is not None)
    @rule()
    def come_due(self) -> None:
        """Let time run to what is due."""
        assert self.device.polling.due is not None
        self.device.run(max(0.0, self.device.polling.due - self.device.now.mono))
        self.due()

    def due(self) -> None:
        """Say Due, and look at whether a poll may be."""
        now = self.device.now
        if self.device.tell(Due()):
            assert self.allowed
            assert not self.busy
            assert self.wanted.rate is not None
            assert now.mono >= self.floor
            assert self.told or not self.wanted.period or windows.ends(self.wanted.period, now.wall) is not None
            self.busy, self.told = True, False

    @precondition(lambda self: self.busy)
    @rule(kind=st.sampled_from(list(Kind)), after=st.sampled_from([None, 0.0, 30.0, 1e9]))
    def end(self, kind: Kind, after: float | None) -> None:
        """The poll ends."""
        self.busy = False
        stale, self.stale = self.stale, False
        if kind is not Kind.ACCEPTED and after and not stale:
            self.floor = self.device.now.mono + min(after, 86_400.0)
        assert not self.device.tell(Polled(Outcome(kind, reasons.TIMED_OUT, retry_after=after)))

    @invariant()
    def there_is_a_next_one(self) -> None:
        """Where a poll may be, one is to come; where none may be, none is."""
        if hasattr(self, "device"):
            may = self.allowed and not self.busy and self.wanted.rate is not None
            assert (self.device.polling.due is not None) is may


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
