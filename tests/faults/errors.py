"""Errors of the system, made for real under a running daemon: by a preloaded shim, on small disks, without memory.

Status says so, the identity in memory goes on, the next success heals; and the server never sees a second registration.
"""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
import random
import re
import resource
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.faults.campaign import Run, need, promise
from tests.faults.onboardings import Device, a_wfm
from tests.faults.zygote import Quick
from tests.support.daemon import QUIET
from tests.support.devwfm import DevWfm
from tests.support.zygote import Zygote

CREATE, OPEN, WRITE, FSYNC, RENAME, MKDIR, UNLINK, READ = (1 << bit for bit in range(8))
WRITING: Final = {"create": CREATE, "write": WRITE, "fsync": FSYNC, "rename": RENAME, "mkdir": MKDIR}
ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE)
OWN: Final = ("state-not-writable", "state-unusable")
FOR_EVER: Final = -1

_STRUCT: Final = struct.Struct("6i232s")


class Shim:
    """The control file that the shim reads; see shim.c."""

    def __init__(self, place: Path) -> None:
        """Compile the shim into `place` and make the control file there."""
        self.library, file = place / "shim.so", place / "control"
        source = Path(__file__).with_name("shim.c")
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(self.library), str(source), "-ldl"]
        subprocess.run(command, check=True, timeout=60)
        file.write_bytes(bytes(_STRUCT.size))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), _STRUCT.size)
        self.env = {"LD_PRELOAD": str(self.library), "FAULTS_CONTROL": str(file)}

    def arm(self, below: Path, calls: int, error: int, *, skip: int = 0, times: int = FOR_EVER) -> None:
        """Have `calls` on paths below a directory fail after `skip` of them, so many `times`."""
        self._memory[:] = _STRUCT.pack(calls, error, skip, times, 0, 0, str(below).encode())

    def disarm(self) -> int:
        """Have nothing fail any more; return how many calls did."""
        hit: int = _STRUCT.unpack(self._memory[:])[5]
        self._memory[:] = bytes(_STRUCT.size)
        return hit


@dataclass
class Bench:
    """What a scenario works with."""

    run: Run
    shim: Shim
    zygote: Zygote
    wfm: DevWfm
    place: Path
    rng: random.Random
    number: int = 0

    def device(self) -> Device:
        """Return a new device, its state directory below the place that faults are armed for."""
        self.number += 1
        name = f"device-{self.number}"
        home = self.place / name
        home.mkdir()
        return Device(
            name, Quick(self.zygote, home, url=self.wfm.url, ca_file=self.wfm.ca_file, yaml=yaml(name)), self.wfm
        )

    def arm(self, device: Device, calls: int, error: int, **more: int) -> None:
        """Arm a fault for the device's state directory."""
        self.shim.arm(device.daemon.state, calls, error, **more)


def yaml(name: str, vendor: str = "Vendor") -> str:
    """Return the configuration of a device."""
    return f"identity: {{common_name: {name}}}\ndevice: {{vendor: {vendor}}}\n{QUIET}"


def errors(run: Run) -> None:
    """Carry out every scenario with every call and every error; in a short run with seeded ones."""
    need("cc")
    asyncio.run(_scenarios(run))


async def _scenarios(run: Run) -> None:
    shim, rng = Shim(run.place), run.rng
    pairs = [(call, error) for call in WRITING for error in ERRORS]
    async with a_wfm(run.place / "wfm") as wfm, Zygote(**shim.env) as zygote:
        bench = Bench(run, shim, zygote, wfm, run.place / "devices", rng)
        bench.place.mkdir()
        for call, error in rng.sample(pairs, run.of(len(pairs), 2)):
            await before_an_identity(bench, call, error)
        for _ in range(run.of(250, 5)):
            await on_the_way(bench)
        for call, error in rng.sample(pairs, run.of(len(pairs), 2)):
            if call != "mkdir":
                await once_enrolled(bench, call, error)
        for _ in range(run.of(60, 2)):
            await unreadable(bench)
        await no_descriptors_at_the_start(bench)
        await no_memory(bench)


async def before_an_identity(bench: Bench, call: str, error: int) -> None:
    """Nothing can be kept: blocked, nothing is sent; the fault gone, one retry enrols it."""
    device = bench.device()
    bench.arm(device, WRITING[call], error)
    # Without a state directory there is nothing to fail but its making.
    if call != "mkdir" or bench.rng.random() < 0.5:
        device.daemon.state.mkdir(mode=0o700)
    await device.daemon.start()
    status = await device.daemon.until("blocked")
    promise(status["reason"] in OWN, f"{call} {os.strerror(error)}: {status['reason']}")
    promise(os.strerror(error) in status["detail"], f"{call}: {status['detail']!r} does not say {os.strerror(error)}")
    promise(status["identity"] is None, f"{call} {os.strerror(error)}: an identity that is not kept is shown")
    promise(not device.onboardings(), f"{call} {os.strerror(error)}: asked without an identity on the disk")
    promise(bench.shim.disarm(), f"{call}: never failed")
    await device.daemon.retry()
    status = await device.daemon.until("enrolled")
    await _ended(bench, device, status)
    bench.run.count("before an identity")


