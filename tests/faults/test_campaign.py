"""The campaign's own command: figures, exit codes, and the seed that repeats what went wrong."""

from __future__ import annotations

import sys

import pytest

from tests.faults import __main__ as campaign
from tests.faults.campaign import Run, promise


def _whole(run: Run) -> None:
    run.count("things done", 1000)


def _broken_by_the_third(run: Run) -> None:
    run.count("things done")
    promise(run.seed != 3, f"the third is broken: {run.rng.random()}")


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(campaign, "SUITES", {"whole": (_whole, 1, 10), "broken": (_broken_by_the_third, 5, 10)})
    monkeypatch.setattr(sys, "argv", ["faults", *arguments])
    return campaign.main()


def test_figures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A suite whose promises hold ends with 0 and a table, with the time beside its budget."""
    assert _main(monkeypatch, "whole") == 0
    said = capsys.readouterr().out
    assert "| whole | seconds (budget 10) | 0 |" in said
    assert "things done | 1,000 |" in said


def test_a_broken_promise_names_its_seed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The first broken promise ends it with 1; the seed that is printed repeats it, alone and to the same number."""
    assert _main(monkeypatch) == 1
    first = capsys.readouterr().out
    assert "make faults ARGS='--seed 3 broken'" in first
    assert _main(monkeypatch, "--seed", "3", "broken") == 1
    again = capsys.readouterr().out
    assert first.splitlines()[-2:] == again.splitlines()[-2:]
    assert _main(monkeypatch, "--seed", "4", "broken") == 0
