"""What a configuration may say and hardly anybody can mean: `margod config check` notes it, nothing is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from margod.config.load import Loaded
from margod.config.settings import Config
from margod.model.door import named
from margod.model.windows import LONGEST, Window, ends

_SIGNED_ALONE: Final = (
    "wfm.dialect",
    "wfm.certificate_field",
    "wfm.certificate_encoding",
    "wfm.capabilities_route",
    "wfm.signed_authority",
    "wfm.signed_scheme",
    "capabilities.children",
)
"""Settings that say nothing to a WFM of the `token` generation."""
_TOKEN_ALONE: Final = ("token.", "trust.token_endpoint_ca_file", "desired_state.git.")
"""Settings, or how they begin, that say nothing to a WFM of any other."""

_REPLACED: Final = ("interfaces", "peripherals", "runtimes", "deployment_types", "otel_collector", "withhold")
"""Settings of capabilities.* that a complete manifest takes the place of."""


def notes(loaded: Loaded, now: float, *, is_user: Callable[[str], bool], exists: Callable[[Path], bool]) -> list[str]:
    """Return a sentence for each.

    `now`: Unix seconds. `is_user` and `exists` say whether this device knows a user's name, and has a file.
    """
    config = loaded.config
    return [
        *_of_the_generation(loaded),
        *_of_the_wfm(config),
        *_of_windows("schedule.downtime", config.schedule.downtime or (), now, "nothing ever leaves this device"),
        *_of_windows("schedule.polling.period", config.schedule.polling.period or (), now, ""),
        *_of_capabilities(loaded, exists),
        *_of_the_door(config, is_user),
    ]


def _of_the_generation(loaded: Loaded) -> Iterator[str]:
    """Yield which settings are another generation's."""
    protocol = loaded.config.wfm.protocol
    foreign = _SIGNED_ALONE if protocol == "token" else _TOKEN_ALONE
    if said := sorted(key for key in loaded.given if key.startswith(foreign)):
        yield f"with wfm.protocol: {protocol} these say nothing: {', '.join(said)}"


def _of_the_wfm(config: Config) -> Iterator[str]:
    """Yield what keeps the device from a WFM, or leaves it to what announces itself."""
    if config.wfm.url is not None:
        return
    if not config.discovery.enabled:
        yield "neither wfm.url nor discovery.enabled: this device stays `discovering` and asks nobody"
        return
    yield "no wfm.url: this device is `discovering` until a WFM announces itself on the local network"
    if not config.discovery.server_names and not config.trust.ca_is_wfm_only:
        yield "neither discovery.server_names nor trust.ca_is_wfm_only: a WFM that is found stays `untrusted`"


def _of_windows(key: str, windows: tuple[Window, ...], now: float, for_ever: str) -> Iterator[str]:
    """`for_ever`: what it means that they never end; "" where that does no harm."""
    past = [window for window in windows if window.dated is not None and not _is_ahead(window, now)]
    for window in past:
        yield f"{key}: '{window.text}' is past"
    if past and len(past) == len(windows) and not for_ever:
        yield f"{key}: all of it is past, so the desired state is never asked for"
    for window in windows:
        if window.end - window.start == 24 * 60 and "24:00" not in window.text:
            yield f"{key}: '{window.text}' ends when it starts and so lasts 24 hours"
    weekly = [window for window in windows if window.dated is None]
    if for_ever and (ends(weekly, now) or 0.0) >= now + LONGEST:
        yield f"{key}: it never ends, so {for_ever}"


def _is_ahead(window: Window, now: float) -> bool:
    return any(end > now for _, end in window.spans(now))


def _of_capabilities(loaded: Loaded, exists: Callable[[Path], bool]) -> Iterator[str]:
    said = loaded.config.capabilities
    tellable = loaded.config.wfm.protocol != "token"
    if tellable and said.children is not None and loaded.config.device.id is None and said.file is None:
        yield "capabilities.children without device.id, with which their ids begin: none of them is reported"
    for path in said.children or () if tellable else ():
        if not exists(path):
            yield f"capabilities.children: there is no {path}, or this user may not see it"
    if said.file is None:
        return
    if not exists(said.file):
        yield f"capabilities.file: there is no {said.file}, or this user may not see it"
    replaced = [f"capabilities.{name}" for name in _REPLACED] + [
        key for key in loaded.given if key.startswith("device.")
    ]
    if beside := [key for key in replaced if key in loaded.given]:
        yield f"capabilities.file takes the place of {', '.join(beside)}"


def _of_the_door(config: Config, is_user: Callable[[str], bool]) -> Iterator[str]:
    for name in named(config.door.allow or ()):
        if not is_user(name):
            yield f"door.allow: there is no user {name} on this device, so no rule is open for them"
