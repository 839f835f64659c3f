"""Killed at every system call: strace counts the calls of one action on the vault, then kills it before each of them.

The action runs in a child that stops itself first; strace is attached, it goes on, and SIGKILL comes as one call is
entered and before it is carried out. The log of each run has to end in the call that was meant.
"""

from __future__ import annotations

import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from margod.protocols.token.credentials import GIT
from margod.shell import moving
from margod.shell.records import WFM
from margod.store import write_file
from margod.vault import Vault
from margod.vault.answerlog import encode
from tests.faults.campaign import Broken, Run, need, promise
from tests.faults.children import BOUND, Look, ended, fork, fresh, look
from tests.vault.support import IDENTITY, answer, enrolled, intent, opened

TRACED = "%file,%desc"
"""Every call that takes a file name or a file descriptor."""

_CALL = re.compile(r"(\w+)\(.*")
_OTHERS = ("runtime.json", "config.last-good")
_THERE = "https://wfm.example"
_MOVING: dict[str, Any] = {"begun": True, "per_wfm": False, "at": 1.0}
_MEMORY = {"mmap"}
"""Takes a descriptor and is also how memory is asked for: that is not the same each time and leaves nothing behind."""


@dataclass(frozen=True)
class Action:
    """Something done to a vault. `evidence` has to be found somewhere below the directory, whenever it dies."""

    prepare: Callable[[Path], object]
    begin: Callable[[Path], object]
    act: Callable[[Path, object], object]
    evidence: tuple[bytes, ...] = ()


def _minted(directory: Path) -> None:
    with opened(directory) as vault:
        vault.commit(IDENTITY, "a")


def _mint(directory: Path, _state: object) -> None:
    Vault.open(directory).commit(IDENTITY, "a")


def _disordered(directory: Path) -> None:
    """Leave a broken newest generation, a damaged line in the log, and what crashes leave behind."""
    enrolled(directory)
    (directory / "gen-000002/report.json").write_bytes(b"broken")
    with (directory / "answer.log").open("ab") as log:
        log.write(encode(intent(7.0), 2, "a").raw.replace(b"7.0", b"8.0") + encode(intent(9.0), 2, "a").raw)
    for leftover in (".gen-000003.new", ".gen-000001.old"):
        (directory / leftover).mkdir(mode=0o700)
        (directory / leftover / "identity.key").write_bytes(b"half")
    (directory / ".answer.log.new").write_bytes(b"half")


def _ruined(directory: Path) -> None:
    """Leave two broken generations and no log."""
    enrolled(directory)
    (directory / "gen-000001/identity.crt").write_bytes(b"broken")
    (directory / "gen-000002/identity.crt").write_bytes(b"shattered")
    (directory / "answer.log").unlink()


def _replace(name: str) -> Callable[[Path, object], object]:
    return lambda directory, _state: write_file(directory, name, b"new: 1\n")


def _with_copies(directory: Path) -> None:
    enrolled(directory)
    for name in _OTHERS:
        write_file(directory, name, b"old: 1\n")


def _with_token(directory: Path) -> None:
    """Leave what an onboarding in the `token` generation leaves, with a Git token that is not proven yet."""
    enrolled(directory)
    with opened(directory) as vault:
        record = json.dumps({"url": _THERE, "protocol": "token"}).encode()
        vault.commit({WFM: record, GIT: b"git-1", "git-next.json": b"git-2"}, "a")


def _moved(directory: Path) -> None:
    """Leave the same device as one of another generation at the same URL."""
    _with_token(directory)
    with opened(directory) as vault:
        vault.commit(moving.move(dict(vault.records), _THERE, url=_THERE, **_MOVING), "b")
        record = json.dumps({"url": _THERE, "protocol": "signed"}).encode()
        vault.commit({WFM: record, "enrolment.json": b"client-2"}, "b")


def _on(act: Callable[[Vault], None]) -> Callable[[Path, object], object]:
    def on(_directory: Path, vault: object) -> None:
        assert isinstance(vault, Vault)
        act(vault)

    return on


