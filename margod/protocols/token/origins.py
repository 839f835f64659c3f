"""Where secrets may be sent: the WFM's own origin, and those that the owner lists in `token.allowed_hosts`.

A server's answer names the token endpoint and the repository. Whoever can write that answer must not be able to have
the client secret or a token sent to a place of his choice. Only https is taken; what is asked there is asked there
alone: no redirect is followed, whatever the origin it points to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from margod.model.text import clean

LONGEST: Final = 2_048
"""Characters of a URL."""

_URL: Final = re.compile(
    r"[Hh][Tt][Tt][Pp][Ss]://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?P<end>#.*)?"
)
_AUTHORITY: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(?P<port>[0-9]{1,5}))?")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_DOTTED_QUAD: Final = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_PATH: Final = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*")
_QUERY: Final = re.compile(r"\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")


class NotUsable(Exception):
    """What somebody named cannot be used; `args[0]` says why, cleaned, and repeats no secret."""

    def __init__(self, why: str) -> None:
        super().__init__(clean(why))


@dataclass(frozen=True, slots=True)
class Place:
    """A checked https URL in its normal form; `authority` is its host, with the port unless it is 443."""

    authority: str
    path: str
    query: str = ""

    @property
    def url(self) -> str:
        """The URL, which holds no secret: user names and passwords are refused."""
        return f"https://{self.authority}{self.path}{self.query}"

    @property
    def origin(self) -> str:
        """Scheme, host and port (RFC 6454, 4), in the form in which origins are compared."""
        return f"https://{self.authority}"


@dataclass(frozen=True, slots=True)
class Origins:
    """The origins that may be given secrets: the WFM's own, and the owner's list of `host` and `host:port`."""

    own: str
    allowed: frozenset[str] = frozenset()

    @classmethod
    def of(cls, base: str, allowed_hosts: Iterable[str] = ()) -> Origins:
        """Take the WFM's root URL, and hosts; one without a port means port 443. Raises NotUsable."""
        return cls(read_place(base).authority, frozenset(_authority(host) for host in allowed_hosts))

    def check(self, place: Place) -> Place:
        """Return `place` if secrets may go there. Raises NotUsable, which names the setting."""
        if place.authority != self.own and place.authority not in self.allowed:
            raise NotUsable(f"{place.authority} is neither the WFM's own host nor in token.allowed_hosts")
        return place


def read_place(text: object, *, query: bool = False) -> Place:
    """Return the place that a URL names. Raises NotUsable, whose text never repeats the URL: it may hold a password.

    Refused: what is no text, empty, or longer than `LONGEST`; any scheme but https; user name and password; a fragment;
    a query unless `query`; a host that is no name or address in its plain form; empty and dot segments, encoded or not.
    """
    if not isinstance(text, str) or not text:
        raise NotUsable("the URL is missing or no text")
    if len(text) > LONGEST:
        raise NotUsable(f"the URL is longer than {LONGEST} characters")
    match = _URL.fullmatch(text)
    if match is None:
        raise NotUsable("the URL does not begin with https://")
    if "@" in match["authority"]:
        raise NotUsable("the URL has a user name or password in it")
    if match["end"] is not None:
        raise NotUsable("the URL has a fragment")
    asked = match["query"] or ""
    if asked and not query:
        raise NotUsable("the URL has a query")
    if not _QUERY.fullmatch(asked or "?") or not _PATH.fullmatch(match["path"]):
        raise NotUsable("the URL has characters that must be percent-encoded")
    path = match["path"].rstrip("/") if not query else match["path"]
    segments = re.sub("%2[eE]", ".", path).split("/")[1:]
    if any(segment in (".", "..") for segment in segments) or "" in segments[:-1]:
        raise NotUsable("the URL has an empty or dot segment in its path")
    return Place(_authority(match["authority"]), path, asked)


def _authority(text: str) -> str:
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise NotUsable("there is no valid host and port")
    host, port = match["host"].lower(), match["port"]
    if port is not None and not 1 <= int(port) <= 65_535:
        raise NotUsable("the port is not a number from 1 to 65535")
    shown = _ipv6(host) if host.startswith("[") else _name(host)
    return shown if port is None or int(port) == 443 else f"{shown}:{int(port)}"


def _ipv6(host: str) -> str:
    try:
        return f"[{IPv6Address(host[1:-1]).compressed}]"
    except ValueError:
        raise NotUsable("there are brackets around something that is not an IPv6 address") from None


def _name(host: str) -> str:
    labels = host.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise NotUsable("the host is not a valid name or address")
    if _NUMERIC.fullmatch(labels[-1]) and not _DOTTED_QUAD.fullmatch(host):
        raise NotUsable("the host is a number that is not an IPv4 address")
    return host
