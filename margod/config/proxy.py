"""The proxy on the way to the WFM: what `wfm.proxy` takes, and what the environment says.

Messages never repeat what was written, which may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from margod.config.refusal import Refusal
from margod.config.url import LONGEST, host_and_port

NONE: Final = "none"
"""The value of `wfm.proxy` that switches the environment's proxy off."""
VARIABLES: Final = ("https_proxy", "HTTPS_PROXY")
"""Where the environment's proxy stands; the first that is there counts, and empty means none."""
EXCEPTIONS: Final = ("no_proxy", "NO_PROXY")

_IN_FILE: Final = "put user:password into a file of mode 0600 and name it in wfm.proxy_credentials_file"


@dataclass(frozen=True, slots=True)
class FromEnvironment:
    """A proxy that a variable names. `credentials` is `user:password`, empty if there is none; never shown."""

    address: str
    variable: str
    credentials: bytes = field(default=b"", repr=False)


def normalise(text: str) -> str:
    """Return `none`, or the proxy as `http://host:port`; raise Refusal for anything else."""
    if text == NONE:
        return NONE
    if "@" in text:
        raise Refusal("has a user name or password in it", _IN_FILE)
    address, port = _address(text)
    if port is None:
        raise Refusal("has no port", "add the proxy's port: http://proxy.example:3128")
    return f"http://{address}:{port}"


def from_environment(env: Mapping[str, str], url: str) -> FromEnvironment | None:
    """Return the proxy that the environment names for the WFM at `url` (normalised), or None for a direct way.

    Raises Refusal, which says the variable, if that cannot be used. `http://` may be left out, the port is 80 then;
    credentials may stand in it. A WFM on loopback is never reached through it.
    """
    variable = next((name for name in VARIABLES if name in env), None)
    if variable is None or not env[variable].strip() or _excepted(env, url):
        return None
    text = env[variable].strip()
    scheme, separator, rest = text.rpartition("://")
    userinfo, _, rest = rest.rpartition("@")
    try:
        address, port = _address(f"{scheme}{separator or 'http://'}{rest}")
    except Refusal as refusal:
        raise Refusal(f"{variable} {refusal.message}", refusal.hint) from None
    return FromEnvironment(f"http://{address}:{port or 80}", variable, unquote_to_bytes(userinfo))


def _address(text: str) -> tuple[str, int | None]:
    if len(text) > LONGEST or not text.isprintable() or " " in text or "\\" in text:
        raise Refusal("has spaces, control characters or backslashes, or is very long")
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if not separator:
        raise Refusal("has no scheme", "write it as http://proxy.example:3128")
    if scheme == "https":
        raise Refusal(
            "is an https:// proxy, which margod does not speak",
            "name the proxy's http:// port; what goes through it to the WFM is TLS all the same",
        )
    if scheme != "http":
        raise Refusal("is not an http:// proxy", "margod speaks CONNECT over http:// only, not SOCKS")
    authority = rest.rstrip("/")
    if re.search("[/?#]", authority):
        raise Refusal("has a path, query or fragment", "end it after the port: http://proxy.example:3128")
    return host_and_port(authority)


def _excepted(env: Mapping[str, str], url: str) -> bool:
    """Return whether NO_PROXY (names with their subdomains, addresses, networks, `*`), or loopback, says so."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    if host == "localhost" or host.endswith(".localhost") or (address is not None and address.is_loopback):
        return True
    listed = next((env[name] for name in EXCEPTIONS if name in env), "")
    return any(_excepts(entry, host, address, port) for entry in re.split(r"[,\s]+", listed.lower()) if entry)


def _excepts(entry: str, host: str, address: IPv4Address | IPv6Address | None, port: int) -> bool:
    if entry == "*":
        return True
    if address is not None:
        try:
            return address in ip_network(entry.strip("[]"), strict=False)
        except ValueError:
            pass  # a name, or an address with a port
    name, colon, only = entry.rpartition(":")
    if colon and only.isdigit() and (name.endswith("]") or ":" not in name):
        if int(only) != port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*").lstrip(".")
    return bool(entry) and (host == entry or (address is None and host.endswith(f".{entry}")))
