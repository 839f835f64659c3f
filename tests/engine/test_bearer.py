"""The life of a bearer token, in time that is handed in."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from margod.engine.bearer import UNKNOWN_LIFE, Ask, Bearer, Command, Give, TurnAway, lifetime
from margod.engine.policy import CALLS, DAY, REJECTED
from margod.model import reasons
from margod.model.bearer import Grant
from margod.model.outcome import Kind, Outcome

HOME, AWAY = "https://wfm.example c-1", "https://other.example c-1"
REFUSED = Outcome(Kind.FORBIDDEN, reasons.CLIENT_REFUSED)
NOBODY = Outcome(Kind.UNREACHABLE, reasons.CONNECT_REFUSED)
BUSY = Outcome(Kind.BUSY, reasons.WFM_BUSY)


def bearer() -> Bearer:
    """Return one without a token."""
    return Bearer(Random(1))


def holding(life: float | None = 3600.0) -> Bearer:
    """Return one that was given `t-1` at 0 s."""
    machine = bearer()
    machine.wanted(0, "poll", HOME, 0.0)
    machine.granted(1, Grant("t-1", life))
    return machine


def given(commands: list[Command]) -> list[str]:
    """Return the tokens that are handed out."""
    return [each.grant.value for each in commands if isinstance(each, Give)]


def asked(commands: list[Command]) -> int:
    """Return how many requests for a token these commands are."""
    return sum(isinstance(each, Ask) for each in commands)


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        (3600.0, 3600.0),
        (5.0, 5.0),
        (0.2, 1.0),
        (1e12, DAY),
        (float("inf"), DAY),
        (None, UNKNOWN_LIFE),
        (0.0, UNKNOWN_LIFE),
        (-1.0, UNKNOWN_LIFE),
        (float("nan"), UNKNOWN_LIFE),
    ],
)
def test_absurd_lifetimes_are_bounded(said: float | None, taken: float) -> None:
    """What can be is believed; a token is never used for ever, and never renewed at every call."""
    assert lifetime(said) == taken


def test_many_who_wait_are_one_request() -> None:
    """A hundred calls, one renewal, and each gets the token of it."""
    machine = bearer()
    commands = [each for caller in range(100) for each in machine.wanted(caller, f"lane{caller % 4}", HOME, 0.0)]
    assert commands == [Ask(1, HOME)]
    got = machine.granted(1, Grant("t-1", 60.0))
    assert [each.caller for each in got if isinstance(each, Give)] == list(range(100))
    assert given(got) == ["t-1"] * 100


def test_renewed_ahead_while_the_old_one_goes_on() -> None:
    """A minute before its end the token is still given, and one request is made for the next."""
    machine = holding()
    assert machine.wanted(1, "poll", HOME, 3539.0) == [Give(1, Grant("t-1", 3600.0), 1, HOME)]
    late = machine.wanted(2, "poll", HOME, 3541.0)
    assert (given(late), asked(late)) == (["t-1"], 1)
    again = machine.wanted(3, "status", HOME, 3542.0)
    assert (given(again), asked(again)) == (["t-1"], 0)
    machine.granted(2, Grant("t-2", 3600.0))
    assert given(machine.wanted(4, "poll", HOME, 3544.0)) == ["t-2"]


def test_an_ended_one_is_not_given() -> None:
    """From its last second on, by the time when it was asked for."""
    machine = holding(10.0)
    assert given(machine.wanted(1, "poll", HOME, 9.9)) == ["t-1"]
    ended = holding(10.0).wanted(1, "poll", HOME, 10.0)
    assert (given(ended), asked(ended)) == ([], 1)


def test_a_renewal_that_fails_leaves_the_old_one() -> None:
    """Until its end it is given; nothing more is asked for before the schedule's time."""
    machine = holding()
    machine.wanted(1, "poll", HOME, 3550.0)
    assert machine.denied(2, BUSY, 3551.0) == []
    assert machine.wanted(2, "poll", HOME, 3552.0) == [Give(2, Grant("t-1", 3600.0), 1, HOME)]
    ended = machine.wanted(3, "poll", HOME, 3600.0)
    assert [type(each) for each in ended] in ([TurnAway], [Ask])


def test_invalid_client_is_no_storm() -> None:
    """A call a second for a day, to an endpoint that refuses: the requests are those of the schedule, some thirty."""
    machine, requests, number = bearer(), 0, 0
    for second in range(86_400):
        for command in machine.wanted(second, "poll", HOME, float(second)):
            if isinstance(command, Ask):
                requests, number = requests + 1, command.number
                turned = machine.denied(number, REFUSED, float(second))
                assert turned == [TurnAway(second, REFUSED, turned[0].until)] if isinstance(turned[0], TurnAway) else 0
    assert 24 <= requests <= 24 * 3600 / (REJECTED.cap * REJECTED.floor) + 10
    assert requests < 100


