"""Killed at system calls of the vault, as strace counts them: the short part of the campaign."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from margod.vault.answerlog import encode
from tests.faults.campaign import Broken, Run, carry_out, room
from tests.faults.crash_points import ACTIONS, Action, crash_points, every
from tests.vault.support import IDENTITY, answer, intent, opened

with_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")


@with_strace
def test_killed_at_system_calls() -> None:
    """A seeded sample of every action's calls, the first and the end among them: the old or the new, and it works."""
    run = carry_out(crash_points, seed=4, scale=0.05)
    assert {name for name in ACTIONS if run.figures[f"{name}: kills"] >= 4} == set(ACTIONS)
    assert run.figures["system calls"] > 300, "the calls were counted"


@with_strace
def test_a_log_rewritten_in_place_would_be_seen() -> None:
    """An action that empties the log before it writes it anew breaks the promise, and the campaign says so."""

    def prepare(directory: Path) -> None:
        with opened(directory) as vault:
            vault.commit(IDENTITY, "a")
            vault.append(answer("client-1"))

    def careless(directory: Path, _state: object) -> None:
        log = directory / "answer.log"
        log.write_bytes(log.read_bytes() + encode(intent(), 1, "a").raw)

    with room() as place, pytest.raises(Broken, match="is none of"):
        run = Run(4, 1.0, place)
        every(run, "careless", Action(prepare, lambda _directory: None, careless), run.rng)
