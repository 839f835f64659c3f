"""Killed while an agent reports, and power cuts under the outbox: the short part of the campaign."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.faults.campaign import Broken, carry_out
from tests.faults.reports import killed_reports, killed_token_reports, look, reports_and_power_cuts


@pytest.mark.e2e
def test_killed_while_an_agent_reports() -> None:
    """Everything that was acknowledged is in the WFM's record, in order."""
    run = carry_out(killed_reports, seed=5, scale=0.05)
    assert run.figures["kills"] == 3
    assert run.figures["reports acknowledged"] > 10


@pytest.mark.e2e
def test_killed_while_an_agent_reports_to_a_token_wfm() -> None:
    """The same, and what has no word leaves without a trace in the record."""
    run = carry_out(killed_token_reports, seed=5, scale=0.05)
    assert run.figures["kills"] == 3
    assert run.figures["reports acknowledged"] > 10
    assert run.figures["reports that have no word"] > 1


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
@pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="needs mkfs.ext4")
@pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="needs loop devices")
def test_power_cuts_on_ext4() -> None:
    """What was acknowledged is in a copy of the disk; without syncs it is not."""
    run = carry_out(reports_and_power_cuts, seed=4, scale=0.02)
    assert run.figures["power cuts on ext4"] == 3
    assert run.figures["cuts without syncs that lost something, as they must"] >= 1


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ([("web", 1), ("web", 3), ("db", 2)], ""),
        ([("web", 1), ("web", 1), ("db", 2), ("web", 3)], ""),
        ([("web", 3), ("web", 1), ("db", 2)], "went back"),
        ([("web", 1), ("web", 3), ("web", 1), ("web", 3), ("db", 2)], "went back"),
        ([("web", 1), ("db", 2)], "lost"),
    ],
)
def test_the_look_can_fail(record: list[tuple[str, int]], says: str) -> None:
    """A report that is lost and an order that went back break it; the latest heard twice does not."""
    acknowledged = [("web", 1), ("db", 2), ("web", 3)]
    if says:
        with pytest.raises(Broken, match=says):
            look(record, acknowledged)
    else:
        look(record, acknowledged)
