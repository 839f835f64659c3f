"""Where the WFM is: what discovery may change, and when, and what it may never."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import attrs
import pytest

from margod.config import Config
from margod.discovery import Candidate
from margod.model import reasons
from margod.model.outcome import Kind, Outcome
from margod.model.wire import Answer, TransportFailure
from margod.shell.place import Names, Nowhere, Place, locate, name_of, placed
from margod.shell.records import WFM, json_object

SEEN = Candidate("Plant", "wfm.local", ("192.0.2.7",), 8443, "/margo", "")
OTHER = Candidate("Spoofed", "evil.local", ("192.0.2.66",), 443, "", "")
NAMED = {"discovery.server_names": ("a.test", "b.test")}


def config(**settings: Any) -> Config:
    made = Config()
    for key, value in settings.items():
        section, name = key.split(".")
        made = attrs.evolve(made, **{section: attrs.evolve(getattr(made, section), **{name: value})})
    return made


def find(
    settings: dict[str, Any],
    *seen: Candidate,
    stored: dict[str, object] | None = None,
    enrolled: bool = False,
    bound: bool = False,
    chosen: str | None = None,
) -> Place | str:
    """Return the place, or the code of why there is none."""
    try:
        return locate(
            config(**settings), stored or {}, enrolled=enrolled, bound=bound or enrolled, chosen=chosen, seen=seen
        )
    except Nowhere as nowhere:
        return nowhere.reason.code


def found(settings: dict[str, Any], *seen: Candidate, **more: Any) -> Place:
    place = find(settings, *seen, **more)
    assert isinstance(place, Place)
    return place


def test_a_configured_url_wins() -> None:
    """With a URL nothing that is seen, chosen or selected counts."""
    settings = {"wfm.url": "https://wfm.test", "wfm.select": "Spoofed", **NAMED}
    place = found(settings, OTHER, chosen="Spoofed")
    assert place == Place(("https://wfm.test",), "https://wfm.test")
    assert name_of(place.record()) == "https://wfm.test"


def test_without_a_url() -> None:
    """None, one, several, chosen, selected, selected and not there."""
    assert find({"discovery.enabled": False}, SEEN) == "no-url"
    assert find(NAMED) == "no-wfm-found"
    assert found(NAMED, SEEN).urls == ("https://a.test:8443/margo", "https://b.test:8443/margo")
    assert find(NAMED, SEEN, OTHER) == "several-wfms"
    assert found(NAMED, SEEN, OTHER, chosen="Plant").instance == "Plant"
    assert found({**NAMED, "wfm.select": "Spoofed"}, SEEN, OTHER, chosen="Plant").instance == "Spoofed"
    assert find({**NAMED, "wfm.select": "Third"}, SEEN, OTHER) == "wfm-not-seen"


@pytest.mark.parametrize(
    ("settings", "usable"),
    [
        ({}, False),
        ({"trust.ca_is_wfm_only": True}, True),
        ({"trust.ca_is_wfm_only": True, "trust.system": True}, False),
        ({"trust.ca_is_wfm_only": True, "trust.system": True, "trust.ca_file": Path("/ca.pem")}, True),
    ],
)
def test_names_to_check(settings: dict[str, Any], usable: bool) -> None:
    """Without names only a CA that vouches for nothing but WFMs will do, which the system's store never does."""
    place = find(settings, SEEN)
    if usable:
        assert isinstance(place, Place)
        assert (place.any_name, place.url) == (True, "https://wfm.local:8443/margo")
    else:
        assert place == "discovered-unverifiable"
    assert not found({**settings, **NAMED}, SEEN).any_name


@pytest.mark.parametrize("enrolled", [True, False])
def test_a_wfm_that_has_spoken(enrolled: bool) -> None:
    """Its address and port may change, its path and instance may not; others and goodbyes mean nothing."""
    first = found(NAMED, SEEN)
    stored, spoken = first.record(), {"enrolled": enrolled, "bound": True}
    assert found(NAMED, stored=stored, **spoken) == first
    assert found(NAMED, OTHER, stored=stored, **spoken) == first
    assert found(NAMED, replace(SEEN, path="/evil"), stored=stored, **spoken) == first
    moved = found(NAMED, OTHER, replace(SEEN, port=9443, addresses=("192.0.2.9",)), stored=stored, **spoken)
    assert (moved.url, moved.addresses) == ("https://a.test:9443/margo", ("192.0.2.9",))
    assert moved.name == first.name == name_of(stored)
    assert found({"discovery.enabled": False}, stored=stored, **spoken) == first


def test_once_enrolled() -> None:
    """Only the configuration names another WFM; a choice by hand, or settings that are gone, do not."""
    select = {**NAMED, "wfm.select": "Spoofed"}
    first = found(NAMED, SEEN)
    stored = first.record()
    assert found(NAMED, OTHER, stored=stored, enrolled=True, chosen="Spoofed") == first
    assert found(select, SEEN, OTHER, stored=stored, enrolled=True).instance == "Spoofed"
    assert find(select, SEEN, stored=stored, enrolled=True) == "wfm-not-seen"
    assert found({}, replace(SEEN, addresses=("192.0.2.9",)), stored=stored, enrolled=True).addresses == ("192.0.2.9",)
    same = found({"wfm.url": first.url}, stored=stored, enrolled=True)
    assert (same.name, same.addresses, same.urls) == (first.name, (), (first.url,))
    assert name_of(same.record()) == first.name
    other = found({"wfm.url": "https://other.test"}, stored=stored, enrolled=True)
    assert other.name != first.name
    by_url = {"url": "https://wfm.test"}
    assert found(NAMED, SEEN, stored=by_url, enrolled=True) == Place(("https://wfm.test",), "https://wfm.test")


def test_names_in_turn() -> None:
    """The name that the certificate bore is tried first from then on; only a wrong name leads to the next."""
    place, names = found(NAMED, SEEN), Names()
    assert names.urls(place) == list(place.urls)
    assert names.wrong(place.urls[0], TransportFailure(reasons.TLS_WRONG_HOST, "", sent=False))
    assert not names.wrong(place.urls[0], TransportFailure(reasons.TIMED_OUT, "", sent=False))
    assert not names.wrong(place.urls[1], Answer(200, {}, b"", 0.0))
    assert names.urls(place) == [place.urls[1], place.urls[0]]


def test_the_record_keeps_the_place() -> None:
    """A record that another step makes of the WFM gets the place; an outcome without one is left alone."""
    place = found(NAMED, SEEN)
    outcome = Outcome(Kind.ACCEPTED, reasons.ENROLLED, records={WFM: b'{"anchors": "system", "url": "x"}'})
    stored = json_object(placed(place, outcome).records[WFM])
    assert (name_of(stored), stored["anchors"], stored["url"]) == (place.name, "system", place.url)
    bare = Outcome(Kind.ACCEPTED, reasons.ENROLLED)
    assert placed(place, bare) is bare
