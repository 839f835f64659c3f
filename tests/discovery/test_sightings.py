"""Who is seen, when it counts, and that nobody is guessed."""

from __future__ import annotations

from margod.discovery import SETTLE, Candidate, Sightings, choose
from margod.discovery.sightings import MOST


def one(instance: str, port: int = 443) -> Candidate:
    return Candidate(instance, "wfm.local", ("192.0.2.1",), port, "")


def test_settling() -> None:
    """The first sighting begins the settle time; when all have gone the next one begins it anew."""
    sightings = Sightings()
    assert sightings.settles_in(10.0) is None
    assert sightings.add(one("a"), 10.0)
    assert sightings.add(one("b"), 11.0)
    assert sightings.settles_in(11.0) == SETTLE - 1.0
    assert sightings.settles_in(99.0) == 0.0
    assert not sightings.add(one("a"), 12.0)
    assert sightings.add(one("a", 8443), 12.0)
    assert sightings.remove("a")
    assert not sightings.remove("a")
    assert sightings.remove("b")
    assert sightings.settles_in(99.0) is None


def test_a_crowd() -> None:
    """The table is bounded, and neither the first nor the last comers can push out the one that is wanted."""
    sightings = Sightings()
    sightings.add(one("wanted"), 0.0)
    for number in range(500):
        sightings.add(one(f"x{number}"), 0.0, frozenset({"wanted"}))
        assert len(sightings.candidates) <= MOST
    assert one("wanted") in sightings.candidates
    sightings.remove("wanted")
    sightings.add(one("wanted"), 0.0, frozenset({"wanted"}))
    assert one("wanted") in sightings.candidates
    sightings.clear()
    assert sightings.candidates == ()


def test_choosing() -> None:
    """One is taken, several are not, a wish is taken to the letter."""
    a, b = one("a"), one("b")
    assert choose([], None) is None
    assert choose([a], None) is a
    assert choose([a, b], None) is None
    assert choose([a, b], "b") is b
    assert choose([a], "b") is None
    assert choose([a], "A") is None
