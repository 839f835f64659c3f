"""Killed at system calls of the vault, as strace counts them: the short part of the campaign."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.campaign import Broken, Run, carry_out, room
from tests.faults.crash_points import ACTIONS, Action, crash_points, every
from tests.vault.support import enrolled


def test_killed_at_system_calls() -> None:
    """A seeded sample of every action's calls, the first and the end among them: the old or the new, and it works."""
    run = carry_out(crash_points, seed=4, scale=0.1)
    assert {name for name in ACTIONS if run.figures[f"{name}: kills"] >= 6} == set(ACTIONS)
    assert run.figures["system calls"] > 300, "the calls were counted"


def test_a_commit_in_place_would_be_seen() -> None:
    """An action that overwrites a record where it is breaks the promise, and the campaign says so."""

    def careless(directory: Path, _state: object) -> None:
        path = directory / "gen-000002"
        (path / "identity.key").write_bytes(b"key-2")
        (path / "identity.crt").write_bytes(b"certificate-2")

    with room() as place, pytest.raises(Broken):
        run = Run(4, 1.0, place)
        every(run, "careless", Action(enrolled, lambda _directory: None, careless), run.rng)