def _nothing(_directory: Path) -> None:
    return


ACTIONS: dict[str, Action] = {
    "mint": Action(_nothing, _nothing, _mint),
    "first append": Action(_minted, Vault.open, _on(lambda vault: vault.append(intent()))),
    "append": Action(enrolled, Vault.open, _on(lambda vault: vault.append(answer("client-2")))),
    "commit": Action(
        enrolled, Vault.open, _on(lambda vault: vault.commit({"identity.key": b"key-2", "enrolment.json": None}, "b"))
    ),
    "another Git token": Action(
        _with_token, Vault.open, _on(lambda vault: vault.commit({GIT: b"git-2", "git-next.json": None}, "a"))
    ),
    "another generation": Action(
        _with_token,
        Vault.open,
        _on(lambda vault: vault.commit(moving.move(dict(vault.records), _THERE, url=_THERE, **_MOVING), "b")),
    ),
    "back to token": Action(
        _moved,
        Vault.open,
        _on(
            lambda vault: vault.commit(moving.move(dict(vault.records), f"token {_THERE}", url=_THERE, **_MOVING), "a")
        ),
    ),
    "load": Action(enrolled, _nothing, lambda directory, _state: Vault.open(directory)),
    "load and mend": Action(
        _disordered,
        _nothing,
        lambda directory, _state: Vault.open(directory),
        (b"broken", encode(intent(7.0), 2, "a").raw.replace(b"7.0", b"8.0")),
    ),
    "load and give up": Action(
        _ruined, _nothing, lambda directory, _state: Vault.open(directory), (b"broken", b"shattered", b"key-1")
    ),
    "runtime.json": Action(_with_copies, _nothing, _replace("runtime.json")),
    "config.last-good": Action(_with_copies, _nothing, _replace("config.last-good")),
}


def crash_points(run: Run) -> None:
    """Kill each action before each of its system calls; in a part of the runs, kill the next load too."""
    need("strace")
    rng = run.rng
    for name, action in ACTIONS.items():
        every(run, name, action, rng)


def every(run: Run, name: str, action: Action, rng: random.Random) -> None:
    """Kill one action at each call, or at a seeded sample of them in a short run, and check what is left."""
    base = run.place / "base"
    action.prepare(base)
    before = after = _state(base, run.place)
    calls = _calls(action, base, run.place / "whole")
    after = _state(run.place / "whole", run.place)
    shutil.rmtree(run.place / "whole")
    if name == "load and mend":
        before = after  # a load shows the same before it has mended and after it
    places = range(len(calls) + 1)
    some = min(len(places), run.of(len(calls) * 2, 4))
    chosen = sorted({0, len(calls), *rng.sample(places, some)})
    outcomes = []
    for at in chosen:
        directory = run.place / "killed"
        if base.exists():
            shutil.copytree(base, directory)
        _kill(action, directory, calls, at)
        if rng.random() < 0.3 and directory.exists():
            _kill_load(directory, rng, run)
        outcomes.append(
            _check(name, action, directory, (before, after), f"{name}: call {at + 1}, {calls[at : at + 1]}")
        )
        shutil.rmtree(directory)
        run.count(f"{name}: kills")
    promise(outcomes == sorted(outcomes), f"{name}: what was there after one call was gone after a later one")
    run.count("system calls", len(calls))
    if base.exists():
        shutil.rmtree(base)


def traced(begin: Callable[[], object], act: Callable[[object], object], log: Path, inject: str = "") -> int:
    """Do it in a child under strace; return the child's end. `begin` is done before strace is there."""

    def child() -> None:
        state = begin()
        os.kill(os.getpid(), signal.SIGSTOP)
        act(state)

    pid = fork(child)
    os.waitpid(pid, os.WUNTRACED)
    command = ["strace", "-o", str(log), "-e", f"trace={TRACED}", *(["-e", f"inject={inject}"] if inject else [])]
    with subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.PIPE) as strace:
        assert strace.stderr is not None
        try:
            ready, _, _ = select.select([strace.stderr], [], [], BOUND)
            said = strace.stderr.readline() if ready else b""
            if b"attached" not in said:
                raise Broken(f"strace is not attached: {said.decode()}")
        finally:
            os.kill(pid, signal.SIGCONT)
        code = ended(pid)
        strace.wait(BOUND)
    return code


