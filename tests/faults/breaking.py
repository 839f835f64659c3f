"""Crashes and errors at every system call of a commit and an append: old or new afterwards, and the next try works."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from margod.model.errors import StateNotWritable
from margod.vault import Vault
from tests.vault.support import IDENTITY, answer, enrolled, opened

CALLS = ("open", "fchmod", "write", "fsync", "rename", "mkdir", "unlink", "rmdir", "close")
NEW: dict[str, bytes | None] = {"identity.key": b"key-2", "enrolment.json": None}

ACTIONS: dict[str, Callable[[Vault], None]] = {
    "commit": lambda vault: vault.commit(NEW, "b"),
    "append": lambda vault: vault.append(answer("client-2")),
}


class Counter:
    """Counts the calls of `os` that the store makes and acts before one of them."""

    def __init__(self, at: int, act: Callable[[str], None], *, lasting: bool = False) -> None:
        """Act before call number `at`, counted from 1, and before each one after it if `lasting`."""
        self.seen = 0
        self._at, self._act, self._lasting = at, act, lasting

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put counting functions in the place of those of `os`."""
        for name in CALLS:
            patch.setattr(os, name, self._counting(name, getattr(os, name)))

    def _counting(self, name: str, real: Any) -> Any:
        def call(*args: Any, **rest: Any) -> Any:
            self.seen += 1
            if self.seen == self._at or (self._lasting and self.seen > self._at):
                self._act(name)
            return real(*args, **rest)

        return call


def views(directory: Path) -> tuple[dict[str, bytes], str]:
    """Return records and binding as loaded anew, after making sure that nothing reads as damage."""
    with opened(directory) as vault:
        assert vault.findings == ()
        assert not vault.damaged
        return dict(vault.records), vault.binding


def expected(directory: Path, action: str) -> tuple[tuple[dict[str, bytes], str], tuple[dict[str, bytes], str]]:
    """Return what is loaded before and after the action, from a run without faults on a copy."""
    before = views(directory)
    copy = directory.with_name("copy")
    shutil.copytree(directory, copy)
    with opened(copy) as vault:
        ACTIONS[action](vault)
    after = views(copy)
    shutil.rmtree(copy)
    assert before != after
    return before, after


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
def test_killed_at_each_system_call(action: str, scratch: Path) -> None:
    """SIGKILL before call 1, 2, 3, ...: the next start finds the old or the new, works, and leaves nothing behind."""
    base = scratch / "base"
    enrolled(base)
    before, after = expected(base, action)
    outcomes = []
    number = 0
    going = True
    while going:
        number += 1
        directory = scratch / f"{number}"
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


@pytest.mark.parametrize("action", ACTIONS)
def test_an_error_at_each_system_call(action: str, scratch: Path) -> None:
    """ENOSPC, EDQUOT, EROFS, EIO or EMFILE, once or from then on: told, nothing changed, and what follows is kept."""
    base = scratch / "base"
    enrolled(base)
    before, after = expected(base, action)
    rng = random.Random(2)
    refused = {False: 0, True: 0}
    for lasting in refused:
        number, reached = 0, True
        while reached:
            number += 1
            said = rng.choice((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE))
            directory = scratch / f"{number}-{lasting}"
            shutil.copytree(base, directory)
            counter = Counter(number, _failing(said), lasting=lasting)
            refused[lasting] += _fail(counter, said, directory, action, before, after)
            reached = counter.seen >= number
    assert min(refused.values()) >= {"commit": 20, "append": 2}[action]


def _failing(said: int) -> Callable[[str], None]:
    def fail(name: str) -> None:
        if name != "close":
            raise OSError(said, os.strerror(said))

    return fail


def _fail(
    counter: Counter, said: int, directory: Path, action: str, before: tuple[Any, str], after: tuple[Any, str]
) -> bool:
    """Carry out the action with the failure that `counter` brings; return whether the action said so."""
    with opened(directory) as vault:
        with pytest.MonkeyPatch.context() as patch:
            counter.install(patch)
            try:
                ACTIONS[action](vault)
            except StateNotWritable as error:
                assert os.strerror(said) in error.message
                raised = True
            else:
                raised = False
        assert (dict(vault.records), vault.binding) == (before if raised else after)
        vault.append(answer("client-3"))
        held = dict(vault.records), vault.binding
    assert views(directory) == held
    with opened(directory) as vault:
        ACTIONS[action](vault)
        assert vault.binding == after[1]
    return raised


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
