"""Looking at this device: configuration, state directory, identity, root CA. Reads; takes no lock, changes nothing.

What counts is decided as `shell/look.py` decides it for the daemon, without the commits.
"""

from __future__ import annotations

import errno
import os
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from margod import identity as identities
from margod import trust
from margod.check import report
from margod.check.report import Line, Verdict
from margod.config import Config, Loaded, Sources, load_with_last_good
from margod.config.files import shown
from margod.discovery import Candidate
from margod.identity import Identity
from margod.identity.records import FILES
from margod.model import reasons
from margod.model.errors import ConfigError, IdentityError, MargodError, StateUnusable, TrustError
from margod.model.text import timestamp
from margod.protocols import Generation
from margod.shell import anchoring, retired
from margod.shell.ground import generation_of
from margod.shell.place import Nowhere, Place, locate, name_of
from margod.shell.records import ANCHORS, CHOSEN, WFM, json_object
from margod.vault import peek
from margod.vault.check import require_directory, require_rights
from margod.vault.loading import load
from margod.vault.locking import LOCK

ROOM: Final = 256 * 1024
"""Bytes that have to be free: a generation, a log line and a copy of the configuration."""
SHOWN: Final = 8
"""WFMs that are named where there are several."""
_SECOND_LOOK: Final = 0.3
"""Seconds until damage is looked at again: the daemon may have been committing."""
_IDENTITY: Final = (identities.KEY_RECORD, identities.CERTIFICATE_RECORD)


@dataclass(slots=True)
class Device:
    """What was found out about this device, for the looks that follow."""

    loaded: Loaded | None = None
    records: Mapping[str, bytes] | None = None
    """None: not readable here."""
    identity: Identity | None = None
    anchors: tuple[trust.Anchor, ...] = ()
    context: ssl.SSLContext | None = None
    place: Place | None = None
    """Where the WFM is, None where that is not known or nothing may be sent there."""
    lines: list[Line] = field(default_factory=list)

    @property
    def config(self) -> Config:
        """The configuration; its defaults where it cannot be loaded."""
        return self.loaded.config if self.loaded else Config()

    @property
    def user(self) -> int:
        """The user that margod runs as; whoever looks, where that cannot be told."""
        try:
            fallback = self.config.state.directory.lstat().st_uid
        except OSError:
            fallback = os.geteuid()
        return _owner(self.config, fallback)

    @property
    def generation(self) -> Generation:
        """The generation that is configured."""
        return generation_of(self.config)

    @property
    def client_id(self) -> str | None:
        """The stored client id."""
        return self.generation.client_id(self.records or {})


def look_at(sources: Sources, env: Mapping[str, str], overrides: Mapping[str, str], now: float) -> Device:
    """Look at configuration, state directory and identity; each line stands on those before it."""
    device = Device()
    device.lines.append(_configuration(device, sources, env, overrides))
    if device.loaded is None:
        because = "configuration"
        device.lines += [report.skipped(name, because) for name in ("state-directory", "identity", "wfm", "root-ca")]
        return device
    device.lines.append(_state(device))
    device.lines.append(_identity(device, now))
    return device


def looks_around(device: Device) -> bool:
    """Return whether the daemon would look for the WFM on the network."""
    if device.loaded is None or device.records is None or not device.config.discovery.enabled:
        return False
    try:
        _located(device, ())
    except Nowhere as nowhere:
        return nowhere.reason is reasons.NO_WFM_FOUND
    return False


def look_at_wfm(device: Device, seen: Sequence[Candidate] | None, now: float) -> None:
    """Look at which WFM it is, among those that are `seen` (None: not looked for), and what it is verified with."""
    if device.loaded is not None:
        device.lines.append(_wfm(device, seen))
        device.lines.append(_root_ca(device, now))


def _configuration(device: Device, sources: Sources, env: Mapping[str, str], overrides: Mapping[str, str]) -> Line:
    name = "configuration"
    try:
        device.loaded = load_with_last_good(sources, env, overrides)
    except ConfigError as error:
        if os.geteuid() != 0 and any(os.strerror(errno.EACCES) in problem.message for problem in error.problems):
            return report.without_rights(name, shown(sources.main))
        said = "; ".join(str(problem) for problem in error.problems)
        return report.failed(
            name, error.reason, said, facts={"problems": tuple(str(problem) for problem in error.problems)}
        )
    files = tuple(shown(path) for path in device.loaded.files)
    if device.loaded.problems:
        problems = tuple(str(problem) for problem in device.loaded.problems)
        return report.warning(
            name, reasons.CONFIG_LAST_GOOD, "; ".join(problems), facts={"files": files, "problems": problems}
        )
    return report.ok(name, ", ".join(files) or "no files, defaults only", facts={"files": files})


