"""A change counts once it has held, a few times an hour at most, and at once where a person asks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from margod.engine.settling import DAY, HOUR, MOST, MOST_A_DAY, Settling

HOLD = 120.0


class Device:
    """A device that is looked at, and a WFM that takes every report."""

    def __init__(self) -> None:
        self.settling, self.reported, self.now, self.reports = Settling(), "a", 1_000.0, 0

    def look(self, found: str, *, told: bool = False, accepts: bool = True) -> str:
        """Look once; the WFM takes what is to be reported."""
        wanted = self.settling.settle(self.reported, found, hold=HOLD, told=told, now=self.now)
        if wanted != self.reported and accepts:
            self.reports += 1
            self.reported = wanted
        return wanted


def test_the_first_report_waits_for_nothing() -> None:
    """A device that never reported says at once what it is."""
    assert Settling().settle("", "b", hold=HOLD, told=False, now=0.0) == "b"


def test_a_change_has_to_hold() -> None:
    """It counts after `hold` and not before; `due` is that moment."""
    device = Device()
    assert device.look("b") == "a"
    assert (device.settling.due, device.settling.waits) == (1_120.0, True)
    device.now = 1_119.0
    assert device.look("b") == "a"
    device.now = 1_120.0
    assert device.look("b") == "b"
    assert (device.settling.due, device.settling.waits) == (None, False)


def test_what_comes_and_goes_is_not_reported() -> None:
    """Back before it has held: nothing; another change begins anew."""
    device = Device()
    device.look("b")
    device.now += 60.0
    assert device.look("a") == "a"
    assert device.settling.due is None
    device.look("b")
    device.now += 100.0
    device.look("c")
    device.now += 60.0
    assert (device.look("c"), device.reports) == ("a", 0)


def test_a_person_is_not_made_to_wait() -> None:
    """What was asked for goes at once, and stays so until it is accepted."""
    device = Device()
    device.look("b")
    assert device.look("b", told=True, accepts=False) == "b"
    assert device.look("b", accepts=False) == "b"


def test_a_slow_flap_is_bounded() -> None:
    """Holding for longer than `hold` each time it is reported a few times an hour, and not many times a day."""
    device = Device()
    for turn in range(3 * 720):
        if turn == 29:
            assert device.reports == MOST
        device.look("ab"[turn % 2])
        device.now += HOLD
        device.look("ab"[turn % 2])
    assert device.now - 1_000.0 == 3 * DAY
    assert 2 * MOST_A_DAY < device.reports <= 3 * MOST_A_DAY


def test_a_suspend_counts_as_time() -> None:
    """What has held while the device slept has held."""
    device = Device()
    device.look("b")
    device.settling.slept(HOLD)
    assert device.settling.due == 1_000.0
    assert device.look("b") == "b"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.0, 2_000.0)), max_size=200))
def test_never_more_than_the_bound(turns: list[tuple[str, float]]) -> None:
    """Whatever the device does: in no hour more than MOST reports that nobody asked for, and each of something held."""
    device, times = Device(), list[float]()
    seen: tuple[str, float] = ("a", 0.0)
    for found, passed in turns:
        device.now += passed
        seen = seen if seen[0] == found else (found, device.now)
        before = device.reports
        device.look(found)
        if device.reports > before:
            times.append(device.now)
            assert device.now - seen[1] >= HOLD
    assert all(late - early >= HOUR for early, late in zip(times, times[MOST:], strict=False))
    assert all(late - early >= DAY for early, late in zip(times, times[MOST_A_DAY:], strict=False))
