"""A year of the whole daemon in virtual time and how much of everything is left over; what a month costs the flash.

The daemon is margod.daemon.Daemon on a real vault with real sockets. In place of the HTTP client stands its double
(tests/support/transport.py), in place of the disk thread one that works inline, and the clock is moved, not waited for.
For a third of the year the WFM's place is not configured: it is found, and found again where it moved to, by mDNS over
links that come and go (tests/faults/around.py).
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import pathlib
import random
import signal
import stat
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import structlog
import trustme

from margod import config, daemon
from margod.model.wire import SignedRequest
from margod.service import clock, journal
from margod.shell import exchange as exchanges
from margod.shell.settings import Options
from tests.faults.around import INSTANCE, SERVICE, Network
from tests.faults.campaign import Run, promise
from tests.support.local_api import exchange, get, head_and_json
from tests.support.transport import Said, Server, Transports, Trouble
from tests.support.virtual import Clock, InlineDisk, put, run, virtual_time

DAY: Final = 86_400.0
BEGAN: Final = 1_800_000_000.0
GROWTH: Final = 1 << 20
"""Bytes that a year may leave behind (design, Budgets)."""
COMMITS: Final = 10
"""A day, at most (design, Budgets)."""
ORDINARY: Final = 4
"""Days at the beginning that are not counted: caches fill, modules are imported."""


class Plant:
    """One device's surroundings: a WFM and its troubles, the files, the clock; all by one seed."""

    def __init__(self, place: Path, clock: Clock, seed: int) -> None:
        """Write the configuration into `place`."""
        self.clock, self.rng = clock, random.Random(seed)
        self.state, self.runtime, self.file = place / "state", place / "run", place / "m.yaml"
        self.trouble: Trouble | int | None = None
        """What every request meets at present: a trouble, a status, or nothing out of the ordinary."""
        self.asked: Counter[str] = Counter()
        self.onboarded = 0
        self.ca = place / "ca.pem"
        self.ca.write_bytes(_root())
        self.level, self.confirm = "info", "24h"
        self.network = Network(random.Random(seed))
        self.port = 443
        """Where the WFM listens."""
        self.url: str | None = "https://wfm.example"
        """Where it is configured to be; None leaves it to mDNS."""
        self.configure()

    def configure(self, extra: str = "") -> None:
        """Write the configuration."""
        lines = [
            f"wfm: {{{f'url: {self.url}, ' if self.url else ''}timeout: 10s}}",
            f"trust: {{ca_file: {self.ca}}}",
            f"state: {{directory: {self.state}, allow_volatile: true}}",
            f"local: {{directory: {self.runtime}}}",
            f"log: {{level: {self.level}}}",
            f"discovery: {{type: {SERVICE}, server_names: wfm.example}}",
            f"onboarding: {{confirm: {self.confirm}}}",
            "schedule: {polling: {rate: 1h}}",
            extra,
        ]
        self.file.write_text("\n".join([*lines, ""]))

    def serve(self, request: SignedRequest) -> Said | Trouble:
        """Answer as a WFM that is well, unless there is trouble."""
        if (urlsplit(request.url).port or 443) != self.port:
            return "refused"
        self.asked[request.method] += 1
        if isinstance(self.trouble, int):
            wait = (("Retry-After", str(self.rng.choice((0, 5, 120, 3600)))),) if self.rng.random() < 0.3 else ()
            return Said(self.trouble, wait, b'{"title": "not now"}', after=self.rng.uniform(0.0, 2.0))
        if self.trouble is not None:
            return self.trouble
        body = b'{"manifestVersion": 1, "bundle": null, "deployments": []}'
        if request.method == "POST" and request.url.endswith("/onboarding"):
            self.onboarded += 1
            return Said(201, (), b'{"clientId": "client-1"}', after=0.1)
        return Said(200, (), body if request.method == "GET" else b"", after=0.1)


def _root() -> bytes:
    return trustme.CA().cert_pem.bytes()


@asynccontextmanager
async def living(plant: Plant) -> AsyncIterator[daemon.Daemon]:
    """Run the daemon as `margod run` does; at the end it is asked to stop by SIGTERM and has to, in good order."""
    sources = config.Sources.find({}, str(plant.file))
    one = daemon.Daemon(Options(sources, {}, {}), config.load(sources, {}, {}))
    running = asyncio.ensure_future(one.run())
    try:
        while not (plant.runtime / "status.sock").exists():
            await asyncio.sleep(0.01)
        yield one
    finally:
        signal.raise_signal(signal.SIGTERM)
        code = await running
    promise(code == 0, f"exit code {code}")


async def ask(plant: Plant, target: str, method: str = "GET") -> dict[str, Any]:
    """Ask over the real sockets."""
    path = plant.runtime / ("status.sock" if method == "GET" else "admin/admin.sock")
    return cast("dict[str, Any]", head_and_json(await exchange(path, get(target, method), timeout=60))[2])


