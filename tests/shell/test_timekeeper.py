"""What is learnt about the time, and what is told of it."""

from __future__ import annotations

import json
from email.utils import formatdate
from pathlib import Path

import pytest

from margod import RELEASED
from margod.engine import messages as m
from margod.engine.timekeeping import BOUND
from margod.model import reasons
from margod.model.outcome import Kind, Outcome
from margod.model.wire import Answer
from margod.service import clock
from margod.shell.timekeeper import FILE, Timekeeper

DAY = 86_400.0
START = RELEASED + 40 * DAY


class Device:
    """A keeper on clocks that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wall: float = START) -> None:
        """Begin at `wall`, with a kernel that is not synchronised."""
        self.now, self.boot, self.kept = wall, 1_000.0, False
        monkeypatch.setattr(clock, "boot_time", lambda: self.boot)
        monkeypatch.setattr(clock, "boot_id", lambda: "boot-1")
        monkeypatch.setattr(clock, "synchronised", lambda: self.kept)
        self.keeper = Timekeeper(lambda: self.now)

    def pass_time(self, seconds: float) -> list[m.Event]:
        """Let the clocks run on; the monotonic one stands still, as in a suspend."""
        self.now, self.boot = self.now + seconds, self.boot + seconds
        return self.keeper.turn()

    def step(self, seconds: float) -> list[m.Event]:
        """Set the clock."""
        self.now += seconds
        return self.keeper.turn()

    def hears(self, offset: float, *, verified: bool = True, **headers: str) -> None:
        """Take an answer whose Date is `offset` ahead."""
        at = float(int(self.now))
        valid = (START - 30 * DAY, START + 60 * DAY) if verified else None
        self.keeper.take(Answer(200, {"date": formatdate(at + offset, usegmt=True), **headers}, b"", at, valid))


def test_the_date_of_a_verified_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lifts the floor if it agrees, and gives the offset; not unverified, nor with Age."""
    device = Device(monkeypatch)
    device.hears(0.0, verified=False)
    device.hears(0.0, age="3")
    assert (device.keeper.offset, device.keeper.floor.wall) == (None, RELEASED)
    device.hears(1_000.0)
    assert (device.keeper.offset, device.keeper.floor.wall) == (1_000.0, RELEASED)
    device.hears(1.0)
    assert device.keeper.floor.wall == RELEASED + BOUND
    assert device.keeper.wants_saving


def test_a_synchronised_clock_lifts_the_floor_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it says 2099: a day beyond the time that passed."""
    device = Device(monkeypatch, RELEASED + 70 * 365 * DAY)
    device.kept = True
    device.keeper.turn()
    assert device.keeper.floor.wall == RELEASED + BOUND
    for _ in range(10):
        device.pass_time(600.0)
    assert device.keeper.floor.wall == RELEASED + BOUND


def test_stored_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later process knows the floor; reset removes the file; a read-only directory is no error."""
    device = Device(monkeypatch)
    device.hears(0.0)
    device.keeper.save(tmp_path)
    later = Timekeeper(lambda: RELEASED + 10.0)
    later.load(tmp_path)
    assert not later.plausible()
    assert later.floor == device.keeper.floor
    later.reset()
    later.save(tmp_path)
    assert later.plausible()
    assert not (tmp_path / FILE).exists()
    device.keeper.save(tmp_path / "nowhere")
    (tmp_path / FILE).write_text(json.dumps({"floor": 10**400, "boot_id": "boot-1", "at": 0.0}))
    later.load(tmp_path)
    assert later.plausible(), "no floor, no error"


