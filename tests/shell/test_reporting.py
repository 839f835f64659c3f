"""One report of a family: who is asked, in which order, and what comes of it when some are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from margod.model import reasons
from margod.model.capabilities import Capabilities, Child
from margod.model.outcome import Kind, Outcome
from margod.model.wire import Answer, Request, TransportFailure
from margod.protocols import Context
from margod.protocols.signed import Dialect, Signed
from margod.shell.reporting import SHOWN, Reporting

SIGNED = Signed(Dialect())
ENROLLED = {"enrolment.json": b'{"clientId": "c-1"}'}


def context(*names: str, records: Mapping[str, bytes] = ENROLLED) -> Context:
    """Return a gateway `gw` with these children."""
    children = tuple(Child(name, {"properties": {"id": name}}) for name in names)
    return Context(b"", records, Capabilities("gw", "V", "M", "S", children=children))


class Server:
    """Answers by the device id and the method; 201 where nothing else is said."""

    def __init__(self, answers: Mapping[str, int | None]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def ask(self, request: Callable[[], Request]) -> Answer | TransportFailure:
        made = request()
        name = f"{made.method} {made.path.partition('/capabilities/')[2]}"
        self.asked.append(name)
        status = self.answers.get(name, 201)
        return TransportFailure(reasons.TIMED_OUT, "", sent=True) if status is None else Answer(status, {}, b"", 0.0)


async def report(reporting: Reporting, given: Context, **answers: int | None) -> tuple[Outcome, list[str], Context]:
    """Make one report; return its outcome, what was asked, and the context with what was kept."""
    server = Server({name.replace("_", " ", 1).replace("__", "/"): status for name, status in answers.items()})
    outcome = await reporting.report(SIGNED, "device", given, server.ask)
    return outcome, server.asked, replace(given, records={**given.records, **outcome.records})


async def test_all_of_it() -> None:
    """The gateway, its children, and the records of all."""
    outcome, asked, now = await report(Reporting(), context("gw/a", "gw/b"))
    assert (outcome.kind, asked) == (Kind.ACCEPTED, ["POST gw", "POST gw/a", "POST gw/b"])
    assert SIGNED.reported(now.records)[0] == SIGNED.report_digest(now)


async def test_a_gateway_that_is_refused_speaks_for_nobody() -> None:
    """Where it was never accepted no child is reported; where it was, its update's refusal does not hold them up."""
    outcome, asked, _ = await report(Reporting(), context("gw/a"), POST_gw=422)
    assert (outcome.kind, outcome.records, asked) == (Kind.INVALID, {}, ["POST gw"])
    _, _, known = await report(Reporting(), context())
    changed = replace(context("gw/a").capabilities, vendor="Another")
    reporting = Reporting()
    outcome, asked, now = await report(reporting, replace(known, capabilities=changed), PUT_gw=422)
    assert (outcome.kind, outcome.reason, asked) == (
        Kind.INVALID,
        reasons.CAPABILITIES_REFUSED,
        ["PUT gw", "POST gw/a"],
    )
    assert set(SIGNED.last_report(now.records).children) == {"gw/a"}
    assert [warned.reason for warned in reporting.warnings()] == [reasons.CAPABILITIES_REFUSED]


async def test_one_that_is_refused_takes_only_its_own_along() -> None:
    """What is behind a refused child is not asked for; what is beside it is. Later only the rest is."""
    reporting = Reporting()
    family = ("gw/a", "gw/b", "gw/a/x", "gw/b/y")
    outcome, asked, now = await report(reporting, context(*family), POST_gw__a=422)
    assert asked == ["POST gw", "POST gw/a", "POST gw/b", "POST gw/b/y"]
    assert (outcome.kind, outcome.reason) == (Kind.INVALID, reasons.CHILD_REFUSED)
    assert [warned.message.partition("it. ")[2] for warned in reporting.warnings()] == ["gw/a: HTTP 422"]
    outcome, asked, now = await report(reporting, now)
    assert (outcome.kind, asked) == (Kind.ACCEPTED, ["POST gw/a", "POST gw/a/x"])
    assert reporting.warnings() == ()
    assert SIGNED.reported(now.records)[0] == SIGNED.report_digest(now)


async def test_a_network_that_fails_ends_it_and_keeps_what_was_accepted() -> None:
    """No child is asked after a failure; what was accepted before it is among the records."""
    outcome, asked, now = await report(Reporting(), context("gw/a", "gw/b"), POST_gw__a=None)
    assert (outcome.kind, asked) == (Kind.UNREACHABLE, ["POST gw", "POST gw/a"])
    assert SIGNED.last_report(now.records).device_id == "gw"
    _, asked, _ = await report(Reporting(), now)
    assert asked == ["POST gw/a", "POST gw/b"]


async def test_a_wfm_that_knows_the_child() -> None:
    """409 to POST is answered by PUT at once; where that is refused too, the first answer is told."""
    outcome, asked, _ = await report(Reporting(), context("gw/a"), POST_gw__a=409)
    assert (outcome.kind, asked) == (Kind.ACCEPTED, ["POST gw", "POST gw/a", "PUT gw/a"])
    outcome, _, _ = await report(Reporting(), context("gw/a"), POST_gw__a=409, PUT_gw__a=422)
    assert outcome.detail == "gw/a: HTTP 409"


async def test_a_report_of_nothing_new_is_one_of_itself() -> None:
    """Where the report is a question (does the WFM still know this device?) the gateway asks it."""
    _, _, known = await report(Reporting(), context("gw/a"))
    _, asked, _ = await report(Reporting(), known)
    assert asked == ["PUT gw"]


async def test_what_cannot_be_sent_is_not_sent() -> None:
    """A manifest that is broken here is said without a request."""
    given = context()
    outcome, asked, _ = await report(
        Reporting(), replace(given, capabilities=replace(given.capabilities, invalid="f: properties.id: missing"))
    )
    assert (outcome.reason, outcome.detail, outcome.sent, asked) == (
        reasons.CAPABILITIES_INVALID,
        "f: properties.id: missing",
        False,
        [],
    )


async def test_many_refusals_are_not_all_listed() -> None:
    """Status stays readable."""
    names = [f"gw/n{at}" for at in range(SHOWN + 3)]
    reporting = Reporting()
    await report(reporting, context(*names), **{f"POST_{name.replace('/', '__')}": 422 for name in names})
    assert len(reporting.warnings()) == SHOWN + 1
    assert reporting.warnings()[-1].message.startswith("3 more")
    reporting.forget()
    assert reporting.warnings() == ()
