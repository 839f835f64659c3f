"""Damage to what is stored, through the vault and through the daemon: the short part of the campaign."""

from __future__ import annotations

import shutil

import pytest

from tests.faults import damage as suite
from tests.faults.campaign import Broken, Run, carry_out, room
from tests.vault.support import enrolled


def test_damage() -> None:
    """Each file in each way, and some together: the same identity, or refused with a command, or said to be damaged."""
    run = carry_out(suite.damage, seed=4, scale=0.004)
    assert run.figures["vaults damaged"] > 500
    assert run.figures["noticed and shown"] > 250
    assert run.figures["refused with the command that mends it"] > 10


@pytest.mark.e2e
def test_daemons_on_damage() -> None:
    """A sample of them under a real daemon: enrolled as it was, or blocked; the server sees nothing."""
    run = carry_out(suite.damaged_daemons, seed=6, scale=0.05)
    assert run.figures["daemons started on damage"] >= 8
    assert run.figures["second daemons turned away"] == 2


def test_a_lost_client_id_would_be_seen() -> None:
    """A vault that has lost the accepted answer, or comes up empty, breaks the promise."""
    with room() as place:
        directory = place / "margod"
        enrolled(directory)
        shutil.rmtree(directory / "gen-000002")
        (directory / "answer.log").unlink()
        with pytest.raises(Broken, match="the client id is lost"):
            suite.check(Run(1, 1.0, place), directory, "cut down", both=False, log=False)
        shutil.rmtree(directory)
        with pytest.raises(Broken, match="the key is another or gone"):
            suite.check(Run(1, 1.0, place), directory, "emptied", both=False, log=False)
