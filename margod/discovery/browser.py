"""The browser: zeroconf's asyncio interface, bounded, over interfaces that come and go.

zeroconf bounds its own cache (10 000 records). What is bounded here: names that are resolved, at a time and in all, and
what is kept of them. Names that do not resolve are asked for in random order, so that no crowd of them keeps the one
that matters waiting for ever.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from zeroconf import Error as ZeroconfError
from zeroconf import IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from margod.discovery.links import Links
from margod.discovery.records import Candidate, decode, is_instance
from margod.discovery.sightings import Sightings

NO_INTERFACE_RETRY: Final = 30.0
"""Seconds between two attempts to begin while no interface is up, if nothing is heard of one."""
MOST_WAITING: Final = 2048
"""Names that wait for being resolved."""
BATCH: Final = 64
"""Names that are resolved at a time."""
PATIENCE_MS: Final = 1500
"""Milliseconds that a batch may take; a name that did not resolve is asked for again."""
LATER: Final = 1.5
"""Seconds after which a changed service is looked at again: only then are flushed records gone (RFC 6762, 10.2), and
zeroconf does not tell of that."""
ROUNDS: Final = 20
"""How often a name that does not resolve is asked for before it has to be announced anew."""

_FAULTS: Final = (OSError, RuntimeError, ZeroconfError)  # RuntimeError: no interface is up, which is normal at boot


class Browser:
    """Browses for one type until `run` is cancelled. `tell` is called after each change of `sightings`."""

    def __init__(self, service_type: str, tell: Callable[[], None], keep: Callable[[], Iterable[str]] = tuple) -> None:
        """Look for `service_type` (`_margo-wfm._tcp`); the instances that `keep` names are never crowded out."""
        logging.getLogger("zeroconf").setLevel(logging.CRITICAL + 1)  # it would repeat what anybody sends
        self.sightings = Sightings()
        self._type = f"{service_type}.local."
        self._tell = tell
        self._keep = keep
        self._waiting: dict[str, int] = {}
        self._later: dict[str, asyncio.TimerHandle] = {}
        self._work = asyncio.Event()

    async def run(self) -> None:
        """Browse until cancelled. Raises nothing but CancelledError."""
        async with Links() as links:
            while True:
                try:
                    zeroconf = AsyncZeroconf(ip_version=IPVersion.All)
                except _FAULTS:
                    await links.changed(NO_INTERFACE_RETRY)
                    continue
                with suppress(Exception):  # no interface any more, or what some packet did to zeroconf: begun anew
                    try:
                        await self._browse(zeroconf, links)
                    finally:
                        await _close(zeroconf)
                self._forget()
                await links.changed(NO_INTERFACE_RETRY)

    async def _browse(self, zeroconf: AsyncZeroconf, links: Links) -> None:
        browser = AsyncServiceBrowser(zeroconf.zeroconf, self._type, handlers=[self._heard])
        resolving = asyncio.ensure_future(self._resolve(zeroconf.zeroconf))
        try:
            while True:
                if await links.changed(None):
                    await zeroconf.async_update_interfaces()
        finally:
            resolving.cancel()
            for timer in self._later.values():
                timer.cancel()
            self._later.clear()
            await asyncio.gather(resolving, return_exceptions=True)
            with suppress(*_FAULTS):
                await browser.async_cancel()

    def _heard(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        """Take what zeroconf heard; the keywords' names are zeroconf's."""
        assert service_type == self._type
        instance = name.removesuffix(f".{self._type}")
        if not is_instance(instance) or instance == name:
            return
        if (timer := self._later.pop(name, None)) is not None:
            timer.cancel()
        if state_change is ServiceStateChange.Removed:
            self._waiting.pop(name, None)
            if self.sightings.remove(instance):
                self._tell()
            return
        try:
            info = AsyncServiceInfo(self._type, name)
        except ZeroconfError:  # `_sub._margo-wfm._tcp.local.`; raised from here, it would be for every later packet too
            return
        if not self._take(zeroconf, info, from_cache=True):
            self._wait_for(name)
        elif len(self._later) < MOST_WAITING:
            self._later[name] = asyncio.get_running_loop().call_later(LATER, self._look_again, zeroconf, name)

    def _look_again(self, zeroconf: Zeroconf, name: str) -> None:
        self._later.pop(name, None)
        self._take(zeroconf, AsyncServiceInfo(self._type, name), from_cache=True)

    def _wait_for(self, name: str) -> None:
        if name not in self._waiting and len(self._waiting) >= MOST_WAITING:
            del self._waiting[random.choice(list(self._waiting))]  # noqa: S311 - no secret
        self._waiting[name] = ROUNDS
        self._work.set()

    async def _resolve(self, zeroconf: Zeroconf) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._waiting:
                names = random.sample(list(self._waiting), min(BATCH, len(self._waiting)))
                await asyncio.gather(*(self._ask(zeroconf, name) for name in names), return_exceptions=True)
                await asyncio.sleep(0.1)

    async def _ask(self, zeroconf: Zeroconf, name: str) -> None:
        info = AsyncServiceInfo(self._type, name)
        resolved = False
        with suppress(*_FAULTS):
            resolved = await info.async_request(zeroconf, PATIENCE_MS)
        left = self._waiting.pop(name, 0) - 1
        if resolved:
            self._take(zeroconf, info, from_cache=False)
        elif left > 0:
            self._waiting[name] = left

    def _take(self, zeroconf: Zeroconf, info: AsyncServiceInfo, *, from_cache: bool) -> bool:
        """Decode a service that resolved; return whether it did. What it says may still be unusable."""
        with suppress(*_FAULTS):
            if from_cache and not info.load_from_cache(zeroconf):
                return False
            instance = info.name.removesuffix(f".{self._type}")
            found = decode(instance, info.server, info.parsed_scoped_addresses(), info.port, info.text or b"")
            if found is None:
                changed = self.sightings.remove(instance)
            else:
                changed = self.sightings.add(found, time.monotonic(), frozenset(self._keep()))
            if changed:
                self._tell()
            return True
        return False

    def _forget(self) -> None:
        self._waiting.clear()
        self.sightings.clear()
        self._tell()


async def look(service_type: str, seconds: float) -> tuple[Candidate, ...]:
    """Return who announces himself within `seconds`; nobody, where no interface is up."""
    browser = Browser(service_type, lambda: None)
    running = asyncio.ensure_future(browser.run())
    await asyncio.wait({running}, timeout=seconds)
    running.cancel()
    found = browser.sightings.candidates
    await asyncio.gather(running, return_exceptions=True)
    return found


async def _close(zeroconf: AsyncZeroconf) -> None:
    with suppress(*_FAULTS):
        await zeroconf.async_close()
