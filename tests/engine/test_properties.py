"""Driven as a state machine: no order of events loses an enrolment, asks twice, loops, or leaves nothing to happen."""

from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from margod.engine import messages as m
from margod.engine.policy import Policy
from margod.model import reasons
from margod.model.capabilities import Capabilities
from margod.model.outcome import Kind, Outcome, Step
from margod.model.state import State
from margod.model.wire import Answer, TransportFailure
from tests.engine.world import World, accepting, answer

ENROLLED = (State.ONBOARDED, State.ENROLLED, State.REFUSED)
RESULTS = st.sampled_from(
    [
        *[answer(s) for s in (202, 204, 302, 400, 401, 403, 404, 409, 415, 418, 422, 429, 500, 503)],
        answer(200, b"<html>"),
        answer(503, retry_after="30"),
        answer(429, retry_after="100000000"),
        answer(400, b'{"error": "public_certificate missing"}'),
        answer(404, b'{"error": "no such client"}'),
        TransportFailure(reasons.TIMED_OUT, "", sent=True),
        TransportFailure(reasons.DNS_FAILED, "", sent=False),
        TransportFailure(reasons.TLS_UNKNOWN_ISSUER, "", sent=False),
        None,
        None,
    ]
)


class Device(RuleBasedStateMachine):
    """One device, its disk, and a WFM that may say anything; commands are carried out whenever it pleases the rules."""

    of: type[World] = World

    @initialize(seed=st.integers(0, 2**32), trusted=st.booleans(), former=st.booleans())
    def begin(self, seed: int, trusted: bool, former: bool) -> None:
        """Make a device that knows nothing."""
        upkeep = {Step.CONFIRM: 40_000.0, Step.REFRESH_TRUST: 80_000.0}
        self.world = self.of(trusted=trusted, seed=seed, policy=Policy(upkeep=upkeep), former=former)
        self.said: Answer | TransportFailure | None = None
        self.world.server = lambda step, request: self.said or accepting(step, request)
        self.accepted = False
        self.intents = 0
        self.sent_at: list[float] = []
        self.random = Random(seed)

    def carry_out(self, command: m.Command) -> None:
        """Carry one command out and check what must hold when it is a request."""
        world = self.world
        if isinstance(command, m.Send) and command.step is Step.ENROL:
            assert world.generation.client_id(world.durable()) is None, "asked while a record is stored"
            assert any(entry.kind == "intent" for entry in world.entries), "asked without a durable intent"
            assert world.entries[-1].kind == "intent", "asked without an intent of its own"
        if isinstance(command, m.Send):
            self.sent_at.append(world.now.mono)
        if isinstance(command, m.RecordIntent):
            self.intents += 1
        event = world.perform(command)
        if isinstance(event, m.Kept) and isinstance(command, m.Keep) and command.step is Step.ENROL:
            self.accepted = True
        if event is not None:
            world.tell(event)

    @precondition(lambda self: self.world.queue)
    @rule(said=RESULTS)
    def next_command(self, said: Answer | TransportFailure | None) -> None:
        """Carry out the oldest command."""
        self.said = said
        self.carry_out(self.world.queue.pop(0))

    @precondition(lambda self: self.world.engine.due is not None)
    @rule()
    def due(self) -> None:
        """Let time run to the next attempt."""
        world = self.world
        assert world.engine.due is not None
        world.pass_time(max(0.0, world.engine.due - world.now.mono))
        world.tell(m.Due())

    @rule(seconds=st.floats(0, 100_000))
    def time_passes(self, seconds: float) -> None:
        """Let time pass without a word."""
        self.world.pass_time(seconds)

    @rule(years=st.integers(-30, 30))
    def clock_jumps(self, years: int) -> None:
        """Set the wall clock."""
        now = self.world.now
        self.world.now = m.Now(now.mono, now.wall + years * 365.0 * 86_400)

    @rule(seconds=st.floats(5, 100_000))
    def suspend(self, seconds: float) -> None:
        """Sleep: the wall clock goes on, the monotonic one does not."""
        now = self.world.now
        self.world.now = m.Now(now.mono, now.wall + seconds)
        self.sent_at = [at - seconds for at in self.sent_at]
        self.world.tell(m.Slept(seconds))

    @rule()
    def power_cut(self) -> None:
        """Lose everything that is not durable."""
        self.world.start()

    @rule()
    def reload(self) -> None:
        """Read the configuration again, at any moment."""
        self.world.tell(self.world.examined())

    @rule()
    def reread(self) -> None:
        """Ask for a look, at any moment."""
        self.world.tell(m.Reread())

    @rule(cause=st.sampled_from(list(m.Cause)))
    def wake(self, cause: m.Cause) -> None:
        """Ask for an early attempt."""
        self.world.tell(m.Woken(cause))

    @rule(kind=st.sampled_from(list(Kind)), wait=st.floats(0, 86_400))
    def another_lane_hears(self, kind: Kind, wait: float) -> None:
        """Tell what came of another lane's request, whatever the engine is at."""
        self.world.tell(m.Heard(Outcome(kind, reasons.CLIENT_UNKNOWN), wait))

    @rule(stray=st.sampled_from([m.Due(), m.Recorded(), m.RecordFailed("x"), m.Kept(), m.KeepFailed("x")]))
    def early_or_late(self, stray: m.Event) -> None:
        """Tell the engine that the timer fired although it did not; other answers nobody waits for are dropped."""
        idle = not self.world.queue and self.world.engine.due is not None
        if isinstance(stray, m.Due) or idle:
            self.world.tell(stray)

    @rule(on=st.booleans())
    def disk(self, on: bool) -> None:
        """Fill or empty the disk."""
        self.world.disk_full = on

    @rule(on=st.booleans())
    def obstacle(self, on: bool) -> None:
        """Break or mend something on the device."""
        self.world.obstacle = m.Obstacle(State.UNTRUSTED, reasons.NO_ANCHOR) if on else None

    @rule(serial=st.sampled_from(["SN-1", "SN-2"]))
    def other_capabilities(self, serial: str) -> None:
        """Change what the device can do."""
        self.world.capabilities = Capabilities(None, "Vendor", "Model", serial)

    @invariant()
    def something_is_next(self) -> None:
        """There is a time, a command under way, or nothing left to do."""
        engine, world = self.world.engine, self.world
        assert engine.due is not None or world.queue or world.condition()[0] is State.ENROLLED

    @invariant()
    def nothing_is_lost(self) -> None:
        """An enrolment record that was kept stays, and no state denies it once the vault was read."""
        if self.accepted:
            assert self.world.generation.client_id(self.world.durable()) in ("client-1", "former-1")
            state = self.world.condition()[0]
            assert state in (*ENROLLED, State.STARTING, State.UNTRUSTED, State.ONBOARDING) or self.world.queue

    @invariant()
    def no_storm(self) -> None:
        """Between two restarts or wakes a second sees a handful of requests at most: three steps, their forms."""
        recent = [at for at in self.sent_at if at > self.world.now.mono - 1.0]
        assert len(recent) <= 40

    @invariant()
    def waits_are_bounded(self) -> None:
        """No wait is longer than a day and its jitter."""
        engine, now = self.world.engine, self.world.now
        assert engine.due is None or engine.due - now.mono <= 86_520.0


TestDevice = Device.TestCase
TestDevice.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
