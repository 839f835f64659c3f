"""The vault: a device's records, held under a lock, changed by commits and appended answers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final

from margod.model.errors import MargodError, StateNotWritable, StateUnusable
from margod.model.reasons import STATE_DAMAGED, STATE_NEWER, STATE_NOT_WRITABLE, STATE_UNUSABLE, WIPED
from margod.store import append_line, commit_directory, drop_tree, move, replace_secret, shred_tree, sync_directory
from margod.vault import wiping
from margod.vault.answerlog import ANSWER, LOG, LOG_LIMIT, Entry, Line, encode
from margod.vault.check import ensure_directory, require_rights
from margod.vault.generation import Generation, directory_name, directory_number, files_of
from margod.vault.loading import Finding, Loaded, load, on_top, overlaid
from margod.vault.locking import lock, unlock
from margod.vault.mending import mend, quarantine

THIN_ABOVE: Final = 1 << 20
"""Bytes of log above which old intents are dropped: weeks of retrying must not outgrow what is read back."""
INTENTS_KEPT: Final = 64


class Vault:
    """The state directory of one margod, open and locked.

    `commit` replaces the whole set of records at once; `append` adds one accepted answer (or an intent) for the price
    of one synced line. Both are durable when they return, and both leave everything as it was when they raise.
    """

    def __init__(self, directory: Path, held: tuple[int, ...], found: Loaded) -> None:
        """Use `Vault.open`."""
        self._directory = directory
        self._held = held
        self._base = found.base or Generation(0, "", {})
        self._previous = found.previous
        self._highest = found.highest
        self._kept_aside = set(found.broken)
        self._stray = 0
        self._lines = list(found.lines)
        self._log_clean = False
        self.read_only = found.newer
        """A newer margod has written here: nothing is changed."""
        self.wiped = False
        """Everything was cleared on purpose, now or in an interrupted earlier run: nothing is written any more."""
        self.damaged = found.damaged
        """There was something and nothing valid is left: records are empty, nothing is appended, an identity must not
        be minted. It stays so over restarts, while quarantine/ holds a generation; a commit ends it."""
        self.findings: tuple[Finding, ...] = found.findings
        """What was quarantined, fell back, is newer, or could not be mended."""

    @classmethod
    def open(cls, directory: Path) -> Vault:
        """Lock, check, load and mend the state directory; make it (0700) if only it is missing.

        Raises StateInUse, StateUnusable (the message has the command that mends it; nothing was changed), or
        StateNotWritable if a missing directory cannot be made.
        """
        directory = directory.absolute()
        ensure_directory(directory)
        held = lock(directory)
        try:
            wiped = wiping.was_begun(directory)
            if wiped:
                with suppress(StateNotWritable):
                    wiping.finish(directory)
            found = load(directory, require_rights)
            vault = cls(directory, held, found)
            vault.wiped = wiped
            if not found.newer:
                vault._log_clean, unmended = mend(directory, found)
                vault.findings += tuple(unmended)
        except OSError as error:
            unlock(held)
            raise StateUnusable(STATE_UNUSABLE, f"{directory} cannot be read: {error.strerror or error}.") from error
        except BaseException:
            unlock(held)
            raise
        return vault

    @property
    def binding(self) -> str:
        """To what the records belong, as the last commit said; empty if there was none."""
        return self._base.binding

    @property
    def newest(self) -> int:
        """The highest number that a generation of this vault ever had, as far as anything here tells; 0 for none."""
        return self._highest

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The intents and answers since the last commit, oldest first. A commit folds them in and so ends them."""
        return tuple(line.entry for line in self._on_top())

    @property
    def records(self) -> Mapping[str, bytes]:
        """The records of the highest valid generation, with those of the answers accepted since laid over them."""
        return MappingProxyType(overlaid(self._base.records, self._on_top()))

    def commit(self, changes: Mapping[str, bytes | None], binding: str) -> None:
        """Make the present records with `changes` (None removes) the next generation, under `binding`.

        Who removes an accepted record for good gives a new binding: under the old one, a fall-back finds it again.
        Keeps the generation before it and the log lines that lead from there to here; deletes older ones. Raises
        StateNotWritable or StateUnusable with nothing changed, ValueError for a name or size out of bounds.
        """
        self._require_writable()
        merged = {name: data for name, data in {**self.records, **changes}.items() if data is not None}
        following = Generation(self._highest + 1, binding, merged)
        files = files_of(following)
        self._discard_stray()
        self._highest = self._stray = following.number
        try:
            commit_directory(self._directory, directory_name(following.number), files)
        except StateNotWritable:
            with suppress(StateNotWritable):
                self._discard_stray()
            raise
        self._stray = 0
        self._base, self._previous = following, self._base.number
        self.damaged = False
        # The commit is durable. What follows saves room only; a failure or a crash in it is made good by the next one.
        with suppress(MargodError, OSError):
            self._compact_log()
            self._remove_older()

    def append(self, entry: Entry) -> None:
        """Add one entry to the log. When it returns, the entry survives everything short of losing the disk.

        Raises StateNotWritable or StateUnusable, ValueError if it is no valid entry.
        """
        self._require_writable()
        if self.damaged:
            raise StateUnusable(STATE_DAMAGED)
        self._discard_stray()
        self._make_room(len(encode(entry, self._highest, self._base.binding).raw))
        line = encode(entry, self._base.number, self._base.binding)
        clean, self._log_clean = self._log_clean, False
        if not (clean and append_line(self._directory / LOG, line.raw, self._size())):
            self._write_log([*self._lines, line])
        self._lines.append(line)
        self._log_clean = True

    def wipe(self) -> None:
        """Clear the directory, every copy of every record; records are empty then, and nothing is written any more.

        Raises StateNotWritable: with `wiped` False nothing was done, otherwise something is left that the next opening
        tries to clear again.
        """
        wiping.begin(self._directory)
        self.wiped = True
        self._base, self._previous, self._lines, self.findings = Generation(0, "", {}), 0, [], ()
        wiping.finish(self._directory)

    def tell(self, message: str, *, set_aside: str | None = None) -> None:
        """Add a finding about a file that lies beside the generations; `set_aside`: move that into the quarantine."""
        self.findings += (Finding(STATE_DAMAGED, message),)
        if set_aside is not None:
            self.findings += tuple(quarantine(self._directory, set_aside))

    def close(self) -> None:
        """Give the lock back; nothing can be written any more."""
        unlock(self._held)
        self._held = ()

    def _require_writable(self) -> None:
        if self.wiped:
            raise StateUnusable(WIPED)
        if self.read_only:
            raise StateUnusable(STATE_NEWER)
        if not self._held:
            raise RuntimeError("the vault is closed")

    def _on_top(self) -> tuple[Line, ...]:
        return () if self.damaged else on_top(self._lines, self._base.number, self._base.binding)

    def _discard_stray(self) -> None:
        """Take back a generation whose commit failed after it became visible, before anything is built on the old one.

        Otherwise the next start would take it for the truth and leave out what was appended meanwhile.
        """
        if not self._stray:
            return
        path = self._directory / directory_name(self._stray)
        gone = self._directory / f".{path.name}.old"
        try:
            path.lstat()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StateNotWritable(STATE_NOT_WRITABLE, f"{path} cannot be reached: {error.strerror}.") from error
        else:
            move(path, gone)
        sync_directory(self._directory)  # also if it was moved by an attempt that failed here
        shred_tree(gone)
        self._stray = 0

    def _compact_log(self) -> None:
        """Drop the lines that neither this generation nor the one before it needs."""
        kept = [line for line in self._lines if line.generation >= self._previous]
        if len(kept) < len(self._lines) or not self._log_clean:
            self._lines, self._log_clean = kept, False
            self._write_log(kept)
            self._log_clean = True

    def _remove_older(self) -> None:
        for path in sorted(self._directory.iterdir()):
            number = directory_number(path.name)
            if number and number < self._previous and path.name not in self._kept_aside:
                drop_tree(self._directory, path.name)  # half removed, it must not look like a damaged one

    def _make_room(self, wanted: int) -> None:
        """See to it that the log with `wanted` more bytes is not larger than what is read back."""
        if self._size() + wanted <= THIN_ABOVE:
            return
        intents = [line for line in self._lines if line.entry.kind != ANSWER]
        dropped = {id(line) for line in intents[:-INTENTS_KEPT]}
        if dropped:
            self._lines, self._log_clean = [line for line in self._lines if id(line) not in dropped], False
        for _ in range(2):  # the first keeps the lines that lead to it, the second does not
            if self._size() + wanted > LOG_LIMIT:
                self.commit({}, self._base.binding)

    def _size(self) -> int:
        return sum(len(line.raw) for line in self._lines)

    def _write_log(self, lines: list[Line]) -> None:
        replace_secret(self._directory, LOG, b"".join(line.raw for line in lines))