async def on_the_way(bench: Bench) -> None:
    """A few calls fail at any moment of an onboarding: it is told, and there is one registration in the end."""
    device, rng = bench.device(), bench.rng
    calls, error, skip = rng.choice(list(WRITING.values())), rng.choice((*ERRORS, 0)), rng.randrange(30)
    bench.arm(device, WRITE if error == 0 else calls, error, skip=skip, times=rng.choice((1, 1, 2, 5)))
    await device.daemon.start()
    status = await device.daemon.until_status(settled, "settled")
    hit = bench.shim.disarm()
    if status["state"] != "enrolled":
        words = {status["reason"], *(warning["code"] for warning in status["warnings"])}
        promise(words & set(OWN), f"{calls} {error} after {skip}: {words}")
        await device.daemon.retry()
        status = await device.daemon.until("enrolled")
        bench.run.count("on the way, told and healed")
    promise(device.onboardings() == [201], f"{calls} {error} after {skip}: {device.onboardings()}")
    await _ended(bench, device, status)
    bench.run.count("on the way")
    bench.run.count("on the way, calls that failed", hit)


async def once_enrolled(bench: Bench, call: str, error: int) -> None:
    """It goes on, warned, also over a SIGKILL; the fault gone, the next success takes the warning away."""
    device = bench.device()
    daemon = device.daemon
    await daemon.start()
    before = await daemon.until("enrolled")
    device.look()
    bench.arm(device, WRITING[call], error)
    daemon.configure(url=device.wfm.url, ca_file=device.wfm.ca_file, yaml=yaml(device.name, "Another"))
    await daemon.reload()
    status = await daemon.until_status(lambda status: bool(status["warnings"]), "warned")
    _same(before, status, f"{call} {os.strerror(error)}")
    promise({w["code"] for w in status["warnings"]} == {"state-not-writable"}, f"{call}: {status['warnings']}")
    promise(bench.shim.disarm(), f"{call}: never failed")
    await daemon.retry()
    healed = await daemon.until_status(lambda status: not status["warnings"], "without a warning")
    _same(before, healed, f"{call} {os.strerror(error)}, healed")
    bench.arm(device, WRITING[call], error)
    await daemon.stop(bench.rng.choice((9, 15)))  # type: ignore[arg-type]
    await daemon.start()
    again = await daemon.until("enrolled")
    _same(before, again, f"{call} {os.strerror(error)}, started again")
    bench.shim.disarm()
    await _ended(bench, device, again)
    bench.run.count("once enrolled")


async def unreadable(bench: Bench) -> None:
    """Reads end in EIO at a start: it comes back from what can be read, or waits and comes back once it can be."""
    device, rng = bench.device(), bench.rng
    daemon = device.daemon
    await daemon.start()
    before = await daemon.until("enrolled")
    device.look()
    await daemon.stop()
    times = rng.choice((1, 1, 2, 4, FOR_EVER))
    bench.arm(device, READ, errno.EIO, skip=rng.randrange(20), times=times)
    await daemon.start()
    status = await daemon.until_status(lambda status: status["state"] in ("enrolled", "blocked"), "settled")
    hit = bench.shim.disarm()
    said = {status["reason"], *(warning["code"] for warning in status["warnings"])}
    if status["state"] == "blocked":
        promise(said & {"state-unusable"}, f"unreadable: {said}: {status['detail']}")
        promise("Input/output error" in status["detail"], status["detail"])
        await daemon.retry()
        status = await daemon.until("enrolled")
        bench.run.count("unreadable for a while, blocked and healed")
    _same(before, status, f"unreadable: {said}")
    # A few that fail are over when it looks once more, in the same breath: then there is nothing to say.
    told = said & {"state-damaged", "state-unusable"} or hit < 3 or times != FOR_EVER
    promise(told, f"{hit} reads failed in silence: {said}")
    await _ended(bench, device, status)
    bench.run.count("reads that failed", hit)
    bench.run.count("unreadable at a start")


