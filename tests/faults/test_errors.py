"""Errors of the system under a running daemon: the short part of the campaign."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.faults.campaign import carry_out
from tests.faults.errors import errors, small_disks

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
