"""Which files make up the configuration, and their bytes: bounded, regular files only, every failure a problem."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from margod.model.errors import Problem
from margod.model.text import clean
from margod.store import read_regular

DEFAULT_FILE: Final = Path("/etc/margod/margod.yaml")
DROP_INS: Final = "conf.d"
"""Directory beside the main file; its `*.yaml` are merged over it in the order of their names."""
LARGEST: Final = 1 << 20
"""Bytes of one file."""
MOST_DROP_INS: Final = 100


@dataclass(frozen=True, slots=True)
class Sources:
    """The main file. `named_by` is `MARGOD_CONFIG` or the like if somebody named it, "" for the default place."""

    main: Path
    named_by: str = ""

    @classmethod
    def find(cls, env: Mapping[str, str], argument: str | None = None) -> Sources:
        """Return the sources: a command-line `argument` before MARGOD_CONFIG before the default (empty is unset)."""
        if argument is not None:
            return cls(Path(argument).absolute(), "the command line")
        if env.get("MARGOD_CONFIG"):
            return cls(Path(env["MARGOD_CONFIG"]).absolute(), "MARGOD_CONFIG")
        return cls(DEFAULT_FILE)


def read_all(sources: Sources) -> tuple[list[tuple[Path, bytes]], list[Problem]]:
    """Return path and content of the main file and its drop-ins in the order in which they apply, and the problems.

    The main file may be missing at the default place (a dangling link there is a problem, though), not where somebody
    named it. A missing `conf.d` is no drop-ins.
    """
    found: list[tuple[Path, bytes]] = []
    paths, problems = _drop_ins(sources.main.parent / DROP_INS)
    if sources.named_by or not _is_absent(sources.main):
        paths.insert(0, sources.main)
    for path in paths:
        try:
            found.append((path, read_regular(path, LARGEST, follow=True)))
        except OSError as error:
            hint = f"named by {sources.named_by}" if sources.named_by and path == sources.main else ""
            problems.append(_unreadable(path, error, hint))
    return found, problems


def shown(path: Path) -> str:
    """Return `path` fit to be printed, whatever bytes it is made of."""
    return clean(os.fsencode(path).decode("utf-8", "backslashreplace"), 500)


def _drop_ins(directory: Path) -> tuple[list[Path], list[Problem]]:
    try:
        names = sorted(name for name in os.listdir(directory) if not name.startswith("."))  # noqa: PTH208  # one read of the directory, names only
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [_unreadable(directory, error, "")]
    problems = [
        Problem(shown(directory / name), None, "", "ends in .yml, so it would be passed over", "rename it to .yaml")
        for name in names
        if name.endswith(".yml")
    ]
    paths = [directory / name for name in names if name.endswith(".yaml")]
    if len(paths) > MOST_DROP_INS:
        problems.append(Problem(shown(directory), None, "", f"has more than {MOST_DROP_INS} drop-ins"))
    return paths[:MOST_DROP_INS], problems


def _is_absent(path: Path) -> bool:
    """Tell a missing file from a dangling link and from one that may not be looked for."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _unreadable(path: Path, error: OSError, hint: str) -> Problem:
    why = error.strerror or type(error).__name__
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        needed = "use root, or give this user the right to read it"
        hint = f"{hint}; {needed}" if hint else needed
    return Problem(shown(path), None, "", f"cannot be read: {why[0].lower()}{why[1:]}", hint)
