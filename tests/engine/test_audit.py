"""What of many like requests comes into the journal."""

from __future__ import annotations

from margod.engine.audit import INTERVAL, KEPT, Audit


def test_first_and_then_a_count_an_hour() -> None:
    """A poller fills no journal, and its line says how often it asked."""
    audit: Audit[object] = Audit()
    said = [audit.count("a", float(at)) for at in range(0, 7_201, 60)]
    assert said[0] == 1
    assert [count for count in said if count] == [1, 60, 60]
    assert said[60] == 60
    assert sum(said) == len(said)


def test_each_by_itself() -> None:
    """Another user or route has a first line of its own."""
    audit: Audit[object] = Audit()
    assert [audit.count(key, 0.0) for key in (("GET", 1), ("GET", 2), ("PUT", 1), ("GET", 1))] == [1, 1, 1, 0]


def test_who_invents_keys_fills_no_memory() -> None:
    """What was seen longest ago is forgotten first; what goes on is not."""
    audit: Audit[object] = Audit()
    for number in range(3 * KEPT):
        audit.count(number, 0.0)
        audit.count("poller", 0.0)
    assert len(audit._seen) <= KEPT
    assert audit.count("poller", INTERVAL / 2) == 0


def test_who_invents_keys_wins_no_line_by_each() -> None:
    """An hour has so many lines and no more, whoever asks for what; the rest is counted, and finds a place later."""
    audit: Audit[object] = Audit()
    times = range(0, int(INTERVAL), 10)
    assert sum(bool(audit.count((at, number), float(at))) for at in times for number in range(100)) == KEPT
    turns = [audit.count(number % (KEPT + 1), INTERVAL - 1.0) for number in range(5 * KEPT)]
    assert sum(map(bool, turns)) == 0, "keys in turn push each other out"
    assert audit.take_left_out() == int(INTERVAL) // 10 * 100 - KEPT + 5 * KEPT
    assert audit.take_left_out() == 0
    assert audit.count("late", INTERVAL + 1.0) == 1
    assert len(audit._seen) <= KEPT


def test_what_was_counted_of_a_forgotten_key_is_left_out() -> None:
    """Nothing that happened is missing from the sum."""
    audit: Audit[object] = Audit()
    for number in range(KEPT):
        audit.count(number, 0.0)
        audit.count(number, 1.0)
    assert audit.count("another", INTERVAL) == 1
    assert audit.take_left_out() == 1


def test_a_stop_writes_out_what_was_counted() -> None:
    """What had no line of its own is there once, and then forgotten."""
    audit: Audit[object] = Audit()
    assert [audit.count(key, 0.0) for key in ("a", "a", "b", "a")] == [1, 0, 1, 0]
    assert audit.rest() == [("a", 2)]
    assert audit.rest() == []