async def no_descriptors_at_the_start(bench: Bench) -> None:
    """EMFILE is no damage: blocked, nothing moved, and one retry later enrolled as before."""
    device = bench.device()
    daemon = device.daemon
    await daemon.start()
    before = await daemon.until("enrolled")
    device.look()
    await daemon.stop()
    bench.arm(device, OPEN, errno.EMFILE)
    await daemon.start()
    status = await daemon.until("blocked", "state-unusable")
    promise("Too many open files" in status["detail"], status["detail"])
    bench.shim.disarm()
    await daemon.retry()
    _same(before, await daemon.until("enrolled"), "EMFILE")
    promise(not (daemon.state / "quarantine").exists(), "EMFILE was taken for damage")
    await _ended(bench, device, before)
    bench.run.count("without descriptors at a start")


async def no_memory(bench: Bench) -> None:
    """A running daemon gets no more memory: whatever fails, it goes on or ends, and comes back as it was."""
    device = bench.device()
    daemon = device.daemon
    assert isinstance(daemon, Quick)
    await daemon.start()
    before = await daemon.until("enrolled")
    device.look()
    status = before
    for room in (0, 1 << 20, 4 << 20):
        size = int(re.findall(r"VmSize:\s+(\d+) kB", Path(f"/proc/{daemon.pid}/status").read_text())[0]) << 10
        resource.prlimit(daemon.pid, resource.RLIMIT_AS, (size + room, resource.RLIM_INFINITY))
        for turn in range(10):
            daemon.configure(url=device.wfm.url, ca_file=device.wfm.ca_file, yaml=yaml(device.name, "x" * (turn + 1)))
            try:
                await daemon.reload()
            except (OSError, ValueError, IndexError):
                bench.run.count("without memory, requests that failed")
        resource.prlimit(daemon.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        status = await daemon.until("enrolled")
        _same(before, status, f"{room} bytes of memory left")
    await _ended(bench, device, status)
    bench.run.count("without memory")


def small_disks(run: Run) -> None:
    """A disk of one page, two, three, ...: what does not fit is told, nothing is lost, and with room it goes on."""
    need(mounts=True)
    asyncio.run(_small_disks(run))


async def _small_disks(run: Run) -> None:
    async with a_wfm(run.place / "wfm") as wfm, Zygote() as zygote:
        sizes = range(4, 68, 2)
        for size in sorted(run.rng.sample(sizes, run.of(len(sizes), 3))):
            home = run.place / f"disk-{size}"
            home.mkdir()
            name = f"device-on-{size}-kib"
            with _tmpfs(home / "disk", size):
                daemon = Quick(zygote, home, url=wfm.url, ca_file=wfm.ca_file, yaml=yaml(name))
                daemon.state = home / "disk" / "state"
                daemon.options[-1] = str(daemon.state)
                await _on_a_small_disk(run, Device(name, daemon, wfm))
            shutil.rmtree(home)
            run.count("sizes of disk")


async def _on_a_small_disk(run: Run, device: Device) -> None:
    daemon = device.daemon
    await daemon.start()
    status = await daemon.until_status(settled, "settled")
    full = status["state"] != "enrolled"
    if full:
        said = [status["detail"], str(status["last_error"]), *(warning["message"] for warning in status["warnings"])]
        promise(any("No space left" in text or "room" in text for text in said), f"{device.name}: {said}")
        run.count("too small, and said so")
    await daemon.stop(9)  # type: ignore[arg-type]
    device.look()
    _mount("-o", "remount,size=1m", str(daemon.state.parent))
    await daemon.start()
    status = await daemon.until_status(settled, "settled")
    if status["state"] != "enrolled":
        await daemon.retry()
        status = await daemon.until("enrolled")
    device.look()
    asked = device.onboardings()
    promise(asked.count(201) == 1 or (full and asked.count(201) <= 2), f"{device.name}: {asked}")
    await daemon.stop()


@contextmanager
def _tmpfs(place: Path, kibibytes: int) -> Iterator[None]:
    place.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={kibibytes}k,mode=0755", "tmpfs", str(place))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True, timeout=30)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, timeout=30)


def settled(status: dict[str, Any]) -> bool:
    """Return whether it is enrolled with its report accepted, or stands still for want of a disk."""
    told = status["last_error"] is not None and status["last_error"]["code"] in OWN
    return status["state"] in ("enrolled", "blocked") or told


def _same(before: dict[str, Any], after: dict[str, Any], where: str) -> None:
    for key in ("state", "client_id", "identity"):
        promise(before[key] == after[key], f"{where}: {key} was {before[key]}, is {after[key]}")


async def _ended(bench: Bench, device: Device, status: dict[str, Any]) -> None:
    """Stop it, look at what is on the disk, and see that the journal has no traceback."""
    device.look()
    promise(device.client_id == status["client_id"], f"{device.name}: {status['client_id']} is not on the disk")
    promise(device.onboardings() == [201], f"{device.name}: {device.onboardings()}")
    await device.daemon.stop()
    shutil.rmtree(device.daemon.directory)
