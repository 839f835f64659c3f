"""Reports of deployments, the daemon killed while an agent reports, and what the WFM's record says afterwards.

A report that was acknowledged has to be in the record, in the order of its deployment; a kill may repeat the latest of
a deployment, and nothing else. On a real ext4, a power cut may bring back what the WFM has accepted lately, and takes
nothing that was acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

from margod.deployments.outbox import Outbox
from margod.deployments.salvage import open_outbox
from tests.faults.campaign import Broken, Run, promise
from tests.faults.children import fresh
from tests.faults.real_disks import cut
from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm

DEPLOYMENTS = ("web", "db", "edge")
LEAST = 4
"""Reports that are acknowledged before each kill."""
BOUND = 120.0
"""Seconds that a queue of some hundred may take on a busy machine."""


def killed_reports(run: Run) -> None:
    """Kill a daemon again and again while an agent reports, the WFM misbehaving now and then."""
    asyncio.run(_killed(run, run.of(60, 3)))


def killed_token_reports(run: Run) -> None:
    """Do the same in the `token` generation: tokens end and are revoked, and each fifth report has no word there."""
    asyncio.run(_killed(run, run.of(60, 3), "--protocol", "token", "--token-lifetime", "2"))


async def _killed(run: Run, kills: int, *options: str) -> None:
    rng = run.rng
    async with DevWfm(run.place / "wfm", "--quiet", *options) as wfm:
        yaml = "outbox: {supersede_after: off}"
        daemon = Daemon(run.place, url=wfm.url, ca_file=wfm.ca_file, yaml=yaml, protocol=wfm.protocol)
        await daemon.start()
        await daemon.until("enrolled")
        acknowledged: list[tuple[str, int]] = []
        asked = 0
        for _ in range(kills):
            if rng.random() < 0.5:
                await _misbehave(wfm, rng)
            enough, before = asyncio.Event(), len(acknowledged)
            killing = asyncio.ensure_future(_kill(daemon, enough, rng.uniform(0.0, 0.9)))
            while not killing.done():
                asked += 1
                name = rng.choice(DEPLOYMENTS)
                unsaid = wfm.protocol == "token" and asked % 5 == 0
                if not await _report(daemon, name, asked, "removed" if unsaid else "failed"):
                    enough.set()
                    await killing  # nobody answers any more
                elif unsaid:
                    run.count("reports that have no word")
                else:
                    acknowledged.append((name, asked))
                if len(acknowledged) >= before + LEAST:
                    enough.set()
            await killing
            run.count("kills")
            await daemon.start()
        await wfm.clear_faults()
        await daemon.stop()  # a new process does not wait for what the last one met
        await daemon.start()
        await _drained(daemon)
        record = [(one["deployment_id"], _number(one)) for one in await wfm.statuses()]
        parked = [item for item in await daemon.outbox() if item["parked"]]
        promise(not parked, f"parked: {parked[:2]}")
        await daemon.stop()
    look(record, acknowledged)
    run.count("reports acknowledged", len(acknowledged))
    run.count("reports in the record, with those that were repeated", len(record))


def look(record: list[tuple[str, int]], acknowledged: list[tuple[str, int]]) -> None:
    """Hold the WFM's record against what was acknowledged. Raises Broken."""
    promise(set(acknowledged) <= set(record), f"lost: {sorted(set(acknowledged) - set(record))[:5]}")
    for name in DEPLOYMENTS:
        numbers = [number for deployment, number in record if deployment == name]
        back = [pair for pair in pairwise(numbers) if pair[1] < pair[0]]
        promise(not back, f"{name} went back: {back[:5]}")


async def _report(daemon: Daemon, name: str, number: int, state: str = "failed") -> bool:
    """Report; return whether it was acknowledged."""
    component = {"name": "all", "state": state, "error": {"message": str(number)}}
    try:
        return "number" in await daemon.report(name, {"components": [component]})
    except (OSError, ValueError, IndexError):  # killed before the answer, or in the middle of it
        return False


