"""Whole onboardings against devwfm, killed at random moments, and what the server recorded of each.

A device is killed up to three times on its way, then left to come to its end. After each kill its state directory is
read as a start would read it; at the end the server's record is compared.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from margod import identity
from margod.protocols import Generation
from margod.protocols.signed import Dialect, Signed, SignedAs
from margod.protocols.token import Token, stored_access, stored_credentials
from margod.shell.records import ANCHORS, WFM, json_object
from margod.vault import peek
from tests.faults.campaign import Run, promise
from tests.faults.zygote import Quick
from tests.support.daemon import QUIET, Daemon, FreshDaemon
from tests.support.devwfm import DevWfm
from tests.support.zygote import Zygote

WORKERS = 6
GENERATIONS: dict[str, Generation] = {"signed": Signed(Dialect(), SignedAs()), "token": Token()}
EVENTS = ("identity", "request", "answer", "accepted", "state")
"""Lines of the journal behind which the kill comes in part of the runs."""


@dataclass
class Device:
    """One device on its way, and what was seen of it."""

    name: str
    daemon: Daemon
    wfm: DevWfm
    key: bytes = b""
    client_id: str | None = None
    requests_then: int = 0
    """Onboarding requests that the server had when the client id was first found on the disk."""
    kills: int = 0
    lost: int = 0
    trail: list[str] = field(default_factory=list)
    protocol: str = "signed"

    def look(self) -> None:
        """Read the state directory and hold it against what was there before, and against the server."""
        records = dict(peek(self.daemon.state)) if self.daemon.state.exists() else {}
        if not records:
            promise(not self.key, f"{self.name}: the identity is gone: {self.trail}")
            return
        mine = identity.load(records)  # raises if key and certificate do not match
        key = records[identity.KEY_RECORD]
        promise(self.key in (b"", key), f"{self.name}: another key than before: {self.trail}")
        self.key = key
        where = json_object(records.get(WFM, b""))
        promise(where.get("url") == self.wfm.url, f"{self.name}: {where} is not {self.wfm.url}: {self.trail}")
        anchors = records.get(ANCHORS, b"")
        promise(anchors.strip() == self.wfm.ca_file.read_bytes().strip(), f"{self.name}: {anchors!r}: {self.trail}")
        client_id = GENERATIONS[self.protocol].client_id(records)
        if client_id is not None and self.protocol == "token":
            self._look_at_secrets(client_id, records)
        promise(self.client_id in (None, client_id), f"{self.name}: {self.client_id} became {client_id}: {self.trail}")
        if client_id is not None and self.client_id is None:
            self.client_id = client_id
            self.requests_then = len(self.onboardings())
            given = [row[1] for row in self._clients() if row[0] == mine.fingerprint]
            promise(given == [client_id], f"{self.name}: has {client_id}, the server says {given}: {self.trail}")

    def _look_at_secrets(self, client_id: str, records: Mapping[str, bytes]) -> None:
        """Hold what the device has been given in confidence against what the server has given to this client."""
        held, access = stored_credentials(records), stored_access(records)
        given = self._rows("SELECT secret FROM secrets WHERE client_id = ?", client_id, file="token.db")
        promise(
            held is not None and given == [(held.secret,)],
            f"{self.name}: {client_id} has {'another' if given else 'no'} secret at the server: {self.trail}",
        )
        tokens = self._rows("SELECT value FROM tokens WHERE client_id = ? AND kind = 'git'", client_id, file="token.db")
        promise(access is not None, f"{self.name}: the Git access is gone: {self.trail}")
        assert access is not None
        promise((access.token,) in tokens, f"{self.name}: the Git token is not one of {client_id}'s: {self.trail}")

    def onboardings(self) -> list[int | None]:
        """Return the statuses of this device's onboarding requests, oldest first."""
        known = [row[0] for row in self._clients()]
        marks = ",".join("?" * len(known))
        query = f"SELECT status FROM requests WHERE route = 'onboarding' AND fingerprint IN ({marks}) ORDER BY number"
        return [row[0] for row in self._rows(query, *known)]

    def _clients(self) -> list[tuple[str, str | None]]:
        query = "SELECT fingerprint, client_id FROM clients WHERE subject LIKE ? ORDER BY number"
        return [(row[0], row[1]) for row in self._rows(query, f"%{self.name}%")]

    def _rows(self, query: str, *values: str, file: str = "registry.db") -> list[Any]:
        base = sqlite3.connect(f"file:{self.wfm.directory / file}?mode=ro", uri=True, timeout=30)
        try:
            return base.execute(query, values).fetchall()
        finally:
            base.close()


