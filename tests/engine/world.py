"""A world for the engine without disk, network or clock: what is durable, a WFM that answers, time that is set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from margod.engine import messages as m
from margod.engine.enrolment import Enrolment
from margod.engine.policy import Policy
from margod.model.capabilities import Capabilities
from margod.model.outcome import Kind, Step
from margod.model.state import State
from margod.model.wire import Answer, Request, TransportFailure
from margod.protocols import Context, Generation
from margod.protocols.signed import Dialect, Signed
from margod.vault import Entry, ledger

Server = Callable[[Step, Request], Answer | TransportFailure]
DEVICE = Capabilities(None, "Vendor", "Model", "SN-1")


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    """Return an answer as the HTTP client would."""
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, 1_000_000.0)


def accepting(step: Step, request: Request) -> Answer:
    """Answer as a WFM that accepts everything at once."""
    if step is Step.CONFIRM:
        return answer(200, b'{"manifestVersion": 1, "bundle": null, "deployments": []}')
    return answer(201, b'{"clientId": "client-1"}') if step is Step.ENROL else answer(200)


@dataclass
class World:
    """One device and one WFM. `settle` lets things happen until the engine waits for time to pass."""

    server: Server = accepting
    generation: Generation = field(default_factory=lambda: Signed(Dialect()))
    policy: Policy = field(default_factory=Policy)
    seed: int = 1
    obstacle: m.Obstacle | None = None
    trusted: bool = True
    can_reissue: bool = True
    disk_full: bool = False
    former: bool = False
    remembered: m.Memory | None = None
    capabilities: Capabilities = DEVICE
    now: m.Now = field(default_factory=lambda: m.Now(100.0, 1_000_000.0))
    records: dict[str, bytes] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    certificate: int = 0
    asked: list[tuple[Step, str, Request]] = field(default_factory=list)
    notes: list[m.Note] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start the first process."""
        self.start()

    def start(self) -> None:
        """Start the process (again): only what is durable is known."""
        self.engine = Enrolment(self.policy, Random(self.seed), self.now)
        self.queue: list[m.Command] = [m.Examine()]

    def settle(self) -> None:
        """Carry out commands until none is left."""
        for _ in range(100):
            if not self.queue:
                return
            event = self.perform(self.queue.pop(0))
            if event is not None:
                self.tell(event)
        raise AssertionError("the engine does not come to rest")

    def tell(self, event: m.Event) -> None:
        """Give the engine an event."""
        self.queue += self.engine.handle(event, self.now)

    def pass_time(self, seconds: float) -> None:
        """Let both clocks run on."""
        self.now = m.Now(self.now.mono + seconds, self.now.wall + seconds)

    def until_due(self) -> float:
        """Let time run to the next attempt, make it, and return how long that was."""
        assert self.engine.due is not None
        wait = max(0.0, self.engine.due - self.now.mono)
        self.pass_time(wait)
        self.tell(m.Due())
        self.settle()
        return wait

    def condition(self) -> tuple[State, str]:
        """Return state and reason code."""
        condition = self.engine.condition(self.now)
        return condition.state, condition.reason.code

    def examined(self) -> m.Examined:
        """Return what a look at configuration and vault would say."""
        _, form = self.generation.reported(self.records)
        history = ledger.summarise(self.records, self.entries, self.certificate > 0)
        if form:
            history = replace(history, form={**history.form, Step.REPORT: form})
        if self.remembered is not None:
            history = replace(history, memory=self.remembered)
        return m.Examined(self.facts(), history)

    def facts(self) -> m.Facts:
        """Return what is so."""
        context = self.context()
        return m.Facts(
            obstacle=self.obstacle,
            binding=f"certificate-{self.certificate}",
            trusted=self.trusted,
            enrols=self.generation.enrols,
            enrolled=self.generation.client_id(context.records) is not None,
            reported=self.generation.reported(self.records)[0],
            report=self.generation.report_digest(context),
            can_reissue=self.can_reissue,
            former=self.former,
            forms={step: self.generation.forms(step) for step in Step},
        )

    def durable(self) -> dict[str, bytes]:
        """Return the vault's view: the generation with the log's accepted answers over it."""
        view = dict(self.records)
        for entry in self.entries:
            view.update(entry.records)
        return view

    def context(self) -> Context:
        """Return what requests are built from."""
        return Context(b"DER", self.durable(), self.capabilities)

    def perform(self, command: m.Command) -> m.Event | None:
        """Carry out one command as the shell would."""
        match command:
            case m.Note():
                self.notes.append(command)
                return None
            case m.Examine():
                return self.examined()
            case m.RecordIntent():
                if self.disk_full:
                    return m.RecordFailed("No space left on device")
                self.entries.append(ledger.intent(command, self.facts().key, self.now.wall))
                return m.Recorded()
            case m.RecordAnswer():
                if not self.disk_full:
                    self.entries.append(ledger.answer(command))
                return None
            case m.Send():
                return self.send(command)
            case m.Keep():
                return self.keep(command)
            case m.Reissue():
                if self.disk_full:
                    return m.KeepFailed("No space left on device")
                self.certificate += 1
                self.entries.clear()
                self.records.pop(ledger.LEDGER, None)
                return self.examined()

    def send(self, command: m.Send) -> m.Done:
        """Ask the WFM."""
        context, former = self.context(), {"enrolment.json": b'{"clientId": "former-1"}'}
        tries_former = command.step is Step.CONFIRM and self.former
        if tries_former:
            context = replace(context, records={**context.records, **former})
        request = self.generation.request(command.step, command.form, context)
        self.asked.append((command.step, command.form, request))
        result = self.server(command.step, request)
        outcome = self.generation.outcome(command.step, command.form, context, result)
        if tries_former and outcome.kind is Kind.ACCEPTED:
            outcome = replace(outcome, records=former)
        return m.Done(command.step, outcome)

    def keep(self, command: m.Keep) -> m.Event:
        """Make records durable."""
        if self.disk_full:
            return m.KeepFailed("No space left on device")
        if command.step is Step.ENROL:
            self.entries.append(ledger.accepted(command.records, self.now.wall))
        else:
            folded = ledger.fold(self.examined().history)
            self.records = {**self.durable(), **command.records, ledger.LEDGER: folded}
            self.entries.clear()
            self.former = self.former and command.step is not Step.CONFIRM
            self.trusted = self.trusted or command.step is Step.FETCH_TRUST
        return m.Kept()

    def restart_with_memory(self, at: m.Now | None = None, *, told: m.Event | None = None) -> None:
        """Stop in good order and start again: what runtime.json holds is known as well. `told`: before it looks."""
        memory = self.engine.memory(self.now)
        assert memory is not None
        self.remembered = ledger.from_text(ledger.to_text(memory))
        self.now = at or self.now
        self.start()
        if told is not None:
            self.tell(told)
        self.settle()

    def enrolments(self) -> int:
        """Return how many enrolment requests were sent."""
        return sum(step is Step.ENROL for step, _, _ in self.asked)
