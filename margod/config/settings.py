"""The table of settings: the single source for loading, defaults, JSON Schema, `config show` and the sample file.

A setting is one attrs field; what is to be known of it stands in its metadata. To add one, add a field here and its
lines in config/margod.yaml; a test compares the two.
"""

# Fields of frozen attrs classes; what RUF009 warns of (a default shared and changed) cannot happen to them:
# ruff: noqa: RUF009

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import attrs

from margod.config import values
from margod.config.pins import PINS
from margod.config.values import Kind
from margod.model.capabilities import DEVICE_ID

LONGEST_SOCKET_DIRECTORY: Final = 90
"""Bytes: sockaddr_un holds 107 and a NUL (unix(7)), and `/admin/admin.sock` takes 17 of them."""


# The specification's grammar, without the segments that servers and libraries take out of a path (RFC 3986, 5.2.4).
_DEVICE_ID: Final = re.compile(rf"(?!(?:.*/)?\.{{1,2}}(?:/|$)){DEVICE_ID.pattern}")

_SERVICE_TYPE: Final = re.compile(r"_(?=[a-z0-9-]*[a-z])[a-z0-9](?:[a-z0-9-]{0,13}[a-z0-9])?\._tcp")  # RFC 6335, 5.1


@attrs.frozen(kw_only=True)
class Setting:
    """What is to be known of one setting. `default` is the value itself, None where there is none."""

    section: str
    name: str
    kind: Kind
    default: Any
    doc: str
    example: str | int | bool | None
    """What the sample shows where there is no default."""
    environment: str | None
    """A variable that overrides the files."""
    argument: str | None
    """A command-line argument that overrides the files and the variable."""
    default_from: str | None
    """A variable, set by systemd, that takes the place of the default; of several paths the first counts."""

    @property
    def key(self) -> str:
        """The name with its section: `wfm.url`."""
        return f"{self.section}.{self.name}"


def _setting(
    kind: Kind,
    default: Any,
    doc: str,
    *,
    example: str | int | bool | None = None,
    environment: str | None = None,
    argument: str | None = None,
    default_from: str | None = None,
) -> Any:
    about = {
        "kind": kind,
        "doc": doc,
        "example": example,
        "environment": environment,
        "argument": argument,
        "default_from": default_from,
    }
    return attrs.field(default=default, metadata=about)


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
    protocol: str = _setting(values.choice("signed"), "signed", "Generation of the specification that the WFM speaks.")
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


@attrs.frozen(kw_only=True)
class IdentitySettings:
    """The device's key and certificate. Without the files both are made at the first start."""

    key_file: Path | None = _setting(
        values.path(),
        None,
        "Private key of the device, PEM without a password (P-256, P-384, Ed25519, RSA of 2048 bits or more), mode "
        "0600. Needs certificate_file.",
        example="/etc/margod/device.key",
    )
    certificate_file: Path | None = _setting(
        values.path(),
        None,
        "Certificate of that key, PEM. Needs key_file.",
        example="/etc/margod/device.crt",
    )
    common_name: str | None = _setting(
        values.text(64),
        None,
        "Common name in the certificate that is made; without it device.serial_number.",
        example="gateway-17",
    )
    organization: str | None = _setting(
        values.text(64), None, "Organization in the certificate that is made.", example="Example Works"
    )
    lifetime: float = _setting(
        values.duration("1d", "36500d"),
        7300 * 86_400.0,
        "Lifetime of the certificate that is made. Gateways outlive their clocks: keep it long.",
    )


