"""Errors at every call of a commit and an append, in this process: told, nothing changed, and what follows is kept."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from margod.model.errors import StateNotWritable
from margod.vault import Vault
from tests.faults.campaign import Run
from tests.vault.support import answer, enrolled, opened

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


ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE)


def failing_calls(run: Run) -> None:
    """Each call fails, once or from then on, with each error; in a short run with a seeded one."""
    rng = run.rng
    base = run.place / "base"
    enrolled(base)
    for action in ACTIONS:
        before, after = expected(base, action)
        for lasting, said in product((False, True), ERRORS if run.scale >= 0.5 else (0,)):
            number, reached = 0, True
            while reached:
                number += 1
                error = said or rng.choice(ERRORS)
                directory = run.place / "vault"
                shutil.copytree(base, directory)
                counter = Counter(number, _failing(error), lasting=lasting)
                run.count(f"{action}: errors told", _fail(counter, error, directory, action, before, after))
                run.count(f"{action}: calls that failed")
                reached = counter.seen >= number
                shutil.rmtree(directory)


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
