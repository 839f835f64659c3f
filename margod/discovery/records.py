"""One announcement -> a location, or nothing. Whatever stands in the records was written by anybody on the LAN.

TXT keys (RFC 6763, section 6): `txtvers` has to be 1 where it is given, `path` is the prefix of every route, `name` is
for people. `proto` is not even looked at: the configuration says which protocol is spoken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from margod.model.text import clean

LONGEST_TXT: Final = 1300
"""Bytes of a TXT record: what RFC 6763, 6.2 recommends as the most that anybody publishes."""
LONGEST_PATH: Final = 200
MOST_KEYS: Final = 32
MOST_ADDRESSES: Final = 16
LONGEST_INSTANCE: Final = 63
"""Bytes of an instance name (RFC 6763, 4.1.1: one DNS label)."""

_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_KEY: Final = re.compile(rb"[ -<>-~]+")  # RFC 6763, 6.4: printable ASCII without "="


@dataclass(frozen=True, slots=True)
class Candidate:
    """One WFM that announces itself. Every field is bounded and printable; none is to be trusted.

    `instance` is what tells one from another, `path` is "" or "/...". `addresses` are literals, link-local IPv6 ones
    with their zone, at least one.
    """

    instance: str
    host: str
    addresses: tuple[str, ...]
    port: int
    path: str
    name: str = ""

    def url(self, server_name: str | None = None) -> str:
        """Return the root URL under `server_name`, by default the host that is announced."""
        port = "" if self.port == 443 else f":{self.port}"
        return f"https://{server_name or self.host}{port}{self.path}"

    def document(self) -> dict[str, object]:
        """Return what status and `margod discover` show."""
        addresses = list(self.addresses)
        return {"instance": self.instance, "host": self.host, "port": self.port, "path": self.path} | {
            "addresses": addresses,
            "name": self.name,
        }


def decode(instance: str, host: str | None, addresses: Iterable[str], port: int | None, txt: bytes) -> Candidate | None:
    """Return the candidate, or None for what is not exactly as it should be."""
    name = (host or "").lower().removesuffix(".")
    usable = tuple(dict.fromkeys(address for address in addresses if _usable(address)))[:MOST_ADDRESSES]
    keys = _keys(txt)
    if keys is None or not usable or not is_instance(instance) or not _is_host(name):
        return None
    if port is None or not 1 <= port <= 65_535 or keys.get("txtvers", b"1") != b"1":
        return None
    path = keys.get("path", b"").decode("ascii", "replace").rstrip("/")
    if len(path) > LONGEST_PATH or not _PATH.fullmatch(path) or any(part in (".", "..") for part in path.split("/")):
        return None
    return Candidate(instance, name, usable, port, path, clean(keys.get("name", b""), 60))


def is_instance(text: str) -> bool:
    """Return whether `text` can be an instance name that a person can tell from another on a terminal."""
    return 0 < len(text.encode("utf-8", "replace")) <= LONGEST_INSTANCE and clean(text) == text


def _keys(txt: bytes) -> dict[str, bytes] | None:
    """Return the keys in lower case; of one that stands twice the first counts (RFC 6763, 6.4). None if malformed."""
    if len(txt) > LONGEST_TXT:
        return None
    found: dict[str, bytes] = {}
    at = 0
    while at < len(txt):
        length = txt[at]
        entry = txt[at + 1 : at + 1 + length]
        if len(entry) < length or len(found) >= MOST_KEYS:
            return None
        at += 1 + length
        key, equals, value = entry.partition(b"=")
        if not entry or not key:
            continue  # RFC 6763, 6.1 and 6.4: silently ignored
        if not _KEY.fullmatch(key):
            return None
        if equals:
            found.setdefault(key.decode("ascii").lower(), value)
    return found


def _is_host(name: str) -> bool:
    labels = name.split(".")
    return len(name) <= 253 and not labels[-1].isdigit() and all(_LABEL.fullmatch(label) for label in labels)


def _usable(text: str) -> bool:
    """Return whether one can connect to the address: no group, nothing unspecified, link-local IPv6 with its zone."""
    try:
        address: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        return False
    if address.is_multicast or address.is_unspecified or address.is_reserved:
        return False
    return not (isinstance(address, IPv6Address) and address.is_link_local and address.scope_id is None)
