"""A report is parked on the WFM's word alone, and a person can give up one that waits."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from margod.engine import delivery as d
from margod.engine import messages as m
from margod.model import reasons
from margod.model.outcome import Kind, Outcome
from margod.model.report import About, Reply
from tests.engine import test_delivery
from tests.engine.mailroom import BUSY, KNOWN, PAGE, REFUSED, STRANGER, TAKEN, UNSURE, Mailroom

PAGE_413 = Reply(About.REPORT, Outcome(Kind.INVALID, reasons.REPORT_REFUSED, "HTTP 413"), by_wfm=False)


def trouble(room: Mailroom) -> object:
    """Return what is wrong at the moment."""
    return room.machine.trouble


@pytest.mark.parametrize("page", [PAGE, PAGE_413])
def test_a_proxys_page_parks_nothing(page: Reply) -> None:
    """It is tried again for as long as it takes, ever more seldom, and said; when the proxy is mended all arrives."""
    room = Mailroom(server=lambda report, form: page, supersede_after=0.0)
    for name in "abc":
        room.put(name)
    room.settle()
    assert trouble(room) is not None
    assert trouble(room) == d.Trouble(reasons.REPORT_UNHEARD, page.outcome.detail, room.now.wall)
    assert [note.event for note in room.notes] == ["reports-wait"]
    room.pass_time(86_400.0)
    assert (room.waiting(), room.told) == ([1, 2, 3], [])
    assert 24 <= len(room.sent) <= 2 * 24 * 12
    room.server = lambda report, form: TAKEN
    room.pass_time(3_700.0)
    assert room.record == [("a", 1), ("b", 2), ("c", 3)]
    assert room.machine.trouble is None


@pytest.mark.parametrize("page", [PAGE, PAGE_413])
def test_a_page_on_a_route_that_works(page: Reply) -> None:
    """Where a report was accepted in this enrolment, any answer is the WFM's; in another enrolment not yet."""
    room = Mailroom(server=lambda report, form: page if report.deployment_id == "bad" else TAKEN)
    for name in ("good", "bad", "good"):
        room.put(name)
    room.settle()
    assert ([report.number for report in room.held if report.parked], room.waiting()) == ([2], [])
    room.allow("")
    room.allow("here")
    room.put("bad")
    room.settle()
    assert room.waiting() == [], "the same enrolment as before"
    room.allow("there")
    room.put("bad")
    room.settle()
    assert room.waiting() == [5]


@pytest.mark.parametrize("answers", [{"plural": PAGE, "singular": UNSURE}, {"plural": UNSURE, "singular": PAGE}])
def test_one_form_of_which_the_wfm_speaks(answers: dict[str, Reply]) -> None:
    """A router's page for the route that it does not have leaves the WFM's word on the other; that is what is kept."""
    room = Mailroom(server=lambda report, form: answers[form])
    room.put("d")
    room.settle()
    assert [report.parked for report in room.held] == ["report-refused"]
    assert [note.data["detail"] for note in room.notes] == ["HTTP 404"]


def test_a_page_while_the_wfm_does_not_know_the_device() -> None:
    """The enrolment hears of it, as before."""
    unknown = Outcome(Kind.UNKNOWN, reasons.CLIENT_UNKNOWN)
    room = Mailroom(server=lambda report, form: PAGE, confirm=lambda: unknown)
    room.put("d")
    room.settle()
    assert (room.told, room.waiting()) == ([unknown], [1])


@pytest.mark.parametrize("reply", [STRANGER, BUSY, PAGE])
def test_one_that_waits_is_given_up(reply: Reply) -> None:
    """The others go on at once; with nothing left there is no trouble either."""
    room = Mailroom(server=lambda report, form: reply if report.number == 1 else TAKEN)
    room.put("d")
    room.put("e")
    room.settle()
    assert room.record == []
    room.drop(1)
    room.settle()
    assert room.record == [("e", 2)]
    room.start()
    room.server = lambda report, form: reply
    room.put("d")
    room.settle()
    assert trouble(room) is not None
    room.drop(3)
    room.settle()
    room.pass_time(700.0)
    assert trouble(room) is None
    assert room.machine.due is None


@pytest.mark.parametrize("reply", [TAKEN, REFUSED])
def test_a_disk_with_room_again(reply: Reply) -> None:
    """Once the one report there is could be forgotten or parked after all, nothing is said of the disk any more."""
    room = Mailroom(server=lambda report, form: reply)
    room.disk_full = True
    room.put("d")
    room.settle()
    assert trouble(room) is not None
    room.disk_full = False
    room.pass_time(100_000.0)
    assert trouble(room) is None
    assert [note.event for note in room.notes if note.level is m.Level.INFO] == ["reports-recovered"]


def test_given_up_while_the_disk_is_full() -> None:
    """What could not be parked and is dropped leaves no trouble behind."""
    room = Mailroom(server=lambda report, form: REFUSED)
    room.put("d")
    room.disk_full = True
    room.settle()
    assert trouble(room) is not None
    room.disk_full = False
    room.drop(1)
    room.settle()
    room.pass_time(700.0)
    assert trouble(room) is None
    assert room.notes[-1].event == "reports-recovered"


class Attacked(test_delivery.Outboxes):
    """The same with a proxy in between and a person who gives up what waits."""

    @rule(data=st.data())
    @precondition(lambda self: self.room.held)
    def given_up(self, data: st.DataObject) -> None:
        """A person drops a report."""
        self.room.drop(data.draw(st.sampled_from([report.number for report in self.room.held])))

    @rule()
    def proxy_answers(self) -> None:
        """A page from now on."""
        self.reply, self.known = PAGE, KNOWN


Attacked.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
test_any_order_with_a_proxy = Attacked.TestCase
