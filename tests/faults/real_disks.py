"""Power cuts on a real ext4: the image under it is copied as it is at some moment, and the copy is mounted.

What was fsynced is in the image; what was not is in the page cache and is lost with it. A child works on the vault and
says after each step what it was told is durable; stopped at a random moment, it has to be in the copy.
"""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from margod.vault import Vault
from tests.faults.campaign import Broken, Impossible, Run, need, promise
from tests.faults.children import BOUND, fork, fresh, look
from tests.vault.support import IDENTITY, answer, intent

SIZE = "16M"


def real_power_cuts(run: Run) -> None:
    """Cut the power of a device at work at random moments; then of one whose syncs do nothing, which has to show."""
    need("mkfs.ext4", "truncate", mounts=True)
    if not Path("/dev/loop-control").exists():
        raise Impossible("no loop devices")
    rng = run.rng
    for number in range(run.of(120, 3)):
        kept, seen = cut(run.place / f"disk-{number}", rng, sync=True)
        promise(seen >= kept, f"cut {number}: {kept} steps were durable, {seen} are there")
        run.count("power cuts on ext4")
        run.count("steps that were durable", kept)
    lost = sum(
        kept > seen for kept, seen in (cut(run.place / f"no-{n}", rng, sync=False) for n in range(run.of(20, 2)))
    )
    promise(lost, "without any sync nothing is lost: this recipe does not cut the power")
    run.count("cuts without syncs that lost something, as they must", lost)


def cut(
    place: Path,
    rng: random.Random,
    *,
    sync: bool,
    doing: Callable[[Path, int, bool], None] | None = None,
    seeing: Callable[[Path], int] | None = None,
) -> tuple[int, int]:
    """Return how many steps had come back when the power was cut, and how many are on the disk.

    `doing` works in a directory and writes a byte for each step that came back; `seeing` counts what is there.
    """
    doing, seeing = doing or work, seeing or steps
    place.mkdir()
    image, after = place / "image", place / "after"
    _run("truncate", "-s", SIZE, str(image))
    _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", str(image))
    with _mounted(image, place / "disk") as disk:
        reading, writing = os.pipe()
        child = fork(lambda: doing(disk / "margod", writing, sync))
        os.close(writing)
        try:
            kept = _until(reading, rng.randrange(1, 25))
            os.kill(child, signal.SIGSTOP)
            os.waitpid(child, os.WUNTRACED)
            while select.select([reading], [], [], 0)[0] and (said := os.read(reading, 4096)):
                kept += len(said)
            shutil.copyfile(image, after)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reading)
    with _mounted(after, place / "replayed") as disk:
        seen = seeing(disk / "margod")
    shutil.rmtree(place)
    return kept, seen


def work(directory: Path, pipe: int, sync: bool) -> None:
    """Mint, then append and commit for ever; one byte for each step that came back."""
    if not sync:
        setattr(os, "fsync", lambda _fd: None)  # noqa: B010 - this process ends here: the change is the fork's alone
    vault = Vault.open(directory)
    vault.commit(IDENTITY, "a")
    os.write(pipe, b".")
    step = 1
    while True:
        step += 1
        if step % 4 == 0:
            vault.commit({"step": str(step).encode()}, "a")
        elif step % 4 == 1:
            vault.append(intent(float(step)))
        else:
            vault.append(answer(f"client-{step}"))
        os.write(pipe, b".")


def steps(directory: Path) -> int:
    """Return how many steps of `work` are there; Broken if what is there does not belong together."""
    if not directory.exists():
        return 0
    found = fresh(lambda: look(directory))
    view = found.view
    if view is None or found.findings or view.damaged:
        raise Broken(f"a power cut reads as damage: {found}")
    if not view.records:
        return 0
    promise(view.get("identity.key") == IDENTITY["identity.key"], f"{view}")
    promise(view.get("identity.crt") == IDENTITY["identity.crt"], f"{view}")
    answered = int((view.get("enrolment.json") or b"client-1").removeprefix(b"client-"))
    folded = int(view.get("step") or b"1")
    promise(answered >= folded - 1, f"folded {folded}, and the answer before it is {answered}")
    # An intent after the last commit or answer has no record of its own: it is the number of entries that tells.
    on_top = folded + view.entries
    promise(on_top >= answered, f"{answered} after {on_top}")
    return on_top


def _until(pipe: int, number: int) -> int:
    said = 0
    while said < number:
        if not select.select([pipe], [], [], BOUND)[0]:
            raise Broken("the child does nothing")
        data = os.read(pipe, number - said)
        if not data:
            raise Broken("the child ended")
        said += len(data)
    return said


@contextmanager
def _mounted(image: Path, place: Path) -> Iterator[Path]:
    place.mkdir()
    # No commit of the journal by time: what is on the disk is there because somebody asked for it.
    _run("mount", "-o", "loop,commit=300,noatime", str(image), str(place))
    try:
        yield place
    finally:
        _run("umount", str(place))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    if done.returncode:
        raise Broken(f"{command}: {done.stderr.decode(errors='replace')}")
