"""Fresh processes in a millisecond: forked, bounded in time, with a result."""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from margod.model.errors import MargodError
from margod.vault import Vault
from tests.faults.campaign import Broken

T = TypeVar("T")

BOUND = 60
"""Seconds that a child may take; one takes a few milliseconds."""


class View(NamedTuple):
    """What a load shows."""

    binding: str
    records: tuple[tuple[str, bytes], ...]
    entries: int
    damaged: bool = False
    newer: bool = False

    def get(self, name: str) -> bytes | None:
        """Return a record."""
        return dict(self.records).get(name)


NOTHING = View("", (), 0)


class Look(NamedTuple):
    """What a fresh process finds: the view, or why there is none, and the codes of the findings."""

    view: View | None
    refused: str
    findings: tuple[str, ...]
    said: tuple[str, ...] = ()


def view_of(vault: Vault) -> View:
    """Return what an open vault shows."""
    records = tuple(sorted(vault.records.items()))
    return View(vault.binding, records, len(vault.entries), vault.damaged, vault.read_only)


def look(directory: Path) -> Look:
    """Open the vault here, close it, and return what it showed."""
    try:
        vault = Vault.open(directory)
    except MargodError as error:
        return Look(None, error.code, (), (error.message,))
    try:
        found = vault.findings
        return Look(view_of(vault), "", tuple(f.reason.code for f in found), tuple(f.message for f in found))
    finally:
        vault.close()


def fork(function: Callable[[], None]) -> int:
    """Start a child that does it and ends with 0, or with 1 and a traceback; returns its id."""
    child = os.fork()
    if child:
        return child
    try:
        signal.alarm(BOUND)
        function()
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(1)


def ended(child: int, seconds: float = BOUND) -> int:
    """Wait for a child and return its exit code, negative: the signal. Raises Broken if it hangs."""
    deadline, pause = time.monotonic() + seconds, 0.0005
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise Broken(f"process {child} did not end in {seconds} s")
        time.sleep(pause)
        pause = min(0.02, pause * 1.5)


def fresh(function: Callable[[], T]) -> T:
    """Return what `function` returns in a process of its own. Raises Broken if it hangs, dies or raises."""
    reading, writing = os.pipe()

    def work() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(function(), pipe)

    child = fork(work)
    os.close(writing)
    try:
        data = b""
        while select.select([reading], [], [], BOUND)[0] and (part := os.read(reading, 1 << 16)):
            data += part
    finally:
        os.close(reading)
    code = ended(child)
    if code:
        raise Broken(f"a process ended with {code}")
    result: Any = pickle.loads(data)
    return result  # type: ignore[no-any-return]