def logged(log: Path) -> list[str]:
    """Return the names of the calls in a log of strace, in order."""
    found = [match[1] for line in log.read_text(errors="replace").splitlines() if (match := _CALL.fullmatch(line))]
    return [name for name in found if name not in _MEMORY]


def _calls(action: Action, base: Path, directory: Path) -> list[str]:
    if base.exists():
        shutil.copytree(base, directory)
    log = directory.with_name("calls")
    code = traced(lambda: action.begin(directory), lambda state: action.act(directory, state), log)
    promise(code == 0, f"the action ended with {code}")
    return logged(log)


def _kill(action: Action, directory: Path, calls: list[str], at: int) -> None:
    """Kill before call `at`, counted from 0; behind the last one the action comes to its end."""
    log = directory.with_name("calls")
    inject = f"{calls[at]}:signal=KILL:when={calls[: at + 1].count(calls[at])}" if at < len(calls) else ""
    code = traced(lambda: action.begin(directory), lambda state: action.act(directory, state), log, inject)
    if inject:
        promise(code == -signal.SIGKILL, f"call {at} was not reached: {code}")
    promise(logged(log) == calls[: at + 1], f"call {at} was not the one that was meant: {logged(log)[-3:]}")


def _kill_load(directory: Path, rng: random.Random, run: Run) -> None:
    """Kill the load after a kill, at some call."""
    name = rng.choice(("openat", "read", "fsync", "rename", "unlink", "newfstatat", "close", "getdents64"))
    inject = f"{name}:signal=KILL:when={rng.randint(1, 6)}"
    code = traced(lambda: None, lambda _state: Vault.open(directory), directory.with_name("calls"), inject)
    promise(code in (0, -signal.SIGKILL), f"a load ended with {code}")
    run.count("loads killed after a kill", code != 0)


def _check(name: str, action: Action, directory: Path, allowed: tuple[object, object], where: str) -> int:
    """Check what is left; return 0 for what was before, 1 for what is after."""
    content = Counter(path.read_bytes() for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
    for evidence in action.evidence:
        promise(any(evidence in data for data in content), f"{where}: {evidence!r} is lost")
    loaded = fresh(lambda: look(directory))
    found = _shown(loaded, directory)
    promise(found in allowed, f"{where}: {found} is none of {allowed}")
    promise(action.evidence or not loaded.findings, f"{where}: reads as damage: {loaded.findings}")
    view = loaded.view
    assert view is not None
    if name == "mint" and not view.binding:
        fresh(lambda: _mint(directory, None))
    elif not view.damaged:
        fresh(lambda: _append(directory))
        kept = fresh(lambda: look(directory)).view
        promise(kept is not None and kept.get("enrolment.json") == b"client-9", f"{where}: the next answer is lost")
    left = [path.name for path in directory.iterdir() if path.name.startswith((".gen", ".answer"))]
    promise(not left, f"{where}: left behind: {left}")
    return int(found == allowed[1])


def _append(directory: Path) -> None:
    with opened(directory) as vault:
        vault.append(answer("client-9"))


def _state(directory: Path, place: Path) -> tuple[object, ...]:
    """Return what a fresh process shows of a copy."""
    copy = place / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    if directory.exists():
        shutil.copytree(directory, copy)
    found = _shown(fresh(lambda: look(copy)), copy)
    shutil.rmtree(copy, ignore_errors=True)
    return found


def _shown(found: Look, directory: Path) -> tuple[object, ...]:
    """Return what a look showed: findings apart, which a mended vault no longer has, and with the other files."""
    others = tuple((directory / name).read_bytes() if (directory / name).exists() else b"" for name in _OTHERS)
    return (*found[:2], *others)
