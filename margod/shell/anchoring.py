"""By which root CA the WFM is verified: the order of precedence, in one place, and the changes that a person makes.

    trust.ca_file > trust.pin > (what an enrolled device has) > trust.system > accepted by a person > trust.first_use

The first that is set counts. What was kept from another source never passes for what the present setting would bring.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from margod import trust
from margod.model import reasons
from margod.model.errors import TrustError
from margod.shell.records import ANCHORS, STAGED, WFM, json_object

if TYPE_CHECKING:
    from pathlib import Path

    from margod.config.settings_wfm import Tls, Trust

Changes: TypeAlias = Mapping[str, bytes | None]
"""Records of the vault to be written, or (None) removed."""

CA_FILE, PIN, SYSTEM, ACCEPTED, FIRST_USE, NONE = "ca_file", "pin", "system", "accepted", "first_use", "none"
"""Where an anchor comes from; `accepted`: a person compared it, `first_use`: nobody did."""


_KEPT_HINT: Final = "Check this device's clock (`date`); `margod trust forget` has the root CA downloaded anew."


@dataclass(frozen=True, slots=True)
class Anchoring:
    """What verifies the WFM. Without anchors they are downloaded: by the system's store, or as `unverified` says."""

    anchors: tuple[trust.Anchor, ...]
    source: str
    unverified: trust.UnverifiedPolicy | None = None


def choose(settings: Trust, tls: Tls, records: Mapping[str, bytes], *, enrolled: bool, now: float) -> Anchoring:
    """Return what the configuration and the vault's records make the WFM be verified by. Raises TrustError."""
    stored = _Kept(records, now)
    versions = tls_settings(tls)
    if settings.ca_file is not None:
        return Anchoring(trust.read_ca_file(settings.ca_file, now), CA_FILE)
    if settings.pin is not None:
        if matching := trust.pinned(stored.readable(), settings.pin):
            return Anchoring(matching, PIN)
        return Anchoring((), PIN, trust.UnverifiedPolicy(PIN, settings.pin, versions))
    if enrolled and stored.there:
        return Anchoring(stored.anchors(), stored.source)
    if settings.system:
        return Anchoring(stored.anchors() if stored.source == SYSTEM and stored.there else (), SYSTEM)
    if stored.there and (stored.source == ACCEPTED or (stored.source == FIRST_USE and settings.first_use == "accept")):
        return Anchoring(stored.anchors(), stored.source)
    if settings.first_use != "off":
        return Anchoring((), FIRST_USE, trust.UnverifiedPolicy(FIRST_USE, (), versions))
    raise TrustError(reasons.NO_ANCHOR)


def kept(pem: bytes, now: float) -> tuple[trust.Anchor, ...]:
    """Return the anchors that the vault has, usable at `now` (Unix seconds). Raises TrustError."""
    try:
        return trust.decode_certificates(pem, now, name="the stored root CA", limit=trust.KEPT_LIMIT)
    except TrustError as error:
        raise TrustError(error.reason, error.message, hint=_KEPT_HINT) from None


def tls_settings(tls: Tls) -> trust.TlsSettings:
    """Return the TLS settings as the trust room takes them."""
    return trust.TlsSettings(tls.minimum_version, tls.maximum_version, tls.strict_x509)


def record(place: Mapping[str, object], protocol: str, source: str) -> bytes:
    """Return the vault's record of which WFM is known (`Place.record`) and by what."""
    return json.dumps({**place, "protocol": protocol, "anchors": source}, sort_keys=True).encode()


def accept(records: Mapping[str, bytes], offered: tuple[trust.Anchor, ...], fingerprint: str) -> Changes:
    """Return what keeps the one offered root that a person has compared. Raises TrustError."""
    found = [anchor for anchor in offered if anchor.fingerprint == fingerprint]
    if not found:
        raise TrustError(reasons.NOT_OFFERED)
    return {ANCHORS: trust.to_pem(found), WFM: _from(records, ACCEPTED), STAGED: None}


def forget(records: Mapping[str, bytes], settings: Trust) -> Changes:
    """Return what drops the anchors that are kept, so that they are downloaded anew. Raises TrustError."""
    if settings.ca_file is not None:
        raise TrustError(reasons.TRUST_CONFIGURED, f"trust.ca_file names the root CA: {settings.ca_file}")
    if settings.pin is None and not settings.system and settings.first_use == "off":
        raise TrustError(reasons.TRUST_CONFIGURED)
    return {ANCHORS: None, WFM: _from(records, NONE)}


def signature(path: Path | None) -> object:
    """Return what changes when a file is written or replaced; None if there is none or it cannot be seen."""
    if path is None:
        return None
    try:
        found = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _from(records: Mapping[str, bytes], source: str) -> bytes:
    known = json_object(records.get(WFM, b""))
    return record(known, str(known.get("protocol") or "signed"), source)


class _Kept:
    """What the vault has: read only if it is asked for."""

    def __init__(self, records: Mapping[str, bytes], now: float) -> None:
        self._pem, self._now = records.get(ANCHORS), now
        self.there = self._pem is not None
        self.source: Final = str(json_object(records.get(WFM, b"")).get("anchors") or NONE)

    def anchors(self) -> tuple[trust.Anchor, ...]:
        """Return the anchors. Raises TrustError if they cannot be used any more."""
        return kept(self._pem or b"", self._now)

    def readable(self) -> tuple[trust.Anchor, ...]:
        """Return the anchors that can be used, perhaps none."""
        try:
            return self.anchors() if self.there else ()
        except TrustError:
            return ()