def test_nobody_there_is_waited_for_by_the_lanes() -> None:
    """Without a token the next call asks again, whenever it comes; while one holds, not every call does."""
    machine = bearer()
    machine.wanted(1, "poll", HOME, 0.0)
    machine.denied(1, NOBODY, 0.0)
    assert asked(machine.wanted(2, "status", HOME, 1.0)) == 1
    machine = holding()
    machine.wanted(1, "poll", HOME, 3550.0)
    machine.denied(2, NOBODY, 3550.0)
    assert asked(machine.wanted(2, "poll", HOME, 3550.5)) == 0
    assert asked(machine.wanted(3, "poll", HOME, 3601.0)) == 1


def test_a_retry_after_is_obeyed() -> None:
    """Nothing is asked before it, not even for a person; after it, soon."""
    machine = bearer()
    machine.wanted(1, "poll", HOME, 0.0)
    machine.denied(1, Outcome(Kind.BUSY, reasons.WFM_BUSY, retry_after=1000.0), 0.0)
    machine.retry(1.0)
    assert asked(machine.wanted(2, "poll", HOME, 999.0)) == 0
    assert asked(machine.wanted(3, "poll", HOME, 1001.0)) == 1


def test_a_person_ends_the_wait() -> None:
    """After `margod retry` the next call asks at once."""
    machine = bearer()
    machine.wanted(1, "poll", HOME, 0.0)
    machine.denied(1, REFUSED, 0.0)
    assert asked(machine.wanted(2, "poll", HOME, 1.0)) == 0
    machine.retry(1.0)
    assert asked(machine.wanted(3, "poll", HOME, 1.0)) == 1


def test_a_401_renews_once_and_then_is_refused() -> None:
    """The second 401 in a row turns the lane away; the next attempt is the schedule's and costs one token."""
    machine = holding()
    first = machine.spurned(1, "poll", 1, HOME, 10.0)
    assert (given(first), asked(first)) == ([], 1)
    assert given(machine.granted(2, Grant("t-2"))) == ["t-2"]
    (second,) = machine.spurned(1, "poll", 2, HOME, 12.0)
    assert isinstance(second, TurnAway)
    assert (second.outcome.kind, second.outcome.reason) == (Kind.UNAUTHORIZED, reasons.BEARER_TOKEN_REFUSED)
    assert 12.0 < second.until <= 12.0 + REJECTED.first
    assert machine.wanted(2, "poll", HOME, 12.5) == [TurnAway(2, second.outcome, second.until)]
    later = machine.wanted(3, "poll", HOME, second.until)
    assert (given(later), asked(later)) == ([], 1)


def test_one_lane_that_is_refused_does_not_stop_another() -> None:
    """A 401 on one route is no 401 on the others: they go on with the token that they are answered with."""
    machine = holding()
    machine.spurned(1, "status", 1, HOME, 10.0)
    machine.granted(2, Grant("t-2", 3600.0))
    machine.borne("poll", 2)
    machine.spurned(1, "status", 2, HOME, 11.0)
    assert given(machine.wanted(2, "poll", HOME, 12.0)) == ["t-2"]


def test_many_401_of_one_token_are_one_renewal() -> None:
    """Calls that were under way with the same token say the same thing once."""
    machine = holding()
    commands = [each for caller in range(5) for each in machine.spurned(caller, "poll", 1, HOME, 10.0)]
    assert asked(commands) == 1
    assert given(machine.granted(2, Grant("t-2", 60.0))) == ["t-2"] * 5


def test_a_call_that_is_answered_forgives() -> None:
    """After it a 401 renews once again."""
    machine = holding()
    machine.spurned(1, "poll", 1, HOME, 10.0)
    machine.granted(2, Grant("t-2", 3600.0))
    machine.borne("poll", 2)
    assert asked(machine.spurned(2, "poll", 2, HOME, 20.0)) == 1


def test_an_old_answer_forgives_nothing() -> None:
    """A slow call with the token before says nothing of the present one."""
    machine = holding()
    machine.spurned(1, "poll", 1, HOME, 10.0)
    machine.granted(2, Grant("t-2", 3600.0))
    machine.borne("poll", 1)
    assert isinstance(machine.spurned(1, "poll", 2, HOME, 11.0)[0], TurnAway)


def test_a_suspend_is_time() -> None:
    """A token does not outlive a night with the lid closed."""
    machine = holding()
    machine.slept(3600.0, 20.0)
    assert asked(machine.wanted(1, "poll", HOME, 20.0)) == 1


