"""Where the WFM is, and which name its certificate has to bear: configured, discovered, or the one enrolled with.

The name of a place is what an enrolment is bound to. For a configured WFM it is the URL; for a discovered one instance
and path, so that another address or port is the same WFM. Before it stands the generation of the specification, but for
`signed`: what one generation has enrolled means nothing to another. What is discovered is a location: the certificate
has to bear a name from the configuration, or any name under a root CA that was declared to vouch for WFMs only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from margod.config import Config
from margod.discovery import Candidate, choose
from margod.model import reasons
from margod.model.outcome import Outcome
from margod.model.reasons import Reason
from margod.model.state import State
from margod.model.wire import Answer, TransportFailure
from margod.shell.records import WFM, json_object

_FIRST: Final = "signed"
GENERATIONS: Final = (_FIRST, "token")


@dataclass(frozen=True, slots=True)
class Place:
    """One WFM's place. `urls` differ in the server name only, the first is the one that is shown.

    `addresses` are where a discovered WFM listens; () asks the name servers. `any_name`: the certificate may bear any.
    """

    urls: tuple[str, ...]
    name: str
    instance: str = ""
    path: str = ""
    addresses: tuple[str, ...] = ()
    any_name: bool = False

    @property
    def url(self) -> str:
        """The URL that is shown."""
        return self.urls[0]

    def record(self) -> dict[str, object]:
        """Return what wfm.json keeps of the place."""
        if not self.instance:
            return {"url": self.url}
        found: dict[str, object] = {"url": self.url, "urls": list(self.urls), "addresses": list(self.addresses)}
        return found | {"instance": self.instance, "path": self.path, "any_name": self.any_name}


class Nowhere(Exception):
    """There is no place that may be used; carries the state and the reason."""

    def __init__(self, state: State, reason: Reason, detail: str = "") -> None:
        """Take what stands in the way."""
        super().__init__(reason.code)
        self.state, self.reason, self.detail = state, reason, detail


class Names:
    """Which of the server names of a discovered WFM its certificate bore last: that one is tried first."""

    def __init__(self) -> None:
        """Nothing was tried yet."""
        self._good = ""

    def urls(self, place: Place) -> list[str]:
        """Return the URLs to try, in order."""
        return sorted(place.urls, key=lambda url: url != self._good)

    def wrong(self, url: str, result: Answer | TransportFailure) -> bool:
        """Return whether the certificate bears another name than that of `url`; then nothing was sent."""
        if isinstance(result, TransportFailure):
            return result.reason is reasons.TLS_WRONG_HOST
        self._good = url
        return False


def placed(place: Place, outcome: Outcome) -> Outcome:
    """Return the outcome with the place in the record of the WFM, if it has that record."""
    if WFM not in outcome.records:
        return outcome
    record = json.dumps({**json_object(outcome.records[WFM]), **place.record()}, sort_keys=True).encode()
    return replace(outcome, records={**outcome.records, WFM: record})


def name_of(stored: Mapping[str, object]) -> str:
    """Return the name of the place that wfm.json holds; "" if it holds none."""
    protocol = protocol_of(stored)
    if stored.get("instance"):
        return named(_name(str(stored["instance"]), str(stored.get("path") or "")), protocol)
    return named(str(stored.get("url") or ""), protocol)


def protocol_of(stored: Mapping[str, object]) -> str:
    """Return the generation that wfm.json was written in."""
    return str(stored.get("protocol") or _FIRST)


def named(name: str, protocol: str) -> str:
    """Return the name under which an enrolment of this generation holds; "" stays what it is."""
    return f"{protocol} {name}" if name and protocol != _FIRST else name


def spoken_at(name: str) -> str:
    """Return the generation in the name of a place."""
    protocol, blank, _ = name.partition("\n")[0].partition(" ")
    return protocol if blank and protocol in GENERATIONS else _FIRST


def locate(
    config: Config,
    stored: Mapping[str, object],
    *,
    enrolled: bool,
    bound: bool,
    chosen: str | None,
    seen: Sequence[Candidate],
) -> Place:
    """Return the WFM's place, or raise Nowhere.

    `stored` is wfm.json; `bound`: its WFM has answered over a verified channel, `enrolled`: and accepted this device.
    `chosen` is what `margod discover --use` stored, `seen` what is announced at present and counts.
    """
    protocol, select = config.wfm.protocol, config.wfm.select
    if protocol_of(stored) != protocol:  # whoever it was, nothing that was said there holds in this generation
        stored, enrolled, bound = {}, False, False
    kept = str(stored.get("url") or "")
    if config.wfm.url is not None:
        if bound and stored.get("instance") and stored.get("url") == config.wfm.url:  # the same one, now written down
            return replace(_kept(stored), urls=(config.wfm.url,), addresses=(), any_name=False)
        return Place((config.wfm.url,), named(config.wfm.url, protocol))
    if enrolled and kept and not stored.get("instance"):
        return Place((kept,), named(kept, protocol))
    wanted = select or chosen
    instance = stored.get("instance")
    if bound and instance and select in (None, instance) and (enrolled or wanted in (None, instance)):
        return _moved(config, stored, seen, enrolled=enrolled)
    if not config.discovery.enabled:
        raise Nowhere(State.DISCOVERING, reasons.NO_URL)
    if not seen:
        raise Nowhere(State.DISCOVERING, reasons.NO_WFM_FOUND)
    found = choose(seen, wanted)
    if found is None:
        raise Nowhere(State.DISCOVERING, reasons.WFM_NOT_SEEN if wanted else reasons.SEVERAL_WFMS, wanted or "")
    place = _place(config, found)
    if place is None:
        raise Nowhere(State.UNTRUSTED, reasons.DISCOVERED_UNVERIFIABLE, f"found {found.instance}")
    return place


def _moved(config: Config, stored: Mapping[str, object], seen: Sequence[Candidate], *, enrolled: bool) -> Place:
    """Return the place of a WFM that has spoken: where it is seen now, or where it was. Nothing else changes."""
    kept = _kept(stored)
    now = next((c for c in seen if (c.instance, c.path) == (kept.instance, kept.path)), None)
    if now is None:
        return kept
    place = _place(config, now)
    if place is not None:
        return place
    if not enrolled:
        raise Nowhere(State.UNTRUSTED, reasons.DISCOVERED_UNVERIFIABLE, f"found {now.instance}")
    return replace(kept, addresses=now.addresses)


def _place(config: Config, found: Candidate) -> Place | None:
    """Return the place of what was found; None where the configuration does not say how to know it."""
    name = named(_name(found.instance, found.path), config.wfm.protocol)
    if config.discovery.server_names:
        urls = tuple(found.url(server_name) for server_name in config.discovery.server_names)
        return Place(urls, name, found.instance, found.path, found.addresses)
    if config.trust.ca_is_wfm_only and (config.trust.ca_file is not None or not config.trust.system):
        return Place((found.url(),), name, found.instance, found.path, found.addresses, any_name=True)
    return None


def _kept(stored: Mapping[str, object]) -> Place:
    urls, addresses = stored.get("urls"), stored.get("addresses")
    return Place(
        urls=tuple(str(url) for url in urls) if isinstance(urls, list) and urls else (str(stored.get("url") or ""),),
        name=name_of(stored),
        instance=str(stored.get("instance") or ""),
        path=str(stored.get("path") or ""),
        addresses=tuple(str(address) for address in addresses) if isinstance(addresses, list) else (),
        any_name=stored.get("any_name") is True,
    )


def _name(instance: str, path: str) -> str:
    return f"discovered\n{instance}\n{path}"
