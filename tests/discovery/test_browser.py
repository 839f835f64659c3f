"""What the browser makes of what zeroconf heard: packets that nobody of good will sends, and services that change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from zeroconf import const
from zeroconf._dns import DNSAddress, DNSPointer, DNSRecord, DNSService, DNSText
from zeroconf._protocol.outgoing import DNSOutgoing
from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

from margod.discovery.browser import Browser

TYPE = "_margo-wfm._tcp.local."
OWN = const._CLASS_IN | const._CLASS_UNIQUE
WFM = f"WFM.{TYPE}"


def pointer(name: str, *, ttl: int = 120) -> DNSRecord:
    return DNSPointer(TYPE, const._TYPE_PTR, const._CLASS_IN, ttl, name)


def address(host: str, last: int) -> DNSRecord:
    return DNSAddress(host, const._TYPE_A, OWN, 120, bytes((10, 0, 0, last)))


def announced(name: str, host: str = "wfm.local.") -> list[DNSRecord]:
    """Return the records of a service of the name `name` on 10.0.0.1, port 8443."""
    service = DNSService(name, const._TYPE_SRV, OWN, 120, 0, 0, 8443, host)
    return [pointer(name), service, DNSText(name, const._TYPE_TXT, OWN, 120, b"\x09txtvers=1"), address(host, 1)]


@asynccontextmanager
async def browsing() -> AsyncIterator[tuple[Browser, Callable[[list[DNSRecord]], None]]]:
    """Yield a browser and what gives zeroconf a packet with records, as if it had come from the network."""
    browser = Browser("_margo-wfm._tcp", lambda: None)
    zeroconf = AsyncZeroconf(interfaces=["127.0.0.1"])
    async with asyncio.timeout(60):
        await zeroconf.zeroconf.async_wait_for_start()
        listener = AsyncServiceBrowser(zeroconf.zeroconf, TYPE, handlers=[browser._heard])
        protocol = zeroconf.zeroconf.engine.protocols[0]

        def hear(records: list[DNSRecord]) -> None:
            out = DNSOutgoing(const._FLAGS_QR_RESPONSE | const._FLAGS_AA)
            for record in records:
                out.add_answer_at_time(record, 0)
            for packet in out.packets():
                protocol.datagram_received(packet, ("127.0.0.1", 5353))

        try:
            yield browser, hear
        finally:
            for timer in browser._later.values():
                timer.cancel()
            await listener.async_cancel()
            await zeroconf.async_close()


def seen(browser: Browser) -> list[str]:
    return [candidate.instance for candidate in browser.sightings.candidates]


async def test_a_name_that_is_none_ends_nothing() -> None:
    """A pointer to what zeroconf takes for no instance raises nowhere, and the next WFM is seen."""
    async with browsing() as (browser, hear):
        for name in ("_sub", "_x._sub", ".", "_"):
            hear([pointer(f"{name}.{TYPE}")])
        hear(announced(WFM))
        assert seen(browser) == ["WFM"]


async def test_one_that_said_goodbye_stays_gone() -> None:
    """The look at what a change flushed is called off: what is left of the service in the cache would bring it back."""
    async with browsing() as (browser, hear):
        hear(announced(WFM))
        later = browser._later[WFM]
        gone = asyncio.Event()
        browser._tell = gone.set
        hear([pointer(WFM, ttl=0)])
        await gone.wait()
        assert seen(browser) == []
        assert later.cancelled()
        assert not browser._later


async def test_it_is_looked_at_again_after_the_last_change() -> None:
    """A look that was due after the first of two changes would be too early for what the second flushes."""
    async with browsing() as (browser, hear):
        hear(announced(WFM))
        first = browser._later[WFM]
        hear([address("wfm.local.", 2)])
        assert first.cancelled()
        assert browser._later[WFM].when() >= first.when()