@contextmanager
def stood_in(server: Server) -> Iterator[None]:
    """Put the doubles into their places, and the journal nowhere."""
    logging = structlog.get_config()
    with ExitStack() as stack:
        stack.enter_context(put(exchanges, "WfmClient", Transports(server)))
        stack.enter_context(put(daemon, "Disk", InlineDisk))
        stack.enter_context(put(clock, "boot_time", time.monotonic))  # the machine's own goes on as it likes
        stack.enter_context(redirect_stderr(stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))))
        journal.configure("info", "logfmt")
        try:
            yield
        finally:
            structlog.configure(**logging)


async def trouble(plant: Plant, run_: Run) -> None:
    """Make one of the things happen that happen to a device in a plant, and let it take its time."""
    rng = plant.rng
    match rng.randrange(8):
        case 0 | 1:
            plant.trouble = rng.choice(("refused", "unresolved", "cut", "silent", 503, 429, 500, 302, 404))
            await asyncio.sleep(rng.choice((60.0, 600.0, 3600.0, 4 * 3600.0)))
            plant.trouble = None
            run_.count("outages")
        case 2:
            plant.level = rng.choice(("debug", "info", "warning"))
            plant.confirm = rng.choice(("1h", "2h", "24h"))  # more often than in ordinary life
            plant.configure(rng.choice(("", "", "wfm: [")))
            signal.raise_signal(signal.SIGHUP)
            run_.count("reloads")
        case 3:
            plant.clock.jump(rng.choice((-1, 1)) * rng.choice((1.0, 3600.0, 5 * DAY)))
            run_.count("clock jumps")
        case 4:
            await ask(plant, "/v1/retry", "POST")
            run_.count("retries asked for")
        case 5:
            plant.network.change()
            run_.count("link changes")
            await asyncio.sleep(rng.choice((0.1, 5.0, 600.0)))
            plant.network.mend()
        case 6:
            plant.ca.write_bytes(plant.ca.read_bytes())  # another file of the same content: the network's share is back
            run_.count("root CA files replaced")
        case _:
            status = await ask(plant, "/v1/status")
            json.dumps(status)
            run_.count("looks at the status")


async def subscribe(plant: Plant) -> None:
    """Follow the events, as a screen does, and go away without a word."""
    reader, writer = await asyncio.open_unix_connection(str(plant.runtime / "status.sock"))
    writer.write(get("/v1/events"))
    await reader.read(1)
    await asyncio.sleep(600.0)
    writer.close()


async def move(plant: Plant, run_: Run) -> None:
    """The WFM goes without a word. While it is looked for links come and go; it is back elsewhere, as mDNS tells."""
    plant.port += 1
    await until(plant, lambda status: status["discovery"]["browsing"])
    for _ in range(plant.rng.randrange(1, 8)):
        heard = plant.network.change()
        promise(heard == 1, f"{heard} listen to the kernel while the WFM is looked for")
        run_.count("link changes heard")
        await asyncio.sleep(plant.rng.choice((0.1, 1.0, 60.0, 3600.0)))
    plant.network.mend()
    async with plant.network.announced(plant.port):
        await until(plant, lambda status: urlsplit(status["wfm"]["url"] or "").port == plant.port)
        await until(plant, lambda status: status["state"] == "enrolled" and not status["discovery"]["browsing"])
    run_.count("WFMs found by mDNS")


