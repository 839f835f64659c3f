"""Power cuts on the mirror: the short part of the campaign, and the syncs that it needs removed in turn."""

from __future__ import annotations

from tests.faults.campaign import Run, room
from tests.faults.mirror_cuts import mirror_cuts, play, violations


def test_a_power_cut_at_any_moment_leaves_a_whole_mirror() -> None:
    """The old manifest or the new one, with all that it names; the one below the newest is whole too."""
    with room() as place:
        run = Run(5, 0.01, place)
        mirror_cuts(run)
        assert run.figures["mirrors opened"] > 100


def test_the_syncs_of_the_mirror_matter() -> None:
    """Without that of each file, or of their names, some power cut leaves a manifest without what it names."""
    with room() as place:
        played = play(place / "disk")
        sites = {op.site for op in played.disk.operations if op.kind == "fsync"}
        needed = [site for site in sites if site.startswith(("put>", "take>sync_directory>"))]
        assert len(needed) == 2, sites
        for site in needed:
            assert violations(played, place / "replay", site, 16, Run(5, 0.01, place)), site
