"""The network around a device in virtual time: links that come and go, and a WFM that announces itself by mDNS.

The kernel's messages were recorded (tests/data/rtnetlink.bin: interfaces and addresses made, taken away and gone, in a
namespace) and reach margod.discovery.links through a socket pair in place of a netlink socket. mDNS is zeroconf itself,
on the loopback interface and under a service type of this process's own; only its choice of interfaces is made here.
"""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final

from zeroconf import IPVersion
from zeroconf.asyncio import AsyncZeroconf

from margod.devwfm import announce
from margod.discovery import browser, links
from tests.faults.campaign import promise
from tests.support.virtual import put

RECORDED: Final = Path(__file__).parents[1] / "data/rtnetlink.bin"
GROUPS: Final = 0x111
"""What a listener has to have joined to be told of links and of addresses of both kinds."""
UP: Final = (("127.0.0.1",), ("127.0.0.1", "127.0.0.2"))
"""The interfaces that a device can have: one, or another beside it."""
INSTANCE: Final = "Works"
SERVICE: Final = f"_margo-t{os.getpid()}._tcp"


def recorded() -> list[bytes]:
    """Return the kernel's messages in their order."""
    data, found = RECORDED.read_bytes(), []
    while data:
        (length,) = struct.unpack_from("=I", data)
        found.append(data[:length])
        data = data[length:]
    return found


class _Route(socket.socket):
    """A listener's end."""

    def bind(self, address: object) -> None:
        """Join the groups."""
        promise(address == (0, GROUPS), f"bound to {address}")


class Kernel:
    """Stands for the module socket where margod.discovery.links opens a netlink socket; `tell` is the kernel's side."""

    AF_NETLINK, NETLINK_ROUTE = socket.AF_NETLINK, socket.NETLINK_ROUTE
    SOCK_RAW, SOCK_NONBLOCK = socket.SOCK_RAW, socket.SOCK_NONBLOCK

    def __init__(self) -> None:
        """Begin with nobody listening."""
        self._ours: list[socket.socket] = []

    def socket(self, family: int, kind: int, protocol: int) -> socket.socket:
        """Open a listener's socket."""
        promise((family, protocol) == (self.AF_NETLINK, self.NETLINK_ROUTE), f"opened {family}, {protocol}")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        theirs.setblocking(not kind & self.SOCK_NONBLOCK)
        self._ours.append(ours)
        return _Route(fileno=theirs.detach())

    def tell(self, messages: list[bytes]) -> int:
        """Send to all who listen; return how many they are. What does not fit is lost, as with the kernel."""
        for ours in list(self._ours):
            try:
                for message in messages:
                    ours.send(message)
            except BlockingIOError:
                pass
            except OSError:  # it was closed
                ours.close()
                self._ours.remove(ours)
        return len(self._ours)

    def close(self) -> None:
        """Close what is left."""
        for ours in self._ours:
            ours.close()
        self._ours.clear()


class Network:
    """What the device hangs on."""

    def __init__(self, rng: random.Random) -> None:
        """Begin with one interface."""
        self.kernel = Kernel()
        self.interfaces: tuple[str, ...] = UP[0]
        self._rng, self._messages = rng, recorded()

    def change(self) -> int:
        """Have interfaces come or go, and the kernel tell of it; return how many listened."""
        self.interfaces = self._rng.choice((*UP, ()))
        return self._tell()

    def mend(self) -> int:
        """Have all interfaces there again."""
        self.interfaces = UP[1]
        return self._tell()

    def _tell(self) -> int:
        first = self._rng.randrange(len(self._messages))
        return self.kernel.tell(self._messages[first : first + self._rng.randrange(1, 5)])

    def announced(self, port: int) -> AbstractAsyncContextManager[None]:
        """Announce the WFM at `port` as devwfm does, with a goodbye at the end."""
        return announce.announced(INSTANCE, "127.0.0.1", port, "/")

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Put it in the place of the machine's."""
        network = self

        class Zeroconf(AsyncZeroconf):
            """zeroconf that sees these interfaces."""

            def __init__(self, ip_version: IPVersion) -> None:
                assert ip_version is IPVersion.All
                if not network.interfaces:
                    raise RuntimeError("No interfaces to listen on")  # as it does itself
                super().__init__(interfaces=list(network.interfaces))

            async def async_update_interfaces(self, *_nothing: object) -> None:
                await super().async_update_interfaces(list(network.interfaces))

        with ExitStack() as stack:
            stack.callback(self.kernel.close)
            stack.enter_context(put(browser, "AsyncZeroconf", Zeroconf))
            stack.enter_context(put(links, "socket", self.kernel))
            stack.enter_context(put(announce, "SERVICE", f"{SERVICE}.local."))
            yield
