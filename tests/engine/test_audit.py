"""What of many like requests comes into the journal."""

from __future__ import annotations

from margod.engine.audit import INTERVAL, KEPT, Audit


def test_first_and_then_a_count_an_hour() -> None:
    """A poller fills no journal, and its line says how often it asked."""
    audit = Audit()
    said = [audit.count("a", float(at)) for at in range(0, 7_201, 60)]
    assert said[0] == 1
    assert [count for count in said if count] == [1, 60, 60]
    assert said[60] == 60
    assert sum(said) == len(said)


def test_each_by_itself() -> None:
    """Another user or route has a first line of its own."""
    audit = Audit()
    assert [audit.count(key, 0.0) for key in (("GET", 1), ("GET", 2), ("PUT", 1), ("GET", 1))] == [1, 1, 1, 0]


def test_who_invents_keys_fills_no_memory() -> None:
    """What was seen longest ago is forgotten first; what goes on is not."""
    audit = Audit()
    for number in range(3 * KEPT):
        audit.count(number, 0.0)
        audit.count("poller", 0.0)
    assert len(audit._seen) <= KEPT
    assert audit.count("poller", INTERVAL / 2) == 0