@attrs.frozen(kw_only=True)
class Device:
    """What the device says of itself. What is not set is read from the system."""

    id: str | None = _setting(
        values.text(
            255,
            pattern=_DEVICE_ID,
            what="1 to 255 letters, digits and . _ ~ - in segments divided by single slashes, none of them . or ..",
        ),
        None,
        "Device id in the capabilities report; without it the client id that the WFM gave.",
        example="gateway-17",
    )
    vendor: str | None = _setting(
        values.text(255), None, "Vendor; without it what the firmware says, else unknown.", example="Example Works"
    )
    model_number: str | None = _setting(
        values.text(255), None, "Model number; without it what the firmware says, else unknown.", example="EW-2000"
    )
    serial_number: str | None = _setting(
        values.text(255),
        None,
        "Serial number; without it the board's, else one derived from /etc/machine-id.",
        example="0123456",
    )
    architecture: str | None = _setting(
        values.choice("amd64", "arm64", "arm"),
        None,
        "Processor architecture (amd64, arm64 or arm); without it the system's.",
        example="amd64",
    )
    cores: int | None = _setting(
        values.integer(1, 65_536), None, "Number of processor cores; without it the system's.", example=4
    )
    memory: int | None = _setting(
        values.SIZE, None, "Memory, in Ki, Mi, Gi or Ti; without it the system's.", example="8 Gi"
    )
    storage: int | None = _setting(
        values.SIZE,
        None,
        "Storage, in Ki, Mi, Gi or Ti; without it that of the state directory's file system.",
        example="59 Gi",
    )


@attrs.frozen(kw_only=True)
class Onboarding:
    """How some answers to the onboarding request are read."""

    forbidden_means: str = _setting(
        values.choice("rejected", "pending"),
        "rejected",
        "What 403 means: rejected, or pending with a WFM that answers 403 until a person has approved the device. "
        "Asked again either way.",
    )
    reissue_on_conflict: bool = _setting(
        values.BOOLEAN,
        True,
        "true: if the WFM's answer was lost and it then says that it knows the certificate, a new certificate is made "
        "over the same key, once.",
    )
    when_forgotten: str = _setting(
        values.choice("wait", "reonboard"),
        "wait",
        "What follows when the WFM has forgotten this device, for good as it seems (state refused, reason forgotten): "
        "wait, or reonboard with a new certificate over the same key, within a day, unless the WFM remembers first.",
    )


@attrs.frozen(kw_only=True)
class StateSettings:
    """Where the identity and the enrolment are kept."""

    directory: Path = _setting(
        values.path(),
        Path("/var/lib/margod"),
        "State directory, mode 0700, on a disk that survives restarts. Under systemd its StateDirectory= is the "
        "default.",
        default_from="STATE_DIRECTORY",
    )


@attrs.frozen(kw_only=True)
class LocalSettings:
    """Where the local sockets are."""

    directory: Path = _setting(
        values.path(LONGEST_SOCKET_DIRECTORY),
        Path("/run/margod"),
        "Directory of the local sockets, at most 90 bytes long. Under systemd its RuntimeDirectory= is the default.",
        default_from="RUNTIME_DIRECTORY",
    )


@attrs.frozen(kw_only=True)
class Log:
    """What is logged, and in which form."""

    level: str = _setting(
        values.choice("debug", "info", "warning", "error"),
        "info",
        "Least severity that is logged: debug, info, warning or error.",
    )
    format: str = _setting(
        values.choice("auto", "logfmt", "console"),
        "auto",
        "logfmt, console, or auto: console on a terminal, logfmt otherwise.",
    )


def _section(of: type) -> Any:
    return attrs.field(factory=of, metadata={"class": of})


@attrs.frozen(kw_only=True)
class Config:
    """The whole configuration, every value checked. `Config()` is that of a device without any file."""

    wfm: Wfm = _section(Wfm)
    trust: Trust = _section(Trust)
    discovery: Discovery = _section(Discovery)
    tls: Tls = _section(Tls)
    identity: IdentitySettings = _section(IdentitySettings)
    device: Device = _section(Device)
    onboarding: Onboarding = _section(Onboarding)
    state: StateSettings = _section(StateSettings)
    local: LocalSettings = _section(LocalSettings)
    log: Log = _section(Log)


SECTIONS: Final[dict[str, type]] = {field.name: field.metadata["class"] for field in attrs.fields(Config)}
"""The class of every section by its name, in order."""

SETTINGS: Final[dict[str, Setting]] = {
    setting.key: setting
    for section, of in SECTIONS.items()
    for setting in (
        Setting(section=section, name=field.name, default=field.default, **field.metadata) for field in attrs.fields(of)
    )
}
"""Every setting by its key, in order."""
