"""Power cuts on a real ext4: the short part of the campaign, with the cut without syncs that has to show."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.faults.campaign import carry_out
from tests.faults.real_disks import real_power_cuts


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
@pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="needs mkfs.ext4")
@pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="needs loop devices")
def test_power_cuts_on_ext4() -> None:
    """What came back is in a copy of the disk; without syncs it is not."""
    run = carry_out(real_power_cuts, seed=4, scale=0.02)
    assert run.figures["power cuts on ext4"] == 3
    assert run.figures["cuts without syncs that lost something, as they must"] >= 1
