"""The settings that say who the WFM is, where, and by what it is known; the table is in settings.py."""

# Fields of frozen attrs classes; what RUF009 warns of (a default shared and changed) cannot happen to them:
# ruff: noqa: RUF009

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import attrs

from margod.config import values
from margod.config.pins import PINS
from margod.config.setting import setting as _setting

_SERVICE_TYPE: Final = re.compile(r"_(?=[a-z0-9-]*[a-z])[a-z0-9](?:[a-z0-9-]{0,13}[a-z0-9])?\._tcp")  # RFC 6335, 5.1


@attrs.frozen(kw_only=True)
class Wfm:
    """Where the WFM is and how it is spoken to."""

    url: str | None = _setting(
        values.URL,
        None,
        "Root URL of the WFM, with port and path prefix if it has them. https only. "
        "MARGOD_WFM_URL and `margod run --url` override it.",
        example="https://wfm.example:8443/margo",
        environment="MARGOD_WFM_URL",
        argument="--url",
    )
    protocol: str = _setting(
        values.choice("signed", "token"),
        "signed",
        "Generation of the specification that the WFM speaks: signed (1.0), or token (the drafts of 2024: client "
        "secret, bearer token, desired state in Git). It is never guessed.",
    )
    dialect: str = _setting(
        values.choice("auto", "spec"),
        "auto",
        "auto: the specification's form first, then the older forms of known servers where a refusal asks for them. "
        "spec: the specification's form only.",
    )
    certificate_field: str = _setting(
        values.choice("auto", "certificate", "public_certificate"),
        "auto",
        "Name of the certificate's field in the onboarding request: certificate, or public_certificate for older "
        "servers; auto leaves it to the dialect.",
    )
    certificate_encoding: str = _setting(
        values.choice("auto", "der", "pem"),
        "auto",
        "What is base64-encoded into that field: der or pem; auto leaves it to the dialect.",
    )
    capabilities_route: str = _setting(
        values.choice("auto", "device", "client"),
        "auto",
        "device: capabilities go to .../capabilities/{deviceId}. client: to .../capabilities, as older servers want. "
        "auto leaves it to the dialect.",
    )
    timeout: float = _setting(values.duration("1s", "10m"), 30.0, "Longest time for one whole exchange with the WFM.")
    select: str | None = _setting(
        values.text(63),
        None,
        "Instance name of the WFM to take where discovery finds several; `margod discover` lists them.",
        example="Plant WFM",
    )
    proxy: str | None = _setting(
        values.PROXY,
        None,
        "HTTP proxy on the way to the WFM: http:// with host and port. Without it HTTPS_PROXY and NO_PROXY of margod's "
        "environment count; none: neither.",
        example="http://proxy.example:3128",
    )
    proxy_credentials_file: Path | None = _setting(
        values.path(),
        None,
        "File with user:password for the proxy, on one line; absolute path.",
        example="/etc/margod/proxy-credentials",
    )
    signed_authority: str | None = _setting(
        values.AUTHORITY,
        None,
        "Host and port that the signature says, where a balancer rewrites them before the WFM sees the request; "
        "requests go to wfm.url all the same.",
        example="wfm.internal:8443",
    )
    signed_scheme: str = _setting(
        values.choice("https", "http"),
        "https",
        "http: the signature says http, where a balancer ends TLS and the WFM takes what it gets for http.",
    )


@attrs.frozen(kw_only=True)
class Trust:
    """How the WFM is known to be the right one; the first that is set counts. With none nothing is ever sent."""

    ca_file: Path | None = _setting(
        values.path(),
        None,
        "The WFM's root CA, one or several, PEM or DER; absolute path. They become the only trust anchors. A changed "
        "file is taken over within two minutes.",
        example="/etc/margod/wfm-ca.pem",
    )
    pin: tuple[str, ...] | None = _setting(
        PINS,
        None,
        "SHA-256 of the WFM's root CA certificate (hex, colons allowed), or spki: and that of its public key (hex or "
        "base64), or a list of these. The root CA is downloaded from the WFM and taken only if it matches. "
        "`margod trust pin FILE` prints the line.",
        example="spki:6c7c1b1d0c5f2a4e8f9a3b5d7e1f20314253647586970a1b2c3d4e5f60718293",
    )
    system: bool = _setting(
        values.BOOLEAN,
        False,
        "true: without a ca_file the system's CA store verifies the server, and the root CA is downloaded from it.",
    )
    first_use: str = _setting(
        values.choice("off", "ask", "accept"),
        "off",
        "ask: whatever root CA the WFM's address offers is shown in the status, and taken after "
        "`margod trust accept FINGERPRINT`. accept: it is taken unseen; for a lab only, and said for ever.",
    )
    ca_is_wfm_only: bool = _setting(
        values.BOOLEAN,
        False,
        "true: the root CA vouches for WFMs only, never for printers, so a discovered WFM may bear any host name.",
    )
    refresh: float = _setting(
        values.duration("1s", "30d", off=True),
        86_400.0,
        "How often an enrolled device asks the WFM for its root CA again, over the verified channel; off: never.",
    )
    adopt_after: float = _setting(
        values.duration("1s", "365d"),
        259_200.0,
        "For how long the WFM has to offer another root CA before it can become a trust anchor beside the old one. "
        "Never with ca_file or pin.",
    )
    token_endpoint_ca_file: Path | None = _setting(
        values.path(),
        None,
        "CA of the hosts of token.allowed_hosts, PEM or DER; absolute path. Without it the WFM's root CA has to verify "
        "them as well.",
        example="/etc/margod/token-ca.pem",
    )
    on_change: str = _setting(
        values.choice("hold", "ask"),
        "hold",
        "When the WFM suddenly presents another root CA. hold: nothing is sent until the old one verifies it again. "
        "ask: the root CA offered at its address is shown as well, for `margod trust accept FINGERPRINT`; not with "
        "ca_file or pin.",
    )


@attrs.frozen(kw_only=True)
class Discovery:
    """How the WFM is found where wfm.url is not set. What is found is a location, never trust."""

    enabled: bool = _setting(values.BOOLEAN, True, "true: without wfm.url, look for the WFM by multicast DNS.")
    type: str = _setting(
        values.text(21, pattern=_SERVICE_TYPE, what="a service type such as _margo-wfm._tcp"),
        "_margo-wfm._tcp",
        "The service type that WFMs announce.",
    )
    server_names: tuple[str, ...] | None = _setting(
        values.host_names(8),
        None,
        "Host names, one or a list, of which the certificate of a discovered WFM has to bear one. The announced host "
        "does not count: anybody can announce anything.",
        example="wfm.plant.example",
    )
    again_after: float = _setting(
        values.duration("1s", "30d"),
        600.0,
        "A discovered WFM that is unreachable for so long is looked for again; it may have another address then.",
    )


@attrs.frozen(kw_only=True)
class Tls:
    """The TLS versions offered to the WFM."""

    minimum_version: str = _setting(values.choice("1.2", "1.3"), "1.2", "Lowest TLS version.")
    maximum_version: str = _setting(values.choice("1.2", "1.3"), "1.3", "Highest TLS version.")
    strict_x509: bool = _setting(
        values.BOOLEAN, False, "true: refuse WFM certificates that break RFC 5280, as many private CAs' do."
    )