def test_a_token_never_goes_to_another_place() -> None:
    """Moving forgets it, also the one that is still under way, and turns away who waited at the old place."""
    machine = holding()
    assert machine.wanted(1, "poll", AWAY, 1.0) == [Ask(2, AWAY)]
    machine = bearer()
    machine.wanted(1, "poll", HOME, 0.0)
    moved = machine.wanted(2, "poll", AWAY, 1.0)
    assert isinstance(moved[0], TurnAway)
    assert moved[0].caller == 1
    assert machine.granted(1, Grant("of home")) == []
    assert given(machine.granted(2, Grant("of away"))) == ["of away"]


def test_who_is_gone_gets_nothing() -> None:
    """And the token is there for the next."""
    machine = bearer()
    machine.wanted(1, "poll", HOME, 0.0)
    machine.gone(1)
    assert machine.granted(1, Grant("t-1", 60.0)) == []
    assert given(machine.wanted(2, "poll", HOME, 2.0)) == ["t-1"]


class Life(RuleBasedStateMachine):
    """Any order of events: one request at a time, nobody forgotten, no token too long or at a wrong place, no storm."""

    def __init__(self) -> None:
        super().__init__()
        self.machine, self.mono, self.caller = Bearer(Random(7)), 0.0, 0
        self.asking: Ask | None = None
        self.waiting: set[int] = set()
        self.ends: dict[str, tuple[float, str]] = {}
        self.place, self.serial = HOME, 0
        self.asked_at: list[float] = []
        self.quiet = 0.0

    def take(self, commands: list[Command]) -> None:
        """Check and remember what is to be done."""
        for command in commands:
            match command:
                case Ask():
                    assert self.asking is None or self.asking.place != command.place, "two requests at once"
                    assert command.place == self.place
                    assert self.mono >= self.quiet, "asked before its time"
                    self.asking = command
                    self.asked_at.append(self.mono)
                case Give():
                    self.waiting.discard(command.caller)
                    ends, place = self.ends[command.grant.value]
                    assert place == command.place == self.place
                    assert self.mono <= ends
                    self.serial = command.serial
                case TurnAway():
                    self.waiting.discard(command.caller)

    @rule(lane=st.sampled_from(["poll", "status"]))
    def want(self, lane: str) -> None:
        self.caller += 1
        self.waiting.add(self.caller)
        self.take(self.machine.wanted(self.caller, lane, self.place, self.mono))

    @precondition(lambda self: self.asking is not None)
    @rule(life=st.sampled_from([None, -1.0, 0.0, 5.0, 600.0, 1e12, float("nan")]))
    def grant(self, life: float | None) -> None:
        assert self.asking is not None
        asking, self.asking = self.asking, None
        value = f"t-{asking.number}-{asking.place}"
        self.ends[value] = (self.mono + DAY, asking.place)
        self.quiet = 0.0
        self.take(self.machine.granted(asking.number, Grant(value, life)))

    @precondition(lambda self: self.asking is not None)
    @rule(
        kind=st.sampled_from([kind for kind in Kind if kind is not Kind.ACCEPTED]), after=st.sampled_from([None, 50.0])
    )
    def deny(self, kind: Kind, after: float | None) -> None:
        assert self.asking is not None
        asking, self.asking = self.asking, None
        outcome = Outcome(kind, reasons.WFM_ERROR, retry_after=after)
        self.take(self.machine.denied(asking.number, outcome, self.mono))
        own = 0.0 if kind is Kind.UNREACHABLE else CALLS.first * CALLS.floor
        self.quiet = self.mono + max(own, after or 0.0)

    @rule(lane=st.sampled_from(["poll", "status"]), back=st.integers(0, 2))
    def spurn(self, lane: str, back: int) -> None:
        self.caller += 1
        self.waiting.add(self.caller)
        self.take(self.machine.spurned(self.caller, lane, max(0, self.serial - back), self.place, self.mono))

    @rule(lane=st.sampled_from(["poll", "status"]))
    def answer(self, lane: str) -> None:
        self.machine.borne(lane, self.serial)

    @rule(seconds=st.sampled_from([0.5, 5.0, 100.0, 7200.0]))
    def time(self, seconds: float) -> None:
        self.mono += seconds

    @rule(seconds=st.sampled_from([1.0, 100.0, 50_000.0]))
    def sleep(self, seconds: float) -> None:
        self.machine.slept(seconds, self.mono)
        self.quiet = 0.0  # what fell due meanwhile is spread over a minute

    @rule()
    def move(self) -> None:
        self.place = AWAY if self.place == HOME else HOME
        self.asking, self.quiet = None, 0.0
        self.want("poll")

    @rule()
    def leave(self) -> None:
        for caller in sorted(self.waiting)[:1]:
            self.machine.gone(caller)
            self.waiting.discard(caller)

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        assert not self.waiting or self.asking is not None


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