def _state(device: Device) -> Line:
    name, directory = "state-directory", device.config.state.directory.absolute()
    facts: dict[str, report.Fact] = {"path": str(directory)}
    try:
        found = directory.lstat()
        owner = _owner(device.config, found.st_uid)
        facts["mode"] = f"{found.st_mode & 0o7777:04o}"
        require_directory(directory, found, owner)
        if not os.access(directory, os.R_OK | os.X_OK, effective_ids=True):
            return report.without_rights(name, str(directory))
        if (directory / LOCK).exists():
            require_rights(directory / LOCK, (directory / LOCK).lstat(), owner)
        guard = partial(require_rights, owner=owner)
        stored = load(directory, guard)
        if stored.findings:
            time.sleep(_SECOND_LOOK)
            stored = load(directory, guard)
        device.records = peek(directory)
        if stored.findings:
            first = stored.findings[0]
            return report.failed(name, first.reason, "; ".join(each.message for each in stored.findings), facts=facts)
        return _room(directory, facts)
    except FileNotFoundError:
        device.records = {}
        return report.warning(name, reasons.STATE_MISSING, str(directory))
    except PermissionError:
        return report.without_rights(name, str(directory))
    except OSError as error:
        return report.failed(name, reasons.STATE_UNUSABLE, f"{directory}: {error.strerror}")
    except StateUnusable as error:
        try:
            device.records = peek(directory)
        except MargodError:
            device.records = None
        return report.error(name, error, facts=facts)


def _owner(config: Config, fallback: int) -> int:
    """Return the user that margod runs as: who owns its socket, or else the directory."""
    try:
        return (config.local.directory / "status.sock").lstat().st_uid
    except OSError:
        return fallback


def _room(directory: Path, facts: dict[str, report.Fact]) -> Line:
    name, disk = "state-directory", os.statvfs(directory)
    free = disk.f_bavail * disk.f_frsize
    facts["free_bytes"] = free
    if disk.f_flag & os.ST_RDONLY:
        return report.failed(name, reasons.STATE_NOT_WRITABLE, f"{directory}: mounted read-only", facts=facts)
    if free < ROOM:
        said = f"{directory}: {free // 1024} KiB free, {ROOM // 1024} are wanted"
        return report.failed(name, reasons.STATE_NOT_WRITABLE, said, facts=facts)
    return report.ok(name, f"{directory}, closed to others, intact", facts=facts)


def _identity(device: Device, now: float) -> Line:
    name = "identity"
    if device.records is None:
        return report.skipped(name, "state-directory")
    try:
        chosen, trouble = _chosen(device, device.records)
        if identities.KEY_RECORD not in chosen:
            return report.warning(name, reasons.NO_IDENTITY)
        device.identity = identity = identities.load(chosen)
    except IdentityError as error:
        if _denied(error):
            return report.without_rights(name, str(device.config.identity.key_file))
        return report.error(name, error)
    facts: dict[str, report.Fact] = {
        "fingerprint": identity.fingerprint,
        "subject": identity.subject,
        "algorithm": identity.signer.algorithm,
        "not_before": timestamp(identity.not_before),
        "not_after": timestamp(identity.not_after),
        "source": identity.source,
    }
    try:
        identities.check_validity(identity, now)
    except IdentityError as error:
        return report.error(name, error, Verdict.WARNING if device.client_id else Verdict.FAILED, facts=facts)
    if trouble is not None:
        return report.error(name, trouble, Verdict.WARNING, facts=facts)
    until = timestamp(identity.not_after)[:10]
    return report.ok(name, f"{identity.subject}, valid until {until}; {identity.fingerprint}", facts=facts)


def _chosen(device: Device, records: Mapping[str, bytes]) -> tuple[Mapping[str, bytes], IdentityError | None]:
    """Return the records of the identity that the daemon uses, and what it warns of. Raises IdentityError."""
    settings = device.config.identity
    if settings.key_file is None or settings.certificate_file is None:
        return records, None
    try:
        given = identities.import_files(settings.key_file, settings.certificate_file)
    except IdentityError as error:
        source = json_object(records.get(identities.META_RECORD, b"")).get("source")
        if not (device.client_id or source == FILES):
            raise
        return records, error
    if all(records.get(name) == given[name] for name in _IDENTITY):
        return records, None
    if device.client_id:
        return records, IdentityError(reasons.IDENTITY_FILES_IGNORED)
    return {**records, **given}, None


