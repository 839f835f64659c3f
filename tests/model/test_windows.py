"""Windows of time: what may be written, and which moments are in them, also where clocks are put forward or back."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from margod.model.windows import LONGEST, Window, ends, opens, parse

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, fold: int = 0) -> float:
    """Return when clocks in Berlin show this."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp()


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        ("12:00-13:00 Europe/Berlin", "2026-11-21 12:00", "2026-11-21 13:00"),
        ("Sat 12:00-13:00 Europe/Berlin", "2026-11-21 12:59", "2026-11-22 12:30"),
        ("sat,SUN 00:00-24:00 Europe/Berlin", "2026-11-22 23:59", "2026-11-23 00:00"),
        ("Fri-Mon 08:00 - 09:00 Europe/Berlin", "2026-11-23 08:30", "2026-11-24 08:30"),
        ("Fri 22:00-06:00 Europe/Berlin", "2026-11-21 05:59", "2026-11-21 22:30"),
        ("Sun 00:00-00:00 Europe/Berlin", "2026-11-22 23:59", "2026-11-23 00:00"),
        ("2026-12-24 to 2027-01-02 Europe/Berlin", "2027-01-02 23:59", "2027-01-03 00:00"),
        ("2026-12-24 08:00 to 2026-12-24 09:00 Europe/Berlin", "2026-12-24 08:00", "2026-12-24 07:59"),
        ("12:00-13:00 Asia/Tokyo", "2026-11-21 04:30", "2026-11-21 12:30"),
    ],
)
def test_in_and_out(window: str, inside: str, outside: str) -> None:
    """The first moment is in a window, its end is not."""
    parsed = parse(window)
    assert ends([parsed], at(inside)) is not None
    assert ends([parsed], at(outside)) is None


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "always",
            "25:00-26:00",
            "24:00-25:00",
            "24:00-01:00",
            "12:60-13:00",
            "Mon 12:00",
            "Mon-Tue-Wed 12:00-13:00",
        ),
        *(
            "Montag 12:00-13:00",
            "12:00-13:00 Europe/Nowhere",
            "12:00-13:00 ../../etc/passwd",
            "12:00-13:00 /etc/passwd",
        ),
        *(
            "2026-02-30 to 2026-03-01",
            "2026-03-01 to 2026-02-01",
            "1999-01-01 to 2027-01-01",
            "2026-01-01 24:30 to 2027-01-01",
        ),
        "12:00-13:00 " + "x" * 5000,
    ],
)
def test_what_is_refused_says_why(text: str) -> None:
    """Anything else is a ValueError with words for a person."""
    with pytest.raises(ValueError, match=r"\w{3}"):
        parse(text)


def test_summer_time_begins() -> None:
    """On 2026-03-29 clocks in Berlin jump from 2 to 3: 01:00-04:00 lasts two hours."""
    night = parse("Sun 01:00-04:00 Europe/Berlin")
    begin = at("2026-03-29 01:00")
    assert ends([night], begin) == begin + 2 * 3600


def test_summer_time_ends() -> None:
    """On 2026-10-25 the hour from 2 to 3 comes twice and both are in the window."""
    hour = parse("Sun 02:00-03:00 Europe/Berlin")
    begin = at("2026-10-25 02:00")
    assert ends([hour], begin) == begin + 2 * 3600
    assert ends([parse("Sun 01:00-02:30 Europe/Berlin")], at("2026-10-25 02:15", fold=1)) == at(
        "2026-10-25 02:30", fold=1
    )


def test_the_year_ends() -> None:
    """A night over New Year is one window."""
    assert ends([parse("22:00-06:00 Europe/Berlin")], at("2026-12-31 23:59")) == at("2027-01-01 06:00")


def test_windows_that_touch_are_one() -> None:
    """Saturday and Sunday end on Monday; a window that never ends is looked at again after two weeks."""
    weekend = [parse("Sat 00:00-24:00 Europe/Berlin"), parse("Sun 00:00-24:00 Europe/Berlin")]
    assert ends(weekend, at("2026-11-21 10:00")) == at("2026-11-23 00:00")
    always = at("2026-11-21 10:00")
    assert ends([parse("00:00-24:00 Europe/Berlin")], always) == always + LONGEST


def test_when_it_opens() -> None:
    """The next moment inside: now, later, or never more."""
    hours = [parse("Mon-Fri 06:00-22:00 Europe/Berlin")]
    assert opens(hours, at("2026-11-20 12:00")) == at("2026-11-20 12:00")
    assert opens(hours, at("2026-11-21 12:00")) == at("2026-11-23 06:00")
    assert opens([parse("2027-11-20 to 2027-11-21 Europe/Berlin")], at("2026-11-21 12:00")) == at("2027-11-20 00:00")
    assert opens([parse("2025-11-20 to 2025-11-21 Europe/Berlin")], at("2026-11-21 12:00")) is None
    assert opens([], at("2026-11-21 12:00")) is None


WINDOWS = st.builds(
    lambda day, length, start, end, zone: parse(f"{day}{length} {start:02}:15-{end:02}:45 {zone}"),
    st.sampled_from(["Mon", "Wed", "Sat", "Sun"]),
    st.sampled_from(["", "-Tue", "-Sun", ",Fri"]),
    st.integers(0, 23),
    st.integers(0, 23),
    st.sampled_from(["Europe/Berlin", "America/Santiago", "Pacific/Apia", "Australia/Lord_Howe", "UTC"]),
)


@given(st.lists(WINDOWS, max_size=3), st.floats(0, 6e9))
def test_an_end_is_an_end(windows: list[Window], moment: float) -> None:
    """Whenever: an end lies ahead and is bounded, just before it one is still inside, and what opens is inside."""
    end = ends(windows, moment)
    if end is not None:
        assert moment < end <= moment + LONGEST
        assert end == moment + LONGEST or ends(windows, end) is None
        assert ends(windows, max(moment, end - 1e-3)) is not None
    start = opens(windows, moment)
    if start is not None:
        assert start >= moment
        assert ends(windows, start) is not None
    assert (start is None) is (not windows)
