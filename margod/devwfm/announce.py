"""The development WFM on the LAN: announces itself by multicast DNS, and says goodbye."""

from __future__ import annotations

import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

import ifaddr
from zeroconf import Error as ZeroconfError
from zeroconf import IPVersion
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from margod.devwfm.problems import DevWfmError

SERVICE = "_margo-wfm._tcp.local."


@asynccontextmanager
async def announced(name: str, host: str, port: int, prefix: str) -> AsyncIterator[None]:
    """Announce the WFM that listens on `host` (an address; 0.0.0.0 and :: mean all) for as long as the block runs.

    Raises `DevWfmError` if that cannot be done.
    """
    listens = ip_address(host.partition("%")[0])
    addresses = _all() if listens.is_unspecified else [str(listens)]
    info = AsyncServiceInfo(
        SERVICE,
        f"{name}.{SERVICE}",
        port=port,
        properties={"txtvers": "1", "path": prefix, "proto": "signed", "name": "margod development WFM"},
        server=f"margod-devwfm-{secrets.token_hex(4)}.local.",  # another one may run on another host
        addresses=[_packed(address) for address in addresses],
    )
    try:
        if listens.is_unspecified:
            zeroconf = AsyncZeroconf(ip_version=IPVersion.All)
        else:
            zeroconf = AsyncZeroconf(interfaces=[str(listens)])
    except (OSError, RuntimeError, ZeroconfError) as error:
        raise DevWfmError(f"cannot announce {name!r}: {error}") from None
    try:
        await (await zeroconf.async_register_service(info))
        try:
            yield
        finally:
            await (await zeroconf.async_unregister_service(info))  # the second await sends the goodbye
    except (RuntimeError, ZeroconfError) as error:
        raise DevWfmError(f"cannot announce {name!r}: {str(error) or 'the name is taken'}") from None
    finally:
        await zeroconf.async_close()


def _all() -> list[str]:
    found = [ip.ip if isinstance(ip.ip, str) else ip.ip[0] for adapter in ifaddr.get_adapters() for ip in adapter.ips]
    return [address for address in dict.fromkeys(found) if not ip_address(address).is_loopback]


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address.partition("%")[0])
