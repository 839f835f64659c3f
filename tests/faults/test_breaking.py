"""Crashes and errors at every call of the store, made in this process: quick enough to be done whole each time."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from margod.model.errors import StateUnusable
from margod.vault import Vault
from tests.faults.breaking import ACTIONS, Counter, expected, failing_calls, views
from tests.faults.campaign import carry_out
from tests.vault.support import IDENTITY, answer, enrolled, opened


def killed_before_call(number: int, directory: Path, action: str) -> bool:
    """Run the action in a child that is killed before its call `number`; False if it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            vault = Vault.open(directory)
            with pytest.MonkeyPatch.context() as patch:
                Counter(number, lambda _name: os.kill(os.getpid(), signal.SIGKILL)).install(patch)
                ACTIONS[action](vault)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("action", ACTIONS)
def test_killed_at_each_system_call(action: str, tmp_path: Path) -> None:
    """SIGKILL before call 1, 2, 3, ...: the next start finds the old or the new, works, and leaves nothing behind."""
    base = tmp_path / "base"
    enrolled(base)
    before, after = expected(base, action)
    outcomes = []
    number = 0
    going = True
    while going:
        number += 1
        directory = tmp_path / f"{number}"
        shutil.copytree(base, directory)
        going = killed_before_call(number, directory, action)
        found = views(directory)
        assert found in (before, after), number
        outcomes.append(found == after)
        with opened(directory) as vault:
            vault.append(answer("client-3"))
        assert views(directory)[0]["enrolment.json"] == b"client-3"
        assert not [path for path in directory.iterdir() if path.name.startswith(".")]
    assert outcomes == sorted(outcomes), "once it was there, it stayed"
    assert outcomes[0] is False
    assert number > {"commit": 30, "append": 3}[action], "the calls were counted"


def test_an_error_at_each_call() -> None:
    """ENOSPC, EDQUOT, EROFS, EIO or EMFILE, once or from then on: told, nothing changed, and what follows is kept."""
    run = carry_out(failing_calls, seed=2, scale=0.1)
    assert run.figures["commit: errors told"] >= 40
    assert run.figures["append: errors told"] >= 4


def test_an_unreadable_moment_is_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without file descriptors nothing falls back or is quarantined: it blocks, and heals by itself."""
    directory = tmp_path / "margod"
    enrolled(directory)
    real = os.open

    def short(path: Any, *args: Any, **rest: Any) -> int:
        if "identity.key" in str(path):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, *args, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", short)
        with pytest.raises(Exception, match="Too many open files"):
            Vault.open(directory)
    assert not (directory / "quarantine").exists()
    assert views(directory)[0] == {**IDENTITY, "enrolment.json": b"client-1", "report.json": b"report"}


def test_an_io_error_in_one_generation_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EIO on read means that the bytes are gone: the generation before serves."""
    directory = tmp_path / "margod"
    enrolled(directory)
    real = os.open

    def sick(path: Any, *args: Any, **rest: Any) -> int:
        if "gen-000002/identity.key" in str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, *args, **rest)

    monkeypatch.setattr(os, "open", sick)
    with opened(directory) as vault:
        assert "Input/output error" in vault.findings[0].message
        assert vault.records["enrolment.json"] == b"client-1"


def test_an_io_error_everywhere_sets_nothing_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EIO in every generation may be the cable: it blocks, moves nothing, and heals by itself."""
    directory = tmp_path / "margod"
    enrolled(directory)
    real = os.open

    def sick(path: Any, *args: Any, **rest: Any) -> int:
        if "identity.crt" in str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, *args, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", sick)
        with pytest.raises(StateUnusable, match="Input/output error"):
            Vault.open(directory)
    assert not (directory / "quarantine").exists()
    assert views(directory)[0] == {**IDENTITY, "enrolment.json": b"client-1", "report.json": b"report"}