@asynccontextmanager
async def a_wfm(place: Path, *options: str) -> AsyncIterator[DevWfm]:
    """Give a development WFM; how quickly it stops on a busy machine is not what is tested here."""
    wfm = DevWfm(place, *options)
    await wfm.start()
    try:
        yield wfm
    finally:
        await wfm.kill()


def onboardings(run: Run) -> None:
    """Carry out 2,000 runs in the long campaign, some of them as processes from the interpreter's start on."""
    asyncio.run(_all(run, run.of(2200, 10), "signed"))


def token_onboardings(run: Run) -> None:
    """The same in the `token` generation: secret and Git access are the server's for this client, and are of use."""
    asyncio.run(_all(run, run.of(800, 10), "token"))


async def _all(run: Run, number: int, protocol: str) -> None:
    workers = min(WORKERS, max(1, number // 5))  # most of the time they wait: for the moment of the kill, for a retry
    shares = [number // workers + (worker < number % workers) for worker in range(workers)]
    async with asyncio.TaskGroup() as group:
        for worker, share in enumerate(shares):
            group.create_task(_work(run, worker, share, protocol))


async def _work(run: Run, worker: int, number: int, protocol: str) -> None:
    place = run.place / f"worker-{worker}"
    place.mkdir()
    async with a_wfm(place / "wfm", "--protocol", protocol) as wfm, Zygote() as zygote:
        usual = await _undisturbed(zygote, place / "first", wfm, f"device-{run.seed}-{worker}-first", protocol)
        for each in range(number):
            rng = random.Random(run.seed * 1_000_003 + worker * 100_003 + each)
            real = rng.random() < 0.03
            name = f"device-{run.seed}-{worker}-{each}"
            home = place / name
            home.mkdir()
            device = Device(name, _daemon(zygote, home, wfm, name, protocol, real=real), wfm, protocol=protocol)
            try:
                usual = await _life(device, rng, run, usual, real=real)
            finally:
                process = device.daemon.process
                if process is not None and process.returncode is None:
                    process.kill()  # a broken promise left it
            shutil.rmtree(home)
            run.count("onboardings")
            run.count("of them as processes of their own", real)


async def _undisturbed(zygote: Zygote, home: Path, wfm: DevWfm, name: str, protocol: str) -> float:
    """Return how long an onboarding takes on this machine, as busy as it is: by that the moments are drawn."""
    home.mkdir()
    daemon = Quick(zygote, home, url=None, ca_file=wfm.ca_file, yaml=_yaml(wfm, name, protocol))
    await daemon.start(wait=False)  # it waits for the zygote's own imports
    began = time.monotonic()
    await daemon.answering()
    await daemon.until("enrolled")
    took = time.monotonic() - began
    await daemon.stop()
    shutil.rmtree(home)
    return took


def _daemon(zygote: Zygote, home: Path, wfm: DevWfm, name: str, protocol: str, *, real: bool) -> Daemon:
    yaml = _yaml(wfm, name, protocol)
    if real:
        return FreshDaemon(home, ca_file=wfm.ca_file, yaml=yaml)
    return Quick(zygote, home, url=None, ca_file=wfm.ca_file, yaml=yaml)


def _yaml(wfm: DevWfm, name: str, protocol: str) -> str:
    return f"wfm: {{url: '{wfm.url}', timeout: 5s, protocol: {protocol}}}\nidentity: {{common_name: {name}}}\n{QUIET}"


async def _life(device: Device, rng: random.Random, run: Run, usual: float, *, real: bool) -> float:
    """Kill it some times, let it come to its end, compare; return how long an onboarding usually takes."""
    daemon = device.daemon
    trouble = rng.random()
    if trouble < 0.08:
        await device.wfm.fault("cut", route="onboarding", times=1, when="after")
    elif trouble < 0.12:
        await device.wfm.fault("answer", route="onboarding", times=1, status=503, headers={"Retry-After": "0"})
    elif trouble < 0.2:
        await device.wfm.fault("slow", route="onboarding", times=1, when="after", seconds=0.0)
    elif trouble < 0.23 and device.protocol == "token":
        await device.wfm.fault("cut", route="token", times=1, when=rng.choice(("before", "after")))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        await daemon.start(wait=False)
        moment = await _moment(daemon, rng, 4 * usual if real else usual)
        await daemon.stop(signal.SIGKILL)
        device.trail.append(moment)
        device.kills += 1
        device.look()
        run.count("SIGKILLs")
        run.count("killed with an identity and no client id", bool(device.key) and device.client_id is None)
        run.count("killed with a client id", device.client_id is not None)
    began = time.monotonic()
    await daemon.start()
    status = await _at_an_end(daemon)
    took = time.monotonic() - began
    await _finish(device, status, run)
    return usual if real or device.client_id is None else 0.9 * usual + 0.1 * min(10.0, max(0.05, took))


async def _at_an_end(daemon: Daemon) -> dict[str, object]:
    """Wait for the end; a token endpoint that could not be reached is asked again within a minute, and then another."""
    for last in (False, False, True):
        try:
            return await daemon.until_status(lambda status: status["state"] in {"enrolled", "blocked"}, "at an end")
        except AssertionError:
            if last:
                raise
    raise AssertionError


async def _finish(device: Device, status: dict[str, object], run: Run) -> None:
    answers = device.onboardings()
    accepted = answers.count(201)
    if status["state"] == "blocked":
        # Two answers were lost, by kills or cuts, one of them after the certificate had been made anew: as designed.
        promise(
            status["reason"] == "registered-by-other" and accepted == 2 and device.client_id is None,
            f"{device.name}: {status['reason']} after {device.trail}: {answers}",
        )
        run.count("two answers lost: blocked, as documented")
    else:
        known = device.client_id
        device.look()
        promise(device.client_id == status["client_id"], f"{device.name}: {status['client_id']} is not on the disk")
        promise(accepted <= 2, f"{device.name}: registered {accepted} times after {device.trail}")
        if known is not None:
            promise(
                len(device.onboardings()) == device.requests_then,
                f"{device.name}: asked again although the client id was stored: {device.trail}: {answers}",
            )
        run.count("answers lost, certificate made anew", accepted == 2)
    await device.daemon.stop(signal.SIGTERM)
    await device.wfm.clear_faults()


async def _moment(daemon: Daemon, rng: random.Random, usual: float) -> str:
    """Wait for the moment of the kill: any time, or just behind a line of the journal."""
    if rng.random() < 0.5 or not isinstance(daemon, Quick):
        seconds = rng.uniform(0.0, 1.3 * usual)
        await asyncio.sleep(seconds)  # the moment is the point, nothing is awaited
        return f"{seconds * 1000:.1f} ms"
    event = rng.choice(EVENTS)
    deadline = time.monotonic() + max(0.5, 5 * usual)
    last = ">state state=enrolled "  # one that is known already has no more lines than this
    while time.monotonic() < deadline and not any(f">{event} " in line or last in line for line in daemon.lines):
        await asyncio.sleep(0.001)
    extra = rng.choice((0.0, rng.uniform(0.0, 0.004), rng.uniform(0.0, 0.02)))
    await asyncio.sleep(extra)
    return f"{event} + {extra * 1000:.1f} ms"
