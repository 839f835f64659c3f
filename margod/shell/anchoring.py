"""By which root CA the WFM is verified: the order of precedence, in one place, and the changes that a person makes.

    trust.ca_file > trust.pin > (what an enrolled device has) > trust.system > accepted by a person > trust.first_use

The first that is set counts. What was kept from another source never passes for what the present setting would bring.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
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

_SAID: Final = 400
"""Characters at most of what is said about several root CAs."""
_KEPT_HINT: Final = "Check this device's clock (`date`); `margod trust forget` has the root CA downloaded anew."


@dataclass(frozen=True, slots=True)
class Anchoring:
    """What verifies the WFM. Without anchors they are downloaded: by the system's store, or as `unverified` says."""

    anchors: tuple[trust.Anchor, ...]
    source: str
    unverified: trust.UnverifiedPolicy | None = None
    withdrawn: tuple[trust.Anchor, ...] = ()
    """The stored anchors, where none of them counts because all are retired."""
    instead_of: TrustError | None = None
    """Why it is not what the configuration names."""


class AllRetired(TrustError):
    """Every root CA that is stored was retired, and the configuration names no way to another."""

    def __init__(self, withdrawn: tuple[trust.Anchor, ...]) -> None:
        """Say which they are."""
        super().__init__(reasons.ROOT_CA_RETIRED, said_retired(withdrawn))
        self.withdrawn = withdrawn


def find(
    settings: Trust,
    tls: Tls,
    records: Mapping[str, bytes],
    retired: Collection[str],
    *,
    stands: bool,
    now: float,
) -> Anchoring:
    """Return what `choose` does; what stands goes on with what it has where that cannot be used.

    `stands`: the device is enrolled, or goes by the anchors of one that is. Raises TrustError.
    """
    try:
        return choose(settings, tls, records, retired, enrolled=stands, now=now)
    except AllRetired:
        raise
    except TrustError as error:
        if not (stands and ANCHORS in records):
            raise
        # Whatever the clock says: what is enrolled stays what it is, and TLS looks at the time anyway.
        stored = _Kept(records, 0.0, retired)
        if stored.withdrawn():
            raise AllRetired(stored.withdrawn()) from None
        return Anchoring(stored.anchors(), stored.source, instead_of=error)


def choose(
    settings: Trust, tls: Tls, records: Mapping[str, bytes], retired: Collection[str], *, enrolled: bool, now: float
) -> Anchoring:
    """Return what the configuration and the vault's records make the WFM be verified by. Raises TrustError.

    A stored root of which the fingerprint is in `retired` counts only where trust.ca_file or trust.pin names it.
    """
    stored = _Kept(records, now, retired)
    versions = tls_settings(tls)
    if settings.ca_file is not None:
        return Anchoring(trust.read_ca_file(settings.ca_file, now), CA_FILE)
    if settings.pin is not None:
        if matching := trust.pinned(stored.readable(), settings.pin):
            return Anchoring(matching, PIN)
        return Anchoring((), PIN, trust.UnverifiedPolicy(PIN, settings.pin, versions))
    withdrawn = stored.withdrawn()
    if enrolled and stored.there and not withdrawn:
        return Anchoring(stored.anchors(), stored.source)
    if settings.system:
        counts = stored.source == SYSTEM and stored.there and not withdrawn
        return Anchoring(stored.anchors() if counts else (), SYSTEM, withdrawn=withdrawn)
    if withdrawn and (enrolled or settings.first_use == "off"):
        raise AllRetired(withdrawn)
    if (stored.there and not withdrawn) and (
        stored.source == ACCEPTED or (stored.source == FIRST_USE and settings.first_use == "accept")
    ):
        return Anchoring(stored.anchors(), stored.source)
    if settings.first_use != "off":
        return Anchoring((), FIRST_USE, trust.UnverifiedPolicy(FIRST_USE, (), versions), withdrawn)
    raise TrustError(reasons.NO_ANCHOR)


def kept(pem: bytes, now: float) -> tuple[trust.Anchor, ...]:
    """Return the anchors that the vault has, usable at `now` (Unix seconds). Raises TrustError."""
    try:
        return trust.decode_certificates(pem, now, name="the stored root CA", limit=trust.KEPT_LIMIT)
    except TrustError as error:
        raise TrustError(error.reason, error.message, hint=_KEPT_HINT) from None


def wanted(source: str, anchors: Collection[trust.Anchor], retired: Collection[str]) -> frozenset[str]:
    """Return the retired roots that the configuration names: the owner has taken them back."""
    named = anchors if retired and source in (CA_FILE, PIN) else ()
    return frozenset(each.fingerprint for each in named if each.fingerprint in retired)


def said_retired(roots: Collection[trust.Anchor]) -> str:
    """Return what is said of root CAs that are retired: which they are."""
    return "; ".join(f"{root.subject}, {root.fingerprint}" for root in roots)[:_SAID]


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
    return json.dumps({**json_object(records.get(WFM, b"")), "anchors": source}, sort_keys=True).encode()


class _Kept:
    """What the vault has: read only if it is asked for."""

    def __init__(self, records: Mapping[str, bytes], now: float, retired: Collection[str]) -> None:
        self._pem, self._now, self._retired = records.get(ANCHORS), now, retired
        self.there = self._pem is not None
        self.source: Final = str(json_object(records.get(WFM, b"")).get("anchors") or NONE)

    def anchors(self) -> tuple[trust.Anchor, ...]:
        """Return the anchors that are not retired. Raises TrustError if they cannot be used any more."""
        return tuple(each for each in kept(self._pem or b"", self._now) if each.fingerprint not in self._retired)

    def withdrawn(self) -> tuple[trust.Anchor, ...]:
        """Return the anchors if all of them are retired; () if any is not."""
        stored = trust.fingerprints(self._pem or b"")
        if not stored or any(each not in self._retired for each in stored):
            return ()
        return kept(self._pem or b"", 0.0)

    def readable(self) -> tuple[trust.Anchor, ...]:
        """Return the anchors that can be used, retired or not, perhaps none."""
        try:
            return kept(self._pem or b"", self._now) if self.there else ()
        except TrustError:
            return ()