def _located(device: Device, seen: Sequence[Candidate]) -> Place:
    records = device.records or {}
    stored = json_object(records.get(WFM, b""))
    chosen = json_object(records.get(CHOSEN, b"")).get("instance")
    enrolled = device.client_id is not None
    return locate(
        device.config,
        stored,
        enrolled=enrolled,
        bound=enrolled or bool(stored.get("instance")),
        chosen=str(chosen) if chosen else None,
        seen=seen,
    )


def _wfm(device: Device, seen: Sequence[Candidate] | None) -> Line:
    name, stored = "wfm", json_object((device.records or {}).get(WFM, b""))
    enrolled = device.client_id is not None
    try:
        place = _located(device, seen or ())
    except Nowhere as nowhere:
        return _nowhere(device, nowhere, seen)
    facts: dict[str, report.Fact] = {"url": place.url, "client_id": device.client_id}
    if enrolled and name_of(stored) != place.name:
        said = f"enrolled with {stored.get('url')}, configured {place.url}"
        return report.warning(name, reasons.WFM_CHANGED, said, facts=facts)
    device.place = place
    if seen:
        facts["seen"] = tuple(each.instance for each in seen)
        return report.ok(name, f"{place.instance} announces itself: {place.url}, not enrolled yet", facts=facts)
    if not enrolled:
        return report.ok(name, place.url if device.records is None else f"{place.url}, not enrolled yet", facts=facts)
    return report.ok(name, f"{place.url}, enrolled as {device.client_id}", facts=facts)


def _nowhere(device: Device, nowhere: Nowhere, seen: Sequence[Candidate] | None) -> Line:
    """Return the line of no WFM; that none was seen in this short time mends itself, the rest wants a person."""
    name = "wfm"
    if device.records is None:
        return report.skipped(name, "state-directory")
    if seen is None and nowhere.reason is reasons.NO_WFM_FOUND:
        return report.skipped(name, "offline", "no wfm.url; not looked for on the network")
    names = tuple(each.instance for each in seen or ())
    shown_names = f"seen: {', '.join(names[:SHOWN])}" if names else ""
    detail = "; ".join(part for part in (nowhere.detail, shown_names) if part)
    mends_itself = nowhere.reason in (reasons.NO_WFM_FOUND, reasons.WFM_NOT_SEEN)
    judged = report.warning if mends_itself else report.failed
    return judged(name, nowhere.reason, detail, facts={"seen": names})


def _root_ca(device: Device, now: float) -> Line:
    name, config, records = "root-ca", device.config, dict(device.records or {})
    enrolled = device.client_id is not None
    if device.place is not None and name_of(json_object(records.get(WFM, b""))) != device.place.name:
        records.pop(ANCHORS, None)  # an anchor vouches for the WFM it came with, for no other
        records.pop(WFM, None)
    gone = retired.peek(config.state.directory, records)
    try:
        try:
            found = anchoring.find(config.trust, config.tls, records, gone, stands=enrolled, now=now)
        except TrustError as error:
            if _denied(error):
                return report.without_rights(name, str(config.trust.ca_file))
            if device.records is None and config.trust.ca_file is None:
                return report.skipped(name, "state-directory")
            raise
        warned = found.instead_of
        if warned is not None and _denied(warned):
            return report.without_rights(name, str(config.trust.ca_file))
        device.anchors = found.anchors
        if found.anchors or found.source == anchoring.SYSTEM:
            versions = anchoring.tls_settings(config.tls)
            any_name = device.place is not None and device.place.any_name
            device.context = trust.TrustPolicy(found.anchors or None, versions, any_name=any_name).ssl_context()
    except TrustError as error:
        return report.error(name, error)
    facts: dict[str, report.Fact] = {
        "source": found.source,
        "subjects": tuple(anchor.subject for anchor in found.anchors),
        "fingerprints": tuple(anchor.fingerprint for anchor in found.anchors),
        "not_after": tuple(timestamp(anchor.not_after) for anchor in found.anchors),
    }
    if warned is not None:
        return report.error(name, warned, Verdict.WARNING, facts=facts)
    source = f"from {found.source}"
    if found.anchors:
        shown_anchors = "; ".join(f"{anchor.subject}, {anchor.fingerprint}" for anchor in found.anchors)
        return report.ok(name, f"{source}: {shown_anchors}", facts=facts)
    if device.context is not None:
        return report.ok(name, "the system's CA store vouches, until the WFM's own is downloaded", facts=facts)
    return report.ok(name, f"{source}, not downloaded yet", facts=facts)


def _denied(error: BaseException) -> bool:
    """Whether it is only that this user, who is not root, may not read a file."""
    return os.geteuid() != 0 and isinstance(error.__cause__, PermissionError)
