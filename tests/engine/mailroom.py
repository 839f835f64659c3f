"""A world for the outbox's machine: what is durable, a WFM that answers, time that is set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from margod.engine import delivery as d
from margod.engine import messages as m
from margod.model import reasons
from margod.model.outcome import Kind, Outcome
from margod.model.report import About, Reply

TAKEN = Reply(About.TAKEN, Outcome(Kind.ACCEPTED, reasons.ENROLLED))
UNSAID = Reply(About.UNSAID, Outcome(Kind.ACCEPTED, reasons.ENROLLED, sent=False))
REFUSED = Reply(About.REPORT, Outcome(Kind.INVALID, reasons.REPORT_REFUSED, "HTTP 422: no"))
UNSURE = Reply(About.UNSURE, Outcome(Kind.WRONG_ADDRESS, reasons.REPORT_REFUSED, "HTTP 404"))
STRANGER = Reply(About.DEVICE, Outcome(Kind.UNKNOWN, reasons.CLIENT_UNKNOWN, "HTTP 404: no such client"))
AWAY = Reply(About.MOMENT, Outcome(Kind.UNREACHABLE, reasons.CONNECT_FAILED, "nobody there"))
BUSY = Reply(About.MOMENT, Outcome(Kind.BUSY, reasons.WFM_BUSY, "HTTP 503"))
PAGE = Reply(About.UNSURE, Outcome(Kind.WRONG_ADDRESS, reasons.REPORT_REFUSED, "HTTP 404: an HTML page"), by_wfm=False)
KNOWN = Outcome(Kind.ACCEPTED, reasons.ENROLLED)


def busy_for(seconds: float) -> Reply:
    """Return a 503 with Retry-After."""
    return Reply(About.MOMENT, Outcome(Kind.BUSY, reasons.WFM_BUSY, "HTTP 503", retry_after=seconds))


@dataclass
class Report:
    """One report as the outbox keeps it."""

    number: int
    deployment_id: str
    final: bool
    at: float
    binding: str
    parked: str = ""
    overtaken: bool = False


@dataclass
class Mailroom:
    """One outbox and one WFM. `server` answers a report in a form, `confirm` whether the device is known."""

    server: Callable[[Report, str], Reply] = lambda report, form: TAKEN
    confirm: Callable[[], Outcome] = lambda: KNOWN
    supersede_after: float = 600.0
    forms: tuple[str, ...] = ("plural", "singular")
    disk_full: bool = False
    now: m.Now = field(default_factory=lambda: m.Now(100.0, 1_000_000.0))
    held: list[Report] = field(default_factory=list)
    record: list[tuple[str, int]] = field(default_factory=list)
    """What the WFM has taken: deployment and number."""
    sent: list[tuple[int, str]] = field(default_factory=list)
    told: list[Outcome] = field(default_factory=list)
    notes: list[m.Note] = field(default_factory=list)
    superseded: list[int] = field(default_factory=list)
    under_way: list[d.Command] = field(default_factory=list)
    sendable: dict[int, Report] = field(default_factory=dict)
    """What was loaded last."""
    last: int = 0
    seed: int = 1

    def __post_init__(self) -> None:
        """Start the first process."""
        self.start()

    def start(self) -> None:
        """Start a process on what is durable; the one before it was killed."""
        self.machine = d.Delivery(self.forms, self.supersede_after, Random(self.seed))
        self.under_way = []
        self.seed += 1
        self.binding = "here"
        self.tell(d.Allowed("here"))

    def put(self, deployment_id: str, *, final: bool = False) -> int:
        """Report a deployment."""
        self.last += 1
        self.held.append(Report(self.last, deployment_id, final, self.now.wall, self.binding))
        self.tell(d.Changed())
        return self.last

    def retry(self) -> None:
        """Take up again what is parked, as the store does it."""
        for report in self.held:
            if report.parked and not report.overtaken:
                report.parked = ""
        self.tell(d.Changed(anew=True))

    def drop(self, number: int) -> None:
        """Give up a report, whether it is parked or waits."""
        self.held = [report for report in self.held if report.number != number]
        self.superseded.append(number)
        self.tell(d.Changed(anew=True))
        self.tell(m.Woken(m.Cause.OPERATOR))

    def allow(self, binding: str) -> None:
        """Let reports leave in the name of this enrolment, or of none."""
        self.binding = binding or self.binding
        self.tell(d.Allowed(binding))

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with the timers that fall into it."""
        end = self.now.mono + seconds
        while (due := self.machine.due) is not None and due <= end:
            self.at(max(due, self.now.mono))
            self.tell(m.Due())
            self.settle()
        self.at(end)

    def at(self, mono: float) -> None:
        """Set the clocks."""
        self.now = m.Now(mono, self.now.wall + mono - self.now.mono)

    def tell(self, event: d.Event) -> None:
        """Give the machine an event."""
        for command in self.machine.handle(event, self.now):
            if isinstance(command, m.Note):
                self.notes.append(command)
            elif isinstance(command, d.Tell):
                self.told.append(command.outcome)
            else:
                assert not self.under_way, "one thing at a time"
                self.under_way.append(command)

    def settle(self, steps: int = 10_000) -> None:
        """Carry out what is asked for, until nothing is."""
        while self.under_way and steps:
            self.step()
            steps -= 1

    def step(self) -> None:
        """Carry out one command."""
        command = self.under_way.pop(0)
        self.tell(self._carried_out(command))

    def waiting(self) -> list[int]:
        """Return the numbers that wait."""
        return [report.number for report in self.held if not report.parked]

    def _carried_out(self, command: d.Command) -> d.Event:
        if self.disk_full and isinstance(command, d.Forget | d.Park | d.Supersede):
            return d.NotStored(reasons.OUTBOX_UNUSABLE, "full")
        match command:
            case d.Load():
                return self._loaded(command.binding)
            case d.Supersede():
                return self._supersede()
            case d.Deliver():
                return self._deliver(command)
            case d.Confirm():
                return d.Confirmed(self.confirm())
            case d.Forget():
                for number in command.numbers:  # one that was dropped meanwhile is not there
                    self._forget(number)
                return d.Stored()
            case d.Park():
                for report in self.held:
                    if report.number == command.number:
                        report.parked = command.reason.code
                return d.Stored()
        raise AssertionError(command)

    def _loaded(self, binding: str) -> d.Loaded:
        for report in self.held:
            if not report.parked and report.binding != binding:
                report.parked = reasons.REPORT_OF_OTHER.code
        waiting = [report for report in self.held if not report.parked][:8]
        self.sendable = {report.number: report for report in waiting}
        return d.Loaded([d.Waiting(r.number, r.deployment_id, self.now.wall - r.at) for r in waiting])

    def _supersede(self) -> d.Stored:
        def overtaken(report: Report) -> bool:
            later = (r for r in self.held if r.number > report.number and not r.parked)
            return (
                not report.parked and not report.final and any(r.deployment_id == report.deployment_id for r in later)
            )

        gone = [report.number for report in self.held if overtaken(report)]
        self.superseded += gone
        self.held = [report for report in self.held if report.number not in gone]
        return d.Stored()

    def _deliver(self, command: d.Deliver) -> d.Answered:
        report = self.sendable[command.number]
        assert report.binding == command.binding, "never in another enrolment's name"
        self.sent.append((report.number, command.form))
        reply = self.server(report, command.form)
        if reply.about is About.TAKEN:
            self.record.append((report.deployment_id, report.number))
        return d.Answered(reply)

    def _forget(self, number: int) -> None:
        found = [report for report in self.held if report.number == number]
        for gone in found:
            self.held.remove(gone)
            for report in self.held:
                if report.deployment_id == gone.deployment_id and report.number < number:
                    report.overtaken, report.parked = True, report.parked or reasons.REPORT_OVERTAKEN.code
