"""The table of settings: the single source for loading, defaults, JSON Schema, `config show` and the sample file.

A setting is one attrs field; what is to be known of it stands in its metadata. To add one, add a field here, in
a settings_*.py, and its lines in config/margod.yaml; a test compares the two.
"""

# Fields of frozen attrs classes; what RUF009 warns of (a default shared and changed) cannot happen to them:
# ruff: noqa: RUF009

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs

from margod.config import values
from margod.config.door import DoorSettings
from margod.config.setting import Setting
from margod.config.setting import section as _section
from margod.config.setting import setting as _setting
from margod.config.settings_capabilities import CapabilitiesSettings
from margod.config.settings_desired import DesiredStateSettings
from margod.config.settings_schedule import Schedule
from margod.config.settings_token import TokenSettings
from margod.config.settings_wfm import Discovery, Tls, Trust, Wfm
from margod.model.capabilities import DEVICE_ID_IN_PATH

LONGEST_SOCKET_DIRECTORY: Final = 90
"""Bytes: sockaddr_un holds 107 and a NUL (unix(7)), and `/admin/admin.sock` takes 17 of them."""


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
    per_wfm: bool = _setting(
        values.BOOLEAN,
        False,
        "true: another WFM gets another key, so that two WFMs cannot tell that it is the same device. No effect with "
        "key_file.",
    )


@attrs.frozen(kw_only=True)
class Device:
    """What the device says of itself. What is not set is read from the system."""

    id: str | None = _setting(
        values.text(
            255,
            pattern=DEVICE_ID_IN_PATH,
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
    """How some answers are read, and what is asked again."""

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
    confirm: float = _setting(
        values.duration("1s", "30d", off=True),
        86_400.0,
        "How often an enrolled device asks the WFM, by a GET that changes nothing, whether it still knows it; off: "
        "never.",
    )
    forgotten_after: float = _setting(
        values.duration("1s", "30d"),
        86_400.0,
        "For how long a WFM has to say, on two routes, that it does not know or accept an enrolled device before the "
        "state is refused.",
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
    allow_volatile: bool = _setting(
        values.BOOLEAN,
        False,
        "true: onboard although the state directory does not survive a restart (tmpfs, an overlay over one, a "
        "partition that is not mounted). Then each restart is another device to the WFM.",
    )


@attrs.frozen(kw_only=True)
class OutboxSettings:
    """How reports of deployments are kept for the WFM."""

    supersede_after: float = _setting(
        values.duration("1s", "365d", off=True),
        600.0,
        "When the WFM was out of reach for longer, of the states that a deployment went through meanwhile only the "
        "newest is sent, besides installed, failed and removed, which always are; off: every one is.",
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


@attrs.frozen(kw_only=True)
class Clock:
    """What is done where this device's clock cannot be right."""

    bootstrap: str = _setting(
        values.choice("off", "wfm"),
        "off",
        "wfm: while the clock cannot be right, work with the WFM's time; for devices with neither clock battery nor "
        "NTP. Needs trust.ca_file or trust.pin. The system's clock is not set.",
    )


@attrs.frozen(kw_only=True)
class Config:
    """The whole configuration, every value checked. `Config()` is that of a device without any file."""

    wfm: Wfm = _section(Wfm)
    token: TokenSettings = _section(TokenSettings)
    trust: Trust = _section(Trust)
    discovery: Discovery = _section(Discovery)
    tls: Tls = _section(Tls)
    clock: Clock = _section(Clock)
    identity: IdentitySettings = _section(IdentitySettings)
    device: Device = _section(Device)
    capabilities: CapabilitiesSettings = _section(CapabilitiesSettings)
    onboarding: Onboarding = _section(Onboarding)
    schedule: Schedule = _section(Schedule)
    desired_state: DesiredStateSettings = _section(DesiredStateSettings)
    state: StateSettings = _section(StateSettings)
    outbox: OutboxSettings = _section(OutboxSettings)
    local: LocalSettings = _section(LocalSettings)
    door: DoorSettings = _section(DoorSettings)
    log: Log = _section(Log)


def _sections(of: type, inside: str = "") -> dict[str, type]:
    """Return the sections in `of` by name, each before the sections in it."""
    found: dict[str, type] = {}
    for field in attrs.fields(of):
        if (inner := field.metadata.get("class")) is not None:
            found[inside + field.name] = inner
            found |= _sections(inner, f"{inside}{field.name}.")
    return found


SECTIONS: Final[dict[str, type]] = _sections(Config)
"""The class of every section by its name, in order; one in another has that one's name before its own and a dot."""

SETTINGS: Final[dict[str, Setting]] = {
    setting.key: setting
    for section, of in SECTIONS.items()
    for setting in (
        Setting(section=section, name=field.name, default=field.default, **field.metadata)
        for field in attrs.fields(of)
        if "class" not in field.metadata
    )
}
"""Every setting by its key, in order."""


def settings_in(section: str) -> list[Setting]:
    """Return the settings that stand directly in a section, in order."""
    return [setting for setting in SETTINGS.values() if setting.section == section]


def sections_in(section: str) -> list[str]:
    """Return the names (whole) of the sections that stand directly in a section, in order; "": the outermost."""
    return [name for name in SECTIONS if name.rpartition(".")[0] == section]