async def _kill(daemon: Daemon, enough: asyncio.Event, seconds: float) -> None:
    await enough.wait()  # however slow this machine is
    await asyncio.sleep(seconds)  # the moment is what is drawn here
    await daemon.stop(signal.SIGKILL)


async def _misbehave(wfm: DevWfm, rng: random.Random) -> None:
    actions = ("cut-after", "cut-before", "503", "kill")
    action = rng.choice((*actions, "revoke") if wfm.protocol == "token" else actions)
    if action == "revoke":
        await wfm.control("POST", "/v1/tokens/revoke")
    elif action == "kill":
        await wfm.kill()
        await wfm.start()
    elif action == "503":
        await wfm.fault("answer", route="status", status=503)
    else:
        await wfm.fault("cut", route="status", when=action.removeprefix("cut-"), times=rng.randrange(1, 3))


async def _drained(daemon: Daemon) -> None:
    found: dict[str, Any] = {}
    try:
        async with asyncio.timeout(BOUND):
            while (found := (await daemon.status())["outbox"])["waiting"] != 0:
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise Broken(f"not delivered in {BOUND:.0f} s: {found}; " + " | ".join(daemon.journal[-12:])) from None


def _number(status: dict[str, Any]) -> int:
    return int(status["manifest"]["components"][0]["error"]["message"])


def reports_and_power_cuts(run: Run) -> None:
    """Cut the power of an outbox at work on a real ext4; then of one that does not sync, which has to show."""
    if os.geteuid() != 0:
        raise Broken("this suite needs root, to mount")
    rng = run.rng
    for number in range(run.of(80, 3)):
        kept, seen = cut(run.place / f"disk-{number}", rng, sync=True, doing=work, seeing=held)
        promise(seen >= kept, f"cut {number}: {kept} reports were acknowledged, {seen} are there")
        run.count("power cuts on ext4")
        run.count("reports that were acknowledged", kept)
    without = (cut(run.place / f"no-{n}", rng, sync=False, doing=work, seeing=held) for n in range(run.of(20, 2)))
    lost = sum(kept > seen for kept, seen in without)
    promise(lost, "without any sync nothing is lost: this recipe does not cut the power")
    run.count("cuts without syncs that lost something, as they must", lost)


def work(directory: Path, pipe: int, sync: bool) -> None:
    """Take reports for ever, and have each third one sent; a byte for each that was acknowledged."""
    directory.mkdir(0o700)
    outbox, _ = open_outbox(directory)
    if not sync:
        _never_sync(outbox)
    taken = 0
    while True:
        taken += 1
        outbox.put(f"d{taken % 3}", "installed", final=True, body=BODY, at=0.0, uid=taken % 3)
        os.write(pipe, b".")
        if taken % 3 == 0:
            outbox.sent([taken // 3], lasting=False)


def held(directory: Path) -> int:
    """Return the number of the last report that is there; Broken unless all are that were not sent."""
    return fresh(lambda: _held(directory)) if directory.exists() else 0


def _held(directory: Path) -> int:
    outbox, saved = open_outbox(directory)
    try:
        numbers = [item.number for item in outbox.listed()]
    finally:
        outbox.close()
    promise(saved is None, "a power cut reads as damage")
    if not numbers:
        return 0
    promise(numbers == list(range(numbers[0], numbers[-1] + 1)), f"one is missing: {numbers}")
    promise(numbers[0] <= numbers[-1] // 3 + 2, f"more are gone than were sent: {numbers}")
    return numbers[-1]


def _never_sync(outbox: Outbox) -> None:
    database = outbox._db
    assert database is not None
    outbox._rows = lambda query, *values: database.execute(  # type: ignore[method-assign]  # this process ends here
        "PRAGMA synchronous=OFF" if query.startswith("PRAGMA synchronous") else query, values
    )


BODY = b'{"status":{"state":"installed"},"components":[]}'
