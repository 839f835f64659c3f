"""Onboarding over networks that are bad: real namespaces, real packets, and how long it takes once they allow it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.faults.campaign import Impossible, Run, promise
from tests.support.daemon import QUIET, Daemon
from tests.support.devwfm import DevWfm
from tests.system.lan import Lan, missing

HOST: Final = "wfm.test"
PORT: Final = 9443
"""The balancer's; the WFM's own is 8443."""
FIRST_WORDS: Final = 30.0
"""Seconds within which the first attempt may still be under way."""
PATIENCE: Final = 1800.0
"""Seconds within which a network that lets something through has to be enough: six attempts at the longest waits."""


@dataclass(frozen=True)
class Fault:
    """What is wrong. `passable`: some of it gets through, and the onboarding has to come to its end meanwhile.

    `reasons`: what status may say as long as it lasts, for the others.
    """

    wire: dict[str, Any] = field(default_factory=dict)
    names: str = "answer"
    cut: bool = False
    passable: bool = False
    reasons: frozenset[str] = frozenset()


FAULTS: Final = {
    "loss of 40 % on the way out": Fault({"loss": [0.4, 0.0]}, passable=True),
    "delay of 3 s": Fault({"delay": 1.5}, passable=True),
    "10 kbit/s": Fault({"rate": 1250}, passable=True),
    "black hole": Fault({"dead": True}, reasons=frozenset({"dns-failed", "timed-out", "connect-failed"})),
    "connections reset within a TLS record": Fault(
        cut=True, reasons=frozenset({"tls-failed", "connection-lost", "connect-failed"})
    ),
    "no name server": Fault(names="gone", reasons=frozenset({"dns-failed", "timed-out"})),
    "loss of 40 % both ways": Fault({"loss": [0.4, 0.4]}, passable=True),
    "name server hangs": Fault(names="hang", reasons=frozenset({"dns-failed", "timed-out"})),
}


class Helper:
    """One of tests.faults.wire's processes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Steer `process`."""
        self._process = process

    async def tell(self, **what: object) -> None:
        """Have this hold from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        await self.heard("done")

    async def heard(self, word: str) -> None:
        """Wait for a line."""
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            line = await self._process.stdout.readline()
        promise(line.decode().strip() == word, f"{line!r} is not {word}")


@contextlib.asynccontextmanager
async def helper(lan: Lan, host: str, *arguments: str) -> AsyncIterator[Helper]:
    """Run one on a host until the block is left."""
    process = await asyncio.create_subprocess_exec(
        *lan.at(host, sys.executable, "-m", "tests.faults.wire", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    one = Helper(process)
    try:
        await one.heard("ready")
        yield one
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(60):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@contextlib.contextmanager
def wired() -> Any:
    """Give a LAN of gateway and WFM whose bridge is cut in two, for a relay to join."""
    with Lan("gw", "wfm") as lan:
        gateway = lan.at("gw")[3]
        for number in (1, 2):
            subprocess.run(lan.at("lan", "ip", "link", "set", f"to{number}", "nomaster"), check=True, timeout=20)
        for host in ("gw", "wfm"):  # frames of one packet each: a lost one is one lost packet
            subprocess.run(lan.at(host, "ip", "link", "set", "eth0", "gso_max_segs", "1"), check=False, timeout=20)
        resolver = Path("/etc/netns") / gateway
        resolver.mkdir(parents=True)
        (resolver / "resolv.conf").write_text(f"nameserver {lan.address('wfm')}\n")
        try:
            yield lan
        finally:
            shutil.rmtree(resolver)


async def through(lan: Lan, place: Path, fault: Fault, hold: float) -> float:
    """Onboard one device; return the seconds from its start, or from the end of a fault that lets nothing through."""
    place.mkdir()
    options = ("--listen", "0.0.0.0:8443", "--host", HOST)
    async with contextlib.AsyncExitStack() as stack:
        wire = await stack.enter_async_context(helper(lan, "lan", "relay", "to1", "to2"))
        names = await stack.enter_async_context(helper(lan, "wfm", "dns", lan.address("wfm")))
        balancer = await stack.enter_async_context(helper(lan, "wfm", "cut", str(PORT), "8443"))
        wfm = await stack.enter_async_context(DevWfm(place / "wfm", *options, within=lan.at("wfm")))
        await wire.tell(**fault.wire)
        await names.tell(mode=fault.names)
        await balancer.tell(cut=fault.cut)
        daemon = Daemon(place, ca_file=wfm.ca_file, yaml=f'wfm: {{url: "https://{HOST}:{PORT}"}}\n{QUIET}')
        daemon.prefix = lan.at("gw")
        began = time.monotonic()
        await stack.enter_async_context(daemon)
        if not fault.passable:
            await asyncio.sleep(hold)  # how long it lasts is the point
            status = await daemon.status()
            error = status["last_error"]
            told = {status["reason"], error["code"] if error else "asking"}
            promise(status["state"] == "onboarding", f"{status['state']} although nothing gets through")
            allowed = fault.reasons if hold > FIRST_WORDS else fault.reasons | {"asking"}
            promise(told & allowed, f"{told} is not among {sorted(fault.reasons)}")
            began = time.monotonic()
            await wire.tell()
            await names.tell(mode="answer")
            await balancer.tell(cut=False)
        async with asyncio.timeout(PATIENCE):
            while (await daemon.status())["state"] != "enrolled":
                await asyncio.sleep(0.2)
        took = time.monotonic() - began
        await wire.tell()  # so that the end comes through as well
        await balancer.tell(cut=False)
        answers = [request["status"] for request in await wfm.requests("onboarding")]
        promise(answers.count(201) <= 2, f"registered {answers.count(201)} times")
        promise(len(await wfm.clients()) <= 2, "more certificates than a lost answer explains")
        await daemon.stop()
        await wfm.close_connections()
        return took


HOLDS: Final = (10.0, 60.0)
"""Seconds that a fault lasts which lets nothing through."""


def network(run: Run) -> None:
    """Every fault; in the short part two of them, for three seconds."""
    if why := missing():
        raise Impossible(why)
    names = list(FAULTS) if run.scale >= 1.0 else ["connections reset within a TLS record", "no name server"]
    with wired() as lan:
        for name in names:
            fault = FAULTS[name]
            for hold in (0.0,) if fault.passable else HOLDS if run.scale >= 1.0 else (3.0,):
                place = run.place / f"{names.index(name)}-{hold:.0f}"
                took = asyncio.run(through(lan, place, fault, hold))
                lasted = "meanwhile" if fault.passable else f"after {hold:.0f} s of it"
                run.count(f"{name}: enrolled {lasted}, seconds", max(1, round(took)))
                longest = PATIENCE if fault.passable else 2.0 * hold + 60.0
                promise(took <= longest, f"{name}: {took:.0f} s until it was enrolled, {longest:.0f} are the limit")
