"""The WFM's root URL: what is taken, and the one form in which it goes into requests and signatures.

Messages never repeat the URL, which may hold a password.
"""

from __future__ import annotations

import re
from typing import Final

from margod.config.refusal import Refusal

LONGEST: Final = 2048
"""Characters of a URL; routes are appended to it, and many servers stop reading at 8 KiB."""


def normalise(text: str) -> str:
    """Return the RFC 3986 URL `text` as `https://host[:port][/prefix]`, or raise Refusal.

    Scheme and host become lower-case, an IPv6 literal is compressed, port 443 and trailing slashes are dropped, the
    path prefix stays as it is written, because signatures cover it verbatim. Refused: any other scheme, credentials,
    query, fragment, dot segments (also percent-encoded) and empty ones, a zone in an IPv6 literal, host names outside
    ASCII (which IDNA version is meant is not for us to guess), numeric hosts that are not a dotted quad.
    """
    if not text:
        raise Refusal("is empty", "write it as https://wfm.example, or remove the line")
    if len(text) > LONGEST:
        raise Refusal(f"is longer than {LONGEST} characters")
    if not text.isprintable() or " " in text or "\\" in text:
        raise Refusal("has spaces, control characters or backslashes")
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise Refusal("has no scheme", "begin it with https://")
    scheme, authority, path, rest = match["scheme"].lower(), match["authority"], match["path"], match["rest"]
    if "@" in authority:
        raise Refusal("has a user name or password in it", "remove everything up to the @; margod proves itself by key")
    if scheme == "http":
        raise Refusal("is http, which is not protected", "begin it with https://")
    if scheme != "https":
        raise Refusal("is not an https URL", "begin it with https://")
    if rest:
        raise Refusal("has a query or fragment", "end it before the ? or #")
    return f"https://{_authority(authority)}{_prefix(path)}"


def authority(text: str) -> str:
    """Return `host` or `host:port` in its normal form, without port 443, or raise Refusal."""
    if not text.isprintable() or len(text) > LONGEST:
        raise Refusal("has control characters or is very long")
    if re.search(r"[/?#@\\\s]", text):
        raise Refusal("is not just host and port", "write it without https:// and path: wfm.example:8443")
    return _authority(text)


def host_and_port(authority: str) -> tuple[str, int | None]:
    """Return the host in its normal form (IPv6 in brackets) and the port if there is one, or raise Refusal."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise Refusal("has no valid host and port", "write an IPv6 address in brackets: https://[fd00::1]:8443")
    host, port = match["host"], match["port"]
    if not host:
        raise Refusal("has no host", "write it as https://wfm.example")
    shown = _ipv6(host[1:-1]) if host.startswith("[") else _name(host)
    if port is None:
        return shown, None
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65_535:
        raise Refusal("has a port that is not a number from 1 to 65535")
    return shown, int(port)


def _authority(text: str) -> str:
    host, port = host_and_port(text)
    return host if port in (None, 443) else f"{host}:{port}"


def _ipv6(literal: str) -> str:
    from ipaddress import IPv6Address

    if "%" in literal:
        raise Refusal("has an IPv6 zone in it", _ELSEWHERE)
    try:
        address = IPv6Address(literal)
    except ValueError:
        raise Refusal("has brackets around something that is not an IPv6 address") from None
    if address.is_link_local:
        raise Refusal("has a link-local IPv6 address, which says nothing without its interface", _ELSEWHERE)
    return f"[{address.compressed}]"


def _name(host: str) -> str:
    if not host.isascii():
        raise Refusal("has a host name outside ASCII", "write it in its ASCII form, which begins with xn--")
    host = host.lower()
    labels = host.split(".")
    if host.endswith("."):
        raise Refusal("has a host name that ends in a dot", "leave out the dot; certificates do not have it")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Refusal("has a host that is not a valid name or address")
    if _NUMERIC.fullmatch(labels[-1]) and not _DOTTED_QUAD.fullmatch(host):
        raise Refusal("has a numeric host that is not an IPv4 address", "write all four numbers: 192.0.2.1")
    return host


def _prefix(path: str) -> str:
    path = path.rstrip("/")
    if not _PATH.fullmatch(path):
        raise Refusal("has characters in its path that must be percent-encoded")
    for segment in path.split("/")[1:]:
        dots = re.sub("%2[eE]", ".", segment)
        if dots in ("", ".", ".."):
            raise Refusal("has an empty or dot segment in its path", "write the path as the server has it")
    return path


_ELSEWHERE: Final = "use a host name, or an address that is valid on every interface"
_SHAPE: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<rest>[?#].*)?"
)
_AUTHORITY: Final = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>.*))?")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")  # underscores are seen in container networks
_NUMERIC: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_DOTTED_QUAD: Final = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_PATH: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")
