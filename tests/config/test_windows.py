"""Windows of time in the YAML: what is taken, and how what is not is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from margod.config import load
from margod.config.last_good import keep_last_good, load_with_last_good
from margod.config.windows import MOST
from margod.model.windows import EXAMPLES
from tests.config.support import problems, write

WEEK = "Mon Tue Wed Thu Fri Sat Sun"
HINT = f"(write {EXAMPLES}; each window of a list in quotes)"


@pytest.mark.parametrize(
    ("text", "windows"),
    [
        ("schedule: {downtime: 22:00-06:00}", ["22:00-06:00"]),
        ("schedule: {downtime: 'Sat,Sun 00:00-24:00 Europe/Berlin'}", ["Sat,Sun 00:00-24:00 Europe/Berlin"]),
        (
            "schedule:\n  downtime:\n    - Sat,Sun 00:00-24:00\n    - 2026-12-24 to 2027-01-02\n",
            ["Sat,Sun 00:00-24:00", "2026-12-24 to 2027-01-02"],
        ),
        ("schedule: {downtime: ['22:00-06:00', ' 22:00-06:00']}", ["22:00-06:00"]),
        ("schedule: {downtime: null}", []),
        ("schedule:\n", []),
    ],
)
def test_taken(tmp_path: Path, text: str, windows: list[str]) -> None:
    """One window or a list, with commas in them."""
    loaded = load(write(tmp_path, text), {}, {})
    assert [window.text for window in loaded.config.schedule.downtime or ()] == windows


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("'always'", f"'always': always is no weekday; they are {WEEK}"),
        ("Sat-Mon", "'Sat-Mon': Sat-Mon has no hours; write them behind: Sat-Mon 00:00-24:00"),
        ("[Sat,Sun 00:00-24:00]", "'Sat': Sat has no hours; write them behind: Sat 00:00-24:00"),
        ("Mon-Fry 22:00-06:00", f"'Mon-Fry 22:00-06:00': Fry is no weekday; they are {WEEK}, and every day is"),
        ("daily 10:00-11:00", f"'daily 10:00-11:00': daily is no weekday; they are {WEEK}, and every day is without"),
        ("mon-fri 1:00-2:00", "'mon-fri 1:00-2:00': hours have two digits: 01:00"),
        ("22-06", "'22-06': 22 is no time of day; write hours and minutes: 22:00"),
        ("22:00-6:5", "'22:00-6:5': 6:5 is no time of day; it has hours and minutes with two digits each"),
        ("22:00-31:00", "'22:00-31:00': there is no 31:00"),
        ("22:00\u201306:00", "'22:00\u201306:00': \u2013 is a dash; write the hyphen of the keyboard, -"),
        ("2027-03-01T06:00", "'2027-03-01T06:00': it has no end; write 2027-03-01T06:00 to, and a date or moment"),
        ("2027-03-01 to", "'2027-03-01 to': its end is missing behind `to`"),
        ("2027-03-01 to noon", "'2027-03-01 to noon': noon is no date or moment; write 2026-12-24 or 2026-12-24 18:00"),
        (
            "12:00-13:00 Europe/Nowhere",
            "'12:00-13:00 Europe/Nowhere': the time zone Europe/Nowhere is not known on this device (",
        ),
        ("2026-02-30 to 2026-03-01", "'2026-02-30 to 2026-03-01': there is no day 2026-02-30"),
        ("[]", "expected a window of time, or a list of them, not an empty list"),
        ("[5]", "expected a window of time, or a list of them, not a list"),
        ("{from: 22:00}", "expected a window of time, or a list of them, not a mapping"),
        ("2026-12-24", "expected a window of time, or a list of them, not a date"),
        ("5", "expected a window of time, or a list of them, not a number"),
    ],
)
def test_refused(tmp_path: Path, value: str, says: str) -> None:
    """Anything else is a problem with file, line, key and how to write it, for both settings that take windows."""
    text = f"schedule:\n  downtime: {value}\n  polling:\n    period: {value}\n"
    one, two = problems(write(tmp_path, text))
    assert one.startswith(f"margod.yaml:2: schedule.downtime: {says}")
    assert two.startswith(f"margod.yaml:4: schedule.polling.period: {says}")
    assert one.endswith(HINT)


def test_too_many(tmp_path: Path) -> None:
    """The list is bounded."""
    windows = ", ".join(f"'00:{minute:02}-01:00'" for minute in range(MOST + 1))
    (said,) = problems(write(tmp_path, f"schedule: {{downtime: [{windows}]}}"))
    assert said == f"margod.yaml:1: schedule.downtime: has more than {MOST} windows"


def test_polling(tmp_path: Path) -> None:
    """Rate and hours of polling: five minutes and always, or what is set, or never; a drop-in changes one of them."""
    polling = load(write(tmp_path, ""), {}, {}).config.schedule.polling
    assert (polling.rate, polling.period) == (300.0, None)
    sources = write(tmp_path, "schedule: {polling: {rate: off, period: 08:00-18:00}}")
    polling = load(sources, {}, {}).config.schedule.polling
    assert (polling.rate, [window.text for window in polling.period or ()]) == (0.0, ["08:00-18:00"])
    for never in ("0", "0s", "'0'"):
        (said,) = problems(write(tmp_path, f"schedule: {{polling: {{rate: {never}}}}}"))
        assert said.endswith(f"or off, not {never.strip(chr(39))} (write off)")
    loaded = load(
        write(tmp_path, "schedule: {polling: {period: 08:00-18:00}}", site="schedule: {polling: {rate: 1h}}"), {}, {}
    )
    assert loaded.config.schedule.polling.rate == 3600.0
    assert loaded.config.schedule.polling.period is not None
    assert str(loaded.origin("schedule.polling.rate")) == f"{tmp_path}/conf.d/site.yaml:1"


def test_last_good_keeps_them(tmp_path: Path) -> None:
    """The stored copy has the nested settings too, and a bad edit of a window falls back to it."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    good = write(tmp_path, "schedule: {downtime: ['Sat,Sun 00:00-24:00', 22:00-06:00], polling: {rate: 1h}}")
    loaded = load(good, {}, {})
    assert keep_last_good(loaded, state)
    bad = write(tmp_path, "schedule: {downtime: weekends}")
    fallen_back = load_with_last_good(bad, {}, {}, state_directory=state)
    assert fallen_back.is_last_good
    assert fallen_back.config.schedule == loaded.config.schedule
