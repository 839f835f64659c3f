"""Several pytest processes share one run: each takes the next file that none of the others has taken.

The end-to-end tests wait and compute in turns, the others compute; whichever process is free goes on with what is left,
so that all of them end at about the same time. A folder named by MARGOD_TESTS_SHARED says what is taken; without it
every process runs everything, as pytest does. `python -m tests.sharing FOLDER` says afterwards whether every test ran.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Final

import pytest

SHARED: Final = "MARGOD_TESTS_SHARED"


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run what this process can take of a shared run; as pytest's own loop in everything else."""
    folder = os.environ.get(SHARED)
    if not folder or session.config.option.collectonly:
        return None
    if session.testsfailed:
        raise session.Interrupted(f"{session.testsfailed} errors during collection")
    shared = Path(folder)
    ended = shared / f"{os.getpid()}.ended"
    (shared / f"{os.getpid()}.wanted").write_text("".join(f"{item.nodeid}\n" for item in session.items))
    # One file is taken ahead: pytest keeps what the next test needs as well, a booted system for one.
    items = chain.from_iterable(taken(shared, session.items))
    with ended.open("w", buffering=1) as record:
        for item, following in pairwise(chain(items, [None])):
            assert item is not None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            record.write(f"{item.nodeid}\n")
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
    return True


def taken(shared: Path, items: Iterable[pytest.Item]) -> Iterator[list[pytest.Item]]:
    """Take one group of tests after the other, those first that take longest, as long as there are any."""
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(_group(item), []).append(item)
    for name, group in sorted(groups.items(), key=lambda pair: (min(map(_rank, pair[1])), pair[0])):
        try:
            (shared / f"taken-{name.replace('/', ':')}").open("x").close()
        except FileExistsError:
            continue
        yield group


def _group(item: pytest.Item) -> str:
    """Return what is taken together: a file, or all that looks at the one system with margod installed in it."""
    return "installed_box" if "installed_box" in getattr(item, "fixturenames", ()) else item.nodeid.partition("::")[0]


def _rank(item: pytest.Item) -> int:
    """Return 0 for what waits longest, 1 for what waits and computes, 2 for what computes."""
    return 0 if item.get_closest_marker("system") else 1 if item.get_closest_marker("e2e") else 2


def missing(shared: Path) -> list[str]:
    """Return the tests that one of the processes wanted and none ended."""
    wanted, ended = (
        {line for file in shared.glob(f"*.{kind}") for line in file.read_text().splitlines()}
        for kind in ("wanted", "ended")
    )
    return sorted(wanted - ended)


def main() -> None:
    """Name the tests that were lost, and fail if there are any, or if nothing was collected."""
    shared = Path(sys.argv[1])
    lost = missing(shared)
    for test in lost:
        print(f"test: never run to its end: {test}")
    if lost or not any(shared.glob("*.wanted")):
        raise SystemExit("test: not everything ran")


if __name__ == "__main__":
    main()
