"""What is said of those who announce themselves."""

from __future__ import annotations

from margod.shell.finder import CALM, SAID, Hearsay


def test_a_flapping_announcer_is_said_once_an_hour() -> None:
    """A WFM that comes and goes for a day, as often as is looked at, is worth a line an hour, with how often it was."""
    hearsay, said = Hearsay(), []
    for turn in range(int(24 * SAID / CALM)):
        level, more = hearsay.changed(1_000.0 + turn * CALM)
        if level != "debug":
            said.append(more.get("changes", 1))
    assert len(said) == 24
    assert said[0] == 1
    assert set(said[1:]) == {int(SAID / CALM)}
    assert hearsay.changed(1_000.0 + 25 * SAID)[0] == "info"
