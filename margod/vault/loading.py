"""Reading a vault without changing anything in it: what is valid, what is on top of it, what is broken."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from margod.model.errors import StateUnusable
from margod.model.reasons import STATE_DAMAGED, STATE_NEWER, STATE_UNUSABLE, Reason
from margod.vault.answerlog import ANSWER, LOG, LOG_LIMIT, Line, Parsed, parse
from margod.vault.check import Damaged, Guard, NewerFormat, anyones, read_directory, read_file
from margod.vault.generation import Generation, directory_name, directory_number, read_generation

QUARANTINE: Final = "quarantine"

_LEFTOVER: Final = re.compile(r"\.gen-[0-9]+\.(new|old)|\.answer\.log\.new")
_EXAMINED: Final = 64
"""Generations looked at before giving up: there are two, or three after a crash."""
_COUNTED: Final = 10**12
"""Directory numbers from here on are not counted from: nobody commits so often."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the stored state that a person should know: why, and which part of it."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """All that a look into the directory tells."""

    base: Generation | None
    """The highest valid generation."""
    previous: int
    """The number of the valid one below it; 0 if there is none."""
    lines: tuple[Line, ...]
    """Every good line of the log, whatever its generation and binding."""
    log_clean: bool
    """There is a log, and it holds the good lines and nothing else."""
    log_broken: bytes | None
    """The log's bytes if there are damaged lines in it; empty if it cannot be read at all."""
    broken: tuple[str, ...]
    """Names of generations that do not verify."""
    leftovers: tuple[str, ...]
    """Names that a crash or an unfinished clean-up left behind; nothing refers to them."""
    highest: int
    """The highest number that a generation of this vault ever had, as far as anything here tells."""
    damaged: bool
    """There was a valid generation once and there is none now."""
    newer: bool
    findings: tuple[Finding, ...]


def load(directory: Path, guard: Guard) -> Loaded:
    """Read everything. Raises StateUnusable if `guard` refuses a file, or if something cannot be read now."""
    try:
        names = read_directory(directory, guard)
    except Damaged as error:
        raise StateUnusable(STATE_UNUSABLE, f"{directory} cannot be read: {error}.") from error
    numbers = sorted((n for n in map(directory_number, names) if n), reverse=True)
    valid, broken, newer, findings = _generations(directory, numbers[:_EXAMINED], guard)
    log, log_broken = _log(directory, names, guard, findings)
    if newer or log.newer:
        findings.append(Finding(STATE_NEWER, STATE_NEWER.says))
    quarantined = [n for n in map(directory_number, _quarantined(directory, names)) if n]
    past = [n for n in (*numbers, *quarantined) if n < _COUNTED] + [line.generation for line in log.lines]
    evidence = bool(broken or quarantined or log_broken is not None or any(line.generation for line in log.lines))
    if not valid and quarantined and not broken:
        findings.append(Finding(STATE_DAMAGED, f"No valid generation is left; the last one is in {QUARANTINE}/."))
    lowest = min((generation.number for generation in valid), default=0)
    stale = tuple(directory_name(n) for n in numbers if n < lowest) if len(valid) > 1 else ()
    return Loaded(
        base=valid[0] if valid else None,
        previous=valid[1].number if len(valid) > 1 else 0,
        lines=log.lines,
        log_clean=LOG in names and not log.torn and log_broken is None,
        log_broken=log_broken,
        broken=tuple(broken),
        leftovers=(*(name for name in names if _LEFTOVER.fullmatch(name)), *stale),
        highest=max([*past, valid[0].number if valid else 0]),
        damaged=not valid and evidence and not newer,
        newer=newer or log.newer,
        findings=tuple(findings),
    )


def on_top(lines: Sequence[Line], generation: int, binding: str) -> tuple[Line, ...]:
    """Return the lines that count on top of `generation`: written on it or later, under the same binding.

    Later ones are there if the generation that they were written on is damaged and this one is what is left.
    """
    return tuple(line for line in lines if line.generation >= generation and line.binding == binding)


def overlaid(records: Mapping[str, bytes], lines: Sequence[Line]) -> dict[str, bytes]:
    """Return `records` with those of the accepted answers in `lines` laid over them, in order."""
    view = dict(records)
    for line in lines:
        if line.entry.kind == ANSWER:
            view.update(line.entry.records)
    return view


def peek(directory: Path) -> Mapping[str, bytes]:
    """Return the records as `Vault.open` would, without lock, without checking rights, without changing anything.

    For a look while no daemon runs. Empty if nothing valid is stored. Raises StateUnusable if it cannot be read.
    """
    found = load(directory.absolute(), anyones)
    if found.base is None:
        return {} if found.damaged else overlaid({}, on_top(found.lines, 0, ""))
    return overlaid(found.base.records, on_top(found.lines, found.base.number, found.base.binding))


def _generations(
    directory: Path, numbers: Sequence[int], guard: Guard
) -> tuple[list[Generation], list[str], bool, list[Finding]]:
    """Return the two highest valid ones, the names of broken ones among those looked at, whether any is newer.

    Raises StateUnusable if none is left because of what cannot be read: a cable or a controller that fails once must
    not set the last copy of an identity aside.
    """
    valid: list[Generation] = []
    broken: list[str] = []
    newer = False
    findings: list[Finding] = []
    unreadable = ""
    for number in numbers:
        if len(valid) == 2:
            break
        try:
            valid.append(read_generation(directory, number, guard))
        except NewerFormat:
            newer = True
        except Damaged as error:
            broken.append(directory_name(number))
            unreadable = f"{error}" if error.unreadable else unreadable
            findings.append(Finding(STATE_DAMAGED, f"{directory_name(number)} is damaged: {error}."))
    if unreadable and not valid and not newer:
        raise StateUnusable(STATE_UNUSABLE, f"{directory} cannot be read: {unreadable}.")
    return valid, broken, newer, findings


def _log(directory: Path, names: Sequence[str], guard: Guard, findings: list[Finding]) -> tuple[Parsed, bytes | None]:
    if LOG not in names:
        return Parsed(), None
    try:
        data = read_file(directory / LOG, LOG_LIMIT, guard)
    except Damaged as error:
        findings.append(Finding(STATE_DAMAGED, f"{LOG} cannot be read: {error}."))
        return Parsed(), b""
    log = parse(data)
    if not log.damaged:
        return log, None
    findings.append(Finding(STATE_DAMAGED, f"{LOG} has damaged lines: {log.damaged}; the others are used."))
    return log, data


def _quarantined(directory: Path, names: Sequence[str]) -> list[str]:
    """Return the names in the quarantine, without what tells copies of the same name apart."""
    if QUARANTINE not in names:
        return []
    try:
        return [name.partition(".")[0] for name in read_directory(directory / QUARANTINE, anyones)]
    except Damaged:
        return []
