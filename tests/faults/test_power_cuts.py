"""Power cuts by replay: the short part of the campaign, and every sync removed in turn."""

from __future__ import annotations

import pytest

from tests.faults.campaign import Run, room
from tests.faults.power_cuts import STORIES, noticed, play, played, sites_of, violations


@pytest.mark.parametrize("name", STORIES)
def test_a_power_cut_at_any_moment_leaves_the_old_or_the_new(name: str) -> None:
    """Nothing that was returned is lost, nothing half done is seen, nothing damaged is thrown away."""
    with room() as place:
        story = play(name, place / "disk")
        run = Run(4, 0.01, place)
        assert violations(story, place / "replay", None, 24, run, first=False) == []
        assert run.figures["disks loaded"] >= 4


def test_every_sync_matters() -> None:
    """Without any one of the places that sync, some power cut loses or mixes something."""
    with room() as place, played(place) as stories:
        sites = sites_of(stories)
        run = Run(4, 0.01, place)
        useless = [site for site in sorted(sites) if not any(noticed(s, site, run) for s in reversed(stories.values()))]
        assert useless == []
        assert len(sites) > 15, "one for each place in the code, as the way there is a place too"
