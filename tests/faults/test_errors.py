"""Errors of the system under a running daemon: the short part of the campaign."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.faults.campaign import carry_out
from tests.faults.errors import errors, small_disks
from tests.faults.quotas import quotas

pytestmark = pytest.mark.e2e

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler for the preloaded shim")
def test_errors_under_a_running_daemon() -> None:
    """ENOSPC, EDQUOT, EROFS, EIO, EMFILE, half writes, no memory: told, survived, healed by the next success."""
    run = carry_out(errors, seed=4, scale=0.02)
    assert run.figures["before an identity"] == 2
    assert run.figures["once enrolled"] >= 1
    assert run.figures["on the way, calls that failed"] >= 3
    assert run.figures["reads that failed"] >= 1
    assert run.figures["without descriptors at a start"] == run.figures["without memory"] == 1


@pytest.mark.system
@as_root
def test_small_disks() -> None:
    """A tmpfs that fills up at some step: said so, and with room it is enrolled, registered once."""
    run = carry_out(small_disks, seed=4, scale=0.1)
    assert run.figures["sizes of disk"] == 3
    assert run.figures["too small, and said so"] >= 1


@pytest.mark.system
@as_root
@pytest.mark.skipif(shutil.which("mkfs.btrfs") is None, reason="needs btrfs-progs for a disk with quotas")
@pytest.mark.skipif("btrfs" not in Path("/proc/filesystems").read_text(), reason="this kernel has no btrfs")
def test_quotas() -> None:
    """A real quota, over it at the first start and once enrolled: EDQUOT is told, nothing is lost, room heals."""
    run = carry_out(quotas, seed=4, scale=0.1)
    assert run.figures["sizes of quota"] == run.figures["over it once enrolled, told and healed"] == 3
    assert run.figures["over it, and said so"] >= 1
