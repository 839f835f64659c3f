"""The campaign's own command: figures, exit codes, and the seed that repeats what went wrong."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest

from tests.faults import __main__ as campaign
from tests.faults.campaign import Impossible, Run, carry_out, need, promise


@pytest.fixture(autouse=True)
def _no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine does meanwhile, a suite takes no second."""
    monkeypatch.setattr("tests.faults.campaign.time", SimpleNamespace(monotonic=lambda: 7.0))


def _whole(run: Run) -> None:
    run.count("things done", 1000)


def _impossible(_run: Run) -> None:
    need("no-such-program")


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


def test_what_is_left_out_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A suite that cannot be carried out here, or only in part, is named; the others are; the end is not a success."""

    def partly(run: Run) -> None:
        run.gaps.append("owners need root")

    suites = {"no": (_impossible, 2, 10), "partly": (partly, 1, 10), "whole": (_whole, 1, 10)}
    monkeypatch.setattr(campaign, "SUITES", suites)
    monkeypatch.setattr(sys, "argv", ["faults"])
    assert campaign.main() == campaign.INCOMPLETE
    said = capsys.readouterr().out
    assert "things done | 1,000 |" in said
    assert "left out, so nothing is known of it: no: not installed: no-such-program" in said
    assert "left out, so nothing is known of it: partly: owners need root" in said
    assert "whole, seed 1: 0 s" in said


@pytest.mark.parametrize("name", ["real-power-cuts", "small-disks", "network"])
def test_without_root(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What needs root says so."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Impossible, match="needs root"):
        carry_out(campaign.SUITES[name][0], seed=1, scale=0.05)


def test_a_broken_promise_names_its_seed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The first broken promise ends it with 1; the seed that is printed repeats it, alone and to the same number."""
    assert _main(monkeypatch) == 1
    first = capsys.readouterr().out
    assert "make faults ARGS='--seed 3 broken'" in first
    assert _main(monkeypatch, "--seed", "3", "broken") == 1
    again = capsys.readouterr().out
    assert first.splitlines()[-2:] == again.splitlines()[-2:]
    assert _main(monkeypatch, "--seed", "4", "broken") == 0