async def until(plant: Plant, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the status as soon as it is as it should be, which has to be within a day."""
    end = plant.clock.mono + DAY
    while not holds(status := await ask(plant, "/v1/status")):
        promise(plant.clock.mono < end, f"after a day: {status}")
        await asyncio.sleep(60.0)
    return status


async def place(plant: Plant, *, told: bool) -> None:
    """Configure where the WFM is, or leave it to mDNS from now on."""
    plant.url = (await ask(plant, "/v1/status"))["wfm"]["url"] if told else None
    plant.level, plant.confirm = "info", "1h"
    plant.configure()
    signal.raise_signal(signal.SIGHUP)
    await until(plant, lambda status: status["discovery"]["instance"] == INSTANCE)


async def live(plant: Plant, days: int, run_: Run) -> tuple[int, int, int]:
    """Let days pass; return the bytes, tasks and descriptors that are more than after the first ones."""
    async with living(plant):
        await move(plant, run_)
        first = (0, 0)
        for number in range(days):
            if number == min(ORDINARY, days // 2):
                await _calm(plant)
                first = len(asyncio.all_tasks()), _descriptors()
                tracemalloc.start()
            end = plant.clock.mono + DAY
            await place(plant, told=number % 3 > 0)
            if number % 3 == 0:
                await move(plant, run_)
            while plant.clock.mono < end:
                await asyncio.sleep(plant.rng.uniform(0.0, 2 * 3600.0 * 4))
                await trouble(plant, run_)
            await subscribe(plant)
            run_.count("days")
        await _calm(plant)
        grown = _traced()
        tracemalloc.stop()
        last = len(asyncio.all_tasks()), _descriptors()
        status = await ask(plant, "/v1/status")
        promise(status["state"] == "enrolled", f"{status['state']}: {status['reason']} at the end")
    promise(plant.onboarded == 1, f"{plant.onboarded} onboarding requests that were served")
    return grown, last[0] - first[0], last[1] - first[1]


async def _calm(plant: Plant) -> None:
    """Wait until nothing is under way, in fair weather."""
    plant.trouble, plant.level = None, "info"
    plant.configure()
    plant.network.mend()  # the kernel's side of what was closed goes too
    signal.raise_signal(signal.SIGHUP)
    await asyncio.sleep(2 * DAY)
    gc.collect()


def _traced() -> int:
    """Return the bytes that are held, but for the interpreter's table of interned strings: it grows by doubling."""
    return sum(
        trace.size
        for trace in tracemalloc.take_snapshot().traces
        if trace.size < 1 << 20 or trace.traceback[-1].filename != pathlib.__file__
    )


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def endurance(run_: Run, least: int = 7) -> None:
    """A year; in the short part a week, or `least` days."""
    days = run_.of(365, least)
    before = _descriptors(), threading.active_count()
    with virtual_time(BEGAN) as clock:
        plant = Plant(run_.place, clock, run_.seed)
        plant.url = None
        plant.configure()
        with stood_in(plant.serve), plant.network.installed():
            grown, tasks, descriptors = run(clock, live(plant, days, run_))
    gc.collect()
    run_.count("requests", plant.asked.total())
    run_.count("bytes grown", max(0, grown))
    promise(grown <= GROWTH, f"{grown} bytes more after {days} days")
    promise(tasks <= 0, f"{tasks} tasks more after {days} days")
    promise(descriptors <= 0, f"{descriptors} descriptors more after {days} days")
    after = _descriptors(), threading.active_count()
    promise(after <= before, f"descriptors and threads {before} before, {after} after the end")


class Meter:
    """Counts what goes to the flash, at the system calls of the store."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self.bytes = self.syncs = 0
        self.renames: Counter[str] = Counter()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Count until the block is left."""
        real_write, real_fsync, real_rename = os.write, os.fsync, os.rename

        def write(fd: int, data: bytes) -> int:
            written = real_write(fd, data)
            self.bytes += written if stat.S_ISREG(os.fstat(fd).st_mode) else 0
            return written

        def fsync(fd: int) -> None:
            self.syncs += 1
            real_fsync(fd)

        def rename(source: Path, target: Path) -> None:
            self.renames[Path(target).name.split("-")[0]] += 1
            real_rename(source, target)

        with put(os, "write", write), put(os, "fsync", fsync), put(os, "rename", rename):
            yield


def _enrolled(_plant: Plant) -> None:
    """Fair weather."""


def _offline(plant: Plant) -> None:
    plant.trouble = "refused"


def _refused(plant: Plant) -> None:
    plant.trouble = 503


def _pending(plant: Plant) -> None:
    plant.trouble = 202


def _coming_and_going(plant: Plant) -> None:
    """The network comes and goes all the time."""

    def turn() -> None:
        plant.trouble = None if plant.trouble else plant.rng.choice(("refused", "cut", 503))
        asyncio.get_running_loop().call_later(plant.rng.uniform(60.0, 3600.0), turn)

    turn()


MONTHS: Final[dict[str, tuple[bool, Callable[[Plant], None]]]] = {
    "enrolled": (True, _enrolled),
    "enrolled, offline": (True, _offline),
    "enrolled, network comes and goes": (True, _coming_and_going),
    "never enrolled, offline": (False, _offline),
    "never enrolled, always 503": (False, _refused),
    "waiting for approval": (False, _pending),
}


def flash(run_: Run) -> None:
    """A month of each condition; two days in the short part."""
    days = run_.of(30, 2)
    for name, (enrols, condition) in MONTHS.items():
        place = run_.place / name.replace(" ", "-").replace(",", "")
        place.mkdir()
        with virtual_time(BEGAN) as clock:
            plant = Plant(place, clock, run_.seed)
            with stood_in(plant.serve):
                meter, most = run(clock, _month(plant, days, enrols, condition))
        commits = meter.renames["gen"]
        run_.count(f"{name}: commits in {days} days", commits)
        run_.count(f"{name}: bytes a day", meter.bytes // days)
        run_.count(f"{name}: syncs a day", meter.syncs // days)
        run_.count(f"{name}: runtime.json written in {days} days", meter.renames["runtime.json"])
        promise(most <= COMMITS, f"{name}: {most} commits in one day")
        promise(meter.renames["runtime.json"] <= days * 96, f"{name}: runtime.json more often than every 15 min")


async def _month(plant: Plant, days: int, enrols: bool, condition: Callable[[Plant], None]) -> tuple[Meter, int]:
    """Let days pass; return what was written in them, and the most commits of one day."""
    meter, most = Meter(), 0
    if not enrols:
        condition(plant)
    async with living(plant):
        await asyncio.sleep(60.0)
        state = (await ask(plant, "/v1/status"))["state"]
        promise((state == "enrolled") is enrols, f"{state} after a minute")
        if enrols:
            condition(plant)
        with meter.installed():
            for _ in range(days):
                so_far = meter.renames["gen"]
                await asyncio.sleep(DAY)
                most = max(most, meter.renames["gen"] - so_far)
    return meter, most
