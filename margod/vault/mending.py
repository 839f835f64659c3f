"""What is done at opening about what was found: set aside what is broken, sweep what a crash left, sync what is used.

None of it is needed to go on, so none of it stops the daemon: what cannot be done becomes a finding.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from margod.model.errors import MargodError, StateNotWritable
from margod.model.reasons import STATE_NOT_WRITABLE
from margod.store import drop_tree, move, replace_secret, shred_tree, sync_directory, sync_file, write_file
from margod.vault.answerlog import LOG
from margod.vault.generation import directory_number
from margod.vault.loading import QUARANTINE, Finding, Loaded

_COPIES = 32
"""Things of one name that the quarantine takes; a disk that fails daily must not be filled by us too."""


def mend(directory: Path, found: Loaded) -> tuple[bool, list[Finding]]:
    """Set aside, sweep and sync. Returns whether the log is now clean, and what could not be done."""
    findings: list[Finding] = []
    clean = found.log_clean
    for name in found.leftovers:
        _attempt(findings, partial(_sweep, directory, name))
    for name in found.broken:
        _attempt(findings, partial(set_aside, directory, name))
    if found.log_broken is not None:
        clean = _attempt(findings, partial(_mend_log, directory, found))
    _sync(directory, found, findings)
    return clean, findings


def quarantine(directory: Path, name: str) -> list[Finding]:
    """Set what is broken aside. Returns what could not be done."""
    findings: list[Finding] = []
    _attempt(findings, partial(set_aside, directory, name))
    return findings


def _sweep(directory: Path, name: str) -> None:
    """Remove what nothing refers to; there may be a key in it."""
    if directory_number(name):
        drop_tree(directory, name)
        return
    sync_directory(directory)  # its name may be as new as the crash that left it
    shred_tree(directory / name)


def _sync(directory: Path, found: Loaded, findings: list[Finding]) -> None:
    """Make what was read durable before anyone believes it.

    A margod that was killed between a write and its sync leaves bytes that this one reads and a power cut takes back.
    """
    if found.base is None:
        # The directory itself may be new: made by us, or by a service manager that does not sync. A parent that we may
        # not read is not ours to sync.
        with suppress(StateNotWritable):
            sync_directory(directory.parent)
    if found.log_clean:
        _attempt(findings, partial(sync_file, directory / LOG))
    if found.base is not None or found.log_clean:
        _attempt(findings, partial(sync_directory, directory))


def _mend_log(directory: Path, found: Loaded) -> None:
    if found.log_broken:
        holder = _quarantine(directory)
        write_file(holder, _free(holder, LOG).name, found.log_broken)
    else:
        set_aside(directory, LOG)
    replace_secret(directory, LOG, b"".join(line.raw for line in found.lines))


def set_aside(directory: Path, name: str) -> None:
    """Move `directory/name` into the quarantine. Raises StateNotWritable."""
    move(directory / name, _free(_quarantine(directory), name))


def _quarantine(directory: Path) -> Path:
    """Return the quarantine, made if need be and durable: what is moved into it must not vanish with it."""
    holder = directory / QUARANTINE
    if holder.is_symlink() or not holder.is_dir():
        try:
            holder.mkdir(mode=0o700)
        except OSError as error:
            raise StateNotWritable(STATE_NOT_WRITABLE, f"{holder} cannot be made: {error.strerror}.") from error
    sync_directory(directory)
    return holder


def _free(holder: Path, name: str) -> Path:
    """Return a path for `name` in the quarantine that is not taken yet."""
    for copy in range(_COPIES):
        path = holder / (f"{name}.{copy}" if copy else name)
        if not path.exists() and not path.is_symlink():
            return path
    raise StateNotWritable(STATE_NOT_WRITABLE, f"{holder} is full of {name}; look at it and move it away.")


def _attempt(findings: list[Finding], action: Callable[[], None]) -> bool:
    try:
        action()
    except MargodError as error:
        findings.append(Finding(error.reason, error.message))
        return False
    except OSError as error:  # a look that fails, as pathlib does it
        message = f"{error.filename or QUARANTINE} cannot be reached: {error.strerror or error}."
        findings.append(Finding(STATE_NOT_WRITABLE, message))
        return False
    return True