def test_the_end_of_a_process_lifts_the_floor_by_what_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a day of the last rise only the time itself counts."""
    device = Device(monkeypatch)
    device.hears(0.0)
    assert device.keeper.floor.wall == RELEASED + BOUND
    device.pass_time(2 * 3_600.0)
    device.keeper.close()
    assert device.keeper.floor.wall == RELEASED + BOUND + 2 * 3_600.0


@pytest.mark.parametrize("years", [10, -10])
def test_a_step_is_told_and_the_offset_forgotten(years: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look, and a wake; drift is nothing; the likely time goes on from what was vouched for."""
    device = Device(monkeypatch)
    device.hears(600.0)
    assert device.keeper.created() == device.now + 600.0
    assert device.step(2.0) == []
    assert device.step(years * 365 * DAY) == [m.Reread(), m.Woken(m.Cause.CLOCK)]
    assert device.keeper.offset is None
    assert device.keeper.created() == device.now
    assert abs(device.keeper.likely() - START) < 10
    assert device.step(-years * 365 * DAY) == [m.Reread(), m.Woken(m.Cause.CLOCK)]
    assert device.keeper.likely() == device.now


def test_a_suspend_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The boot-time clock went on and the monotonic one did not."""
    (event,) = Device(monkeypatch).pass_time(3_600.0)
    assert isinstance(event, m.Slept)
    assert event.seconds == pytest.approx(3_600.0, abs=5)


EXPIRED = Outcome(Kind.UNTRUSTED, reasons.TLS_EXPIRED, "certificate has expired", sent=False)
REFUSED = Outcome(Kind.UNAUTHORIZED, reasons.SIGNATURE_REFUSED, "HTTP 401", by_clock=True)


def test_a_certificate_out_of_its_time_is_told_apart_from_a_wrong_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what vouches for the clock: nothing, NTP, an earlier answer; or by what the clock left, or cannot be."""
    device = Device(monkeypatch)
    unknown = device.keeper.explain(EXPIRED)
    assert (unknown.kind, unknown.reason) == (Kind.UNTRUSTED, reasons.TLS_EXPIRED)
    assert "nothing vouches for it" in unknown.detail
    device.kept = True
    device.step(6.0)
    right = device.keeper.explain(EXPIRED)
    assert (right.kind, "is synchronised: look at the certificate" in right.detail) == (Kind.UNTRUSTED, True)
    device.kept = False
    device.step(10 * 365 * DAY)
    away = device.keeper.explain(EXPIRED)
    assert (away.kind, away.reason) == (Kind.CLOCK, reasons.CLOCK_IMPLAUSIBLE)
    assert "ahead of the time that was vouched for" in away.detail
    device.step(-60 * 365 * DAY)
    assert device.keeper.explain(EXPIRED).kind is Kind.CLOCK
    assert "already" in device.keeper.explain(EXPIRED).detail


@pytest.mark.parametrize(
    ("offset", "kept", "reason", "by_clock"),
    [
        (600.0, True, reasons.SIGNATURE_REFUSED, False),
        (1_000.0, True, reasons.WFM_CLOCK_OFFSET, True),
        (1_000.0, False, reasons.SIGNATURE_REFUSED, False),
        (-2 * DAY, False, reasons.CLOCK_OFFSET, True),
        (30.0, False, reasons.SIGNATURE_REFUSED, False),
    ],
)
def test_a_refused_signature_and_the_clocks(
    offset: float, kept: bool, reason: object, by_clock: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound the reason is the clock that has to be mended; an offset that was used explains nothing."""
    device = Device(monkeypatch)
    device.kept = kept
    device.keeper.turn()
    device.hears(offset)
    found = device.keeper.explain(REFUSED)
    assert (found.kind, found.reason, found.by_clock) == (Kind.UNAUTHORIZED, reason, by_clock)
    warned = {warning.reason for warning in device.keeper.warnings()}
    assert (reason in warned) is by_clock


def test_the_wfms_time_goes_on_until_the_clock_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step to another impossible time does not move it; one to a possible time ends it."""
    device = Device(monkeypatch, 1_000.0)
    assert not device.keeper.plausible()
    device.keeper.found(START, 1_000.0)
    assert (device.keeper.wall(), device.keeper.plausible()) == (START, True)
    device.step(50_000.0)
    assert device.keeper.wall() == START
    device.step(START - device.now + 7.0)
    assert (device.keeper.wall(), device.keeper.shift) == (device.now, 0.0)
