"""The root CAs of which another one has taken the place: none of them vouches for the WFM again by itself.

    another root in the place of one ──> its fingerprint into the file `retired` ──> the commit, which carries it too

The file lies beside the generations, so that an older copy of those does not bring a retired root back; the record in
the generations makes good a file that is damaged or gone. What either of them says counts. Only a person takes a root
back: by trust.ca_file, trust.pin or `margod trust accept`. See docs/decisions/0017-retired-anchors.md.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from margod import trust
from margod.model.errors import StateNotWritable
from margod.shell.place import name_of
from margod.shell.records import ANCHORS, RETIRED, WFM, json_object
from margod.store import read_regular, write_file
from margod.vault import Vault

log: Final = structlog.get_logger()

FILE: Final = "retired"
LIMIT: Final = 64
"""Roots that are remembered, the last ones: a WFM that makes itself a root at every start fills no disk."""
FILE_LIMIT: Final = 65_536
"""Bytes of the file that are read; `LIMIT` lines have a tenth of it."""

_NO_FILE: Final = {errno.EISDIR, errno.EINVAL, errno.EFBIG, errno.ELOOP}
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_LINE: Final = re.compile(r"(([0-9a-f]{64})(?: ([1-9][0-9]{0,14}))?) ([0-9a-f]{8})")


@dataclass(frozen=True, slots=True)
class Roots:
    """Fingerprints (hex SHA-256), oldest first, at most `LIMIT` each. Pure.

    `dropped` went without another in their place (`margod trust forget`): the same may come again, another one retires
    them.
    """

    retired: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


def after(known: Roots, before: Mapping[str, bytes], following: Mapping[str, bytes], back: Collection[str]) -> Roots:
    """Return what is known once the records `following` are in the place of `before`; `back`: a person wants these.

    Anchors of another WFM's place are left there, not retired.
    """
    was, now = (trust.fingerprints(records.get(ANCHORS, b"")) for records in (before, following))
    places = [name_of(json_object(records.get(WFM, b""))) for records in (before, following)]
    dropped = (*known.dropped, *was) if places[0] == places[1] else ()
    dropped = tuple(each for each in dict.fromkeys(dropped) if each not in now)
    retired = (*known.retired, *dropped) if now else known.retired
    return Roots(_last(each for each in retired if each not in back), () if now else dropped[-LIMIT:])


def encode_record(known: Roots) -> bytes | None:
    """Return the record retired.json; None where there is nothing to say."""
    if known == Roots():
        return None
    return json.dumps({"retired": list(known.retired), "dropped": list(known.dropped)}).encode("ascii")


def read_record(record: bytes) -> Roots:
    """Read what `encode_record` wrote; what cannot be read counts for nothing."""
    value = json_object(record)

    def fingerprints(name: str) -> tuple[str, ...]:
        found = value.get(name)
        words = [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
        return _last(each for each in words if _FINGERPRINT.fullmatch(each))

    return Roots(fingerprints("retired"), fingerprints("dropped"))


def encode_file(retired: Collection[str], coming: Collection[str] = (), number: int = 0) -> bytes:
    """Return the file: a root a line, with a sum. `coming` are retired by the commit of generation `number`."""
    bodies = [*retired, *(f"{each} {number}" for each in coming)]
    return "".join(f"{body} {_sum(body)}\n" for body in bodies).encode("ascii")


def read_file(data: bytes, newest: int) -> tuple[tuple[str, ...], int]:
    """Return the roots that the file says are retired, and the number of its damaged lines.

    One that was to be retired by a generation above `newest`, the highest that there ever was, was not: the commit
    never came.
    """
    found, damaged = [], 0
    for line in data.decode("ascii", "replace").split("\n"):
        match = _LINE.fullmatch(line)
        if match is None or _sum(match[1]) != match[4]:
            damaged += bool(line)
        elif int(match[3] or 0) <= newest:
            found.append(match[2])
    return _last(found), damaged


def peek(directory: Path, records: Mapping[str, bytes]) -> frozenset[str]:
    """Return what file and `records` say, without lock and without changing anything; for `margod check`."""
    filed, _ = read_file(_read(directory / FILE)[0] or b"", 0)
    return frozenset((*read_record(records.get(RETIRED, b"")).retired, *filed))


class Retired:
    """What one device knows of them. Of the disk thread, like the vault."""

    def __init__(self) -> None:
        """Know nothing before `load`."""
        self._known = Roots()
        self._directory = Path()
        self._written: bytes | None = b""
        """What the file holds; None where that is not known."""

    @property
    def roots(self) -> frozenset[str]:
        """The fingerprints of the retired roots."""
        return frozenset(self._known.retired)

    def load(self, directory: Path, vault: Vault) -> None:
        """Take what file and generations say, and bring the file up to date. Never raises."""
        self._directory = directory
        recorded = read_record(vault.records.get(RETIRED, b""))
        self._written, problem, damaged = _read(directory / FILE)
        filed, lines = read_file(self._written or b"", vault.newest)
        if lines:
            problem, damaged = f"has damaged lines: {lines}; the others are used", True
        self._known = Roots(_last((*recorded.retired, *filed)), recorded.dropped)
        frozen = vault.read_only or vault.wiped
        if problem:
            vault.tell(f"{FILE} {problem}.", set_aside=FILE if damaged and not frozen else None)
        if not frozen and (damaged or self._written is not None):
            with suppress(StateNotWritable):  # the next commit tries again
                self._write(encode_file(self._known.retired), again=damaged)

    def commit(
        self, vault: Vault, changes: Mapping[str, bytes | None], binding: str, back: Collection[str] = ()
    ) -> None:
        """Commit `changes` as `vault.commit` does, what they retire written before; `back`: a person wants these.

        Raises as `vault.commit`, with nothing changed. A file that cannot be written holds up nothing but the return
        of a root.
        """
        before, now = vault.records, self._known
        following = {name: data for name, data in {**before, **changes}.items() if data is not None}
        if ANCHORS in changes or back:
            now = after(self._known, before, following, back)
        record = encode_record(now)
        if following.get(RETIRED) != record:
            changes = {**changes, RETIRED: record}
        stay = [each for each in self._known.retired if each in now.retired]
        coming = [each for each in now.retired if each not in stay]
        if not (vault.read_only or vault.wiped):
            self._announce(encode_file(stay, coming, vault.newest + 1), must=len(stay) < len(self._known.retired))
        try:
            vault.commit(changes, binding)
        except BaseException:
            with suppress(StateNotWritable):
                self._write(encode_file(self._known.retired))
            raise
        known, self._known = self._known, now
        with suppress(StateNotWritable):  # the generation says it too; the next start or commit makes it good
            self._write(encode_file(now.retired))
        for fingerprint in coming:
            log.info("root-ca-retired", fingerprint=fingerprint)
        for fingerprint in set(known.retired) & set(back):
            log.warning("root-ca-trusted-again", fingerprint=fingerprint)

    def _announce(self, data: bytes, *, must: bool) -> None:
        """Write what is to be so. Raises StateNotWritable only where it `must` be so before anything else is."""
        try:
            self._write(data)
        except StateNotWritable as error:
            if must:
                raise
            log.warning("answer-not-recorded", code=error.code, message=error.message, hint=error.hint)

    def _write(self, data: bytes, *, again: bool = False) -> None:
        if data == self._written and not again:
            return
        self._written = None  # a failure leaves the one or the other
        write_file(self._directory, FILE, data)
        self._written = data


def _read(path: Path) -> tuple[bytes | None, str, bool]:
    """Return the file's bytes (none if there is no file, None if it cannot be read), what is wrong, if it is damage."""
    try:
        return read_regular(path, FILE_LIMIT), "", False
    except FileNotFoundError:
        return b"", "", False
    except OSError as error:  # others than these may heal
        return None, f"cannot be read: {error.strerror or error}", error.errno in _NO_FILE


def _last(fingerprints: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(fingerprints))[-LIMIT:]


def _sum(body: str) -> str:
    return hashlib.sha256(body.encode("ascii")).hexdigest()[:8]
