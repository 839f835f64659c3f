"""One look at configuration and vault: what is so, and what the vault has to change for it to be so.

Runs in the disk thread. The vault is brought into line with the configuration in one commit at most, and never in a way
that loses an enrolment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from margod import identity as identities
from margod import trust
from margod.engine.messages import Facts, Obstacle
from margod.identity import Identity
from margod.identity.records import FILES, MINTED
from margod.model import reasons
from margod.model.capabilities import Capabilities
from margod.model.errors import IdentityError, MargodError, StateNotWritable, TrustError
from margod.model.outcome import Step
from margod.model.reasons import Reason
from margod.model.state import State
from margod.protocols import ENROLMENT, Context
from margod.shell import anchoring, archive, belonging, claiming, moving, renewal
from margod.shell.device import Device, device_of
from margod.shell.place import Nowhere, Place, locate, name_of
from margod.shell.records import ANCHORS, CHOSEN, HARDWARE, STAGED, WFM, json_object
from margod.shell.situation import Situation, Warned, binding_of, is_valid, nothing_but
from margod.vault import Vault, ledger
from margod.wfm import Proxy

if TYPE_CHECKING:
    from margod.shell.ground import Ground

REPORT: Final = "report.json"

MOST_SAID: Final = 4
"""Manifests with something wrong that status lists."""

_STEPS: Final = tuple(Step)
_IDENTITY: Final = (identities.KEY_RECORD, identities.CERTIFICATE_RECORD)


class _Stopped(Exception):
    """A look ended early; carries what stands in the way."""

    def __init__(self, state: State, reason: Reason, detail: str = "") -> None:
        super().__init__(reason.code)
        self.obstacle = Obstacle(state, reason, detail)


class Look:
    """One look: collects what the vault has to change, commits it once, and says what is so."""

    def __init__(self, ground: Ground, vault: Vault, now: float) -> None:
        self.ground, self.config, self.vault, self.now = ground, ground.config, vault, now
        self.likely = ground.keeper.likely()
        self.waits: Obstacle | None = None
        self.records: dict[str, bytes] = dict(vault.records)
        self.history = ground.history()
        self.moved = ""
        self.found: Place | Nowhere = Nowhere(State.BLOCKED, reasons.STATE_NEWER)
        self.place: Place | None = None
        self.identity: Identity | None = None
        self.anchors: tuple[trust.Anchor, ...] = ()
        self.withdrawn: tuple[trust.Anchor, ...] = ()
        self.source = anchoring.NONE
        self.unverified: trust.UnverifiedPolicy | None = None
        self.proxy: Proxy | None = None
        self.warnings = [Warned(found.reason, found.message) for found in vault.findings]
        self._device: Device | None = None
        self._read_wfm()

    def _read_wfm(self) -> None:
        self.stored = json_object(self.records.get(WFM, b""))
        self.enrolled = self.ground.generation.client_id(self.records) is not None
        self.bound = (
            self.enrolled or self.ground.follows or (bool(self.stored.get("instance")) and self.history.settled)
        )

    @property
    def url(self) -> str | None:
        """The URL that is shown; None while there is no WFM."""
        return self.place.url if self.place else None

    def situation(self) -> Situation:
        """Return the situation, after bringing the vault into line with it."""
        obstacle: Obstacle | None = None
        if not self.vault.read_only and (other := belonging.mismatch(self.records, self.ground)):
            return replace(other, warnings=tuple(self.warnings))
        try:
            self._look_around()
            self._move()
            self.waits = self._no_time()
            self._take_identity()
            self._take_wfm()
            self._take_trust()
            self._take_proxy()
        except _Stopped as stopped:
            obstacle = stopped.obstacle
        try:
            self._commit()
            self._check_validity()
        except _Stopped as stopped:
            obstacle = obstacle or stopped.obstacle
        except StateNotWritable as error:
            obstacle = self._not_stored(error) or obstacle
        blocked = obstacle is not None and obstacle.state is State.BLOCKED
        return self._describe(obstacle if blocked else self.waits or obstacle)

    def _look_around(self) -> None:
        """Take nothing for this device's that is another's, and begin nothing on what does not last."""
        if self.vault.read_only:
            raise _Stopped(State.BLOCKED, reasons.STATE_NEWER)
        if belonging.copied(self.records, self.ground.seen):
            self.records = belonging.without_identity(self.records)
            self.history = ledger.summarise(self.records, (), reissued=False)
        found = belonging.warnings(self.ground)
        lost = next((each for each in found if each.reason is reasons.STATE_VOLATILE), None)
        if lost and not (self.enrolled or self.ground.follows):
            raise _Stopped(State.BLOCKED, lost.reason, lost.message)
        self.warnings += found

    def _no_time(self) -> Obstacle | None:
        """Return what keeps a device that is not enrolled from beginning: a clock that cannot be right."""
        said = self.ground.keeper.implausible()
        if said and self.enrolled:
            self.warnings.append(Warned(reasons.CLOCK_IMPLAUSIBLE, f"This device's clock cannot be right: {said}."))
            return None
        return Obstacle(State.WAITING_FOR_CLOCK, reasons.CLOCK_IMPLAUSIBLE, said) if said else None

    def _move(self) -> None:
        """Find the WFM, before anything else: another one means other records, archived ones or fresh."""
        self.found = self._locate()
        known = name_of(self.stored)
        if isinstance(self.found, Nowhere) or self.found.name == known:
            return
        if self.ground.follows:  # it goes where the enrolment in force goes, or it ends with it
            self.found = Nowhere(State.BLOCKED, reasons.WFM_CHANGED, f"not {self.stored.get('url')} any more")
            return
        if not known and not archive.formers(self.records):
            return  # the first WFM of all: there is nothing to leave and nothing to come back to
        history, settings = self.history, self.config
        asked = ENROLMENT in self.records or history.settled or history.unanswered  # in whatever generation it was
        changes = moving.move(
            {**self.records, ledger.LEDGER: ledger.fold(history)},
            self.found.name,
            url=settings.wfm.url,
            begun=bool(known) and (asked or settings.identity.per_wfm),
            per_wfm=settings.identity.per_wfm,
            at=self.now,
        )
        if not changes:
            return
        self.records = {name: data for name, data in {**self.records, **changes}.items() if data is not None}
        self.moved = "restored" if name_of(json_object(self.records.get(WFM, b""))) else "anew"
        self.history = ledger.summarise(self.records, (), reissued=False)
        self._read_wfm()
        self.found = self._locate()

    def _locate(self) -> Place | Nowhere:
        chosen = json_object(self.records.get(CHOSEN, b"")).get("instance")
        try:
            return locate(
                self.config,
                self.stored,
                enrolled=self.enrolled,
                bound=self.bound,
                chosen=str(chosen) if chosen else None,
                seen=self.ground.sightings,
            )
        except Nowhere as nowhere:
            return nowhere

    def _take_identity(self) -> None:
        settings = self.config.identity
        try:
            if settings.key_file is not None and settings.certificate_file is not None:
                self._take_files(settings.key_file, settings.certificate_file)
            elif identities.KEY_RECORD not in self.records:
                if self.vault.damaged or self.ground.follows:
                    raise _Stopped(State.BLOCKED, reasons.STATE_DAMAGED, "no new identity is made in place of the lost")
                if self.waits:
                    return  # its validity would be wrong for ever, and its begin is all that a WFM sees of the clock
                name = settings.common_name or self._capabilities().serial_number
                self._adopt(identities.mint(name, settings.organization, settings.lifetime, self.now))
            self.identity = self.ground.load_identity(self.records)
            unfit = not is_valid(self.identity, self.now) and not is_valid(self.identity, self.likely)
            if self.identity.source == MINTED and not self.enrolled and unfit and not self.waits:
                # Made while the clock was wrong, or never used in its lifetime: the key stays, nobody knows the rest.
                self._adopt(identities.reissue(self.records, self.now, counted=False))
                self.identity = self.ground.load_identity(self.records)
        except IdentityError as error:
            raise _Stopped(State.BLOCKED, error.reason, _with_hint(error)) from None

    def _take_files(self, key_file: Path, certificate_file: Path) -> None:
        """Copy the operator's identity in, unless this device is enrolled with another one."""
        try:
            given = identities.import_files(key_file, certificate_file)
        except IdentityError as error:
            source = json_object(self.records.get(identities.META_RECORD, b"")).get("source")
            stands = self.enrolled or self.ground.follows
            if not (stands or source == FILES):  # onboarding as somebody else than the owner said is no way out
                raise
            self.warnings.append(Warned(error.reason, error.message))
            return
        if all(self.records.get(name) == given[name] for name in _IDENTITY):
            return
        if self.enrolled or self.ground.follows:  # a candidate's was settled when it was begun
            self.warnings.append(Warned(reasons.IDENTITY_FILES_IGNORED, reasons.IDENTITY_FILES_IGNORED.says))
        else:
            self._adopt(given)

    def _adopt(self, identity: Mapping[str, bytes]) -> None:
        self.records.update(identity)
        self.records[HARDWARE] = belonging.bound(self.ground.seen)
        for name in (ledger.LEDGER, REPORT):  # what was said under another certificate
            self.records.pop(name, None)

    def _take_wfm(self) -> None:
        if isinstance(self.found, Nowhere):
            if self.found.state is State.DISCOVERING:
                self.bound = False  # another one is wanted than the one that is known: it has to be looked for
            raise _Stopped(self.found.state, self.found.reason, self.found.detail)
        self.place = self.found

    def _take_trust(self) -> None:
        config, gone = self.config, self.ground.retired.roots
        # By a clock that has just jumped nothing is thrown away; TLS goes by the clock itself.
        now, stands = min(self.now, self.likely), self.enrolled or self.ground.follows
        try:
            found = anchoring.find(config.trust, config.tls, self.records, gone, stands=stands, now=now)
        except TrustError as error:
            self.withdrawn = error.withdrawn if isinstance(error, anchoring.AllRetired) else ()
            raise _Stopped(State.UNTRUSTED, error.reason, _with_hint(error)) from None
        self.anchors, self.source, self.unverified = found.anchors, found.source, found.unverified
        self.withdrawn = found.withdrawn
        if found.instead_of is not None:
            self.warnings.append(Warned(found.instead_of.reason, found.instead_of.message))
        if self.anchors:
            self.records[ANCHORS] = trust.to_pem(self.anchors)
        elif not self.withdrawn:
            self.records.pop(ANCHORS, None)  # what vouched so far does not do so any more: it must not pass for it
        if self.source not in renewal.STAGES or not self.anchors:
            self.records.pop(STAGED, None)  # staged by the word of others than those who vouch now
        if self.source == anchoring.FIRST_USE and self.anchors:
            self.warnings.append(Warned(reasons.FIRST_USE_TAKEN, reasons.FIRST_USE_TAKEN.says))
        where = self.place.record() if self.place else {}
        record = anchoring.record(where, config.wfm.protocol, self.source)
        self.records[WFM] = moving.outlived(self.records.get(WFM, b""), record)

    def _take_proxy(self) -> None:
        try:
            self.proxy = self.ground.proxy(self.place)
        except MargodError as error:
            if not self.enrolled:
                raise _Stopped(State.BLOCKED, error.reason, _with_hint(error)) from None
            self.warnings.append(Warned(error.reason, error.message))

    def _commit(self) -> None:
        """Bring the vault into line: one commit, or none if nothing is new."""
        if self.identity is None:
            return
        binding = binding_of(self.identity, json_object(self.records.get(WFM, b"")))
        changes: dict[str, bytes | None] = {}
        for name in self.records.keys() | self.vault.records.keys():
            if self.records.get(name) != self.vault.records.get(name):
                changes[name] = self.records.get(name)
        back = self.ground.taken_back(self.source, self.anchors)
        if changes or back or binding != self.vault.binding:
            if binding == self.vault.binding:
                changes.setdefault(ledger.LEDGER, ledger.fold(self.ground.history()))
            changes = {**belonging.due(self.vault.records, self.ground.seen), **changes}
            self.ground.commit(changes, binding, back)

    def _not_stored(self, error: StateNotWritable) -> Obstacle | None:
        """Return what it means that the commit failed: nothing new is begun, and what is enrolled goes on."""
        if self.enrolled and not self.moved:
            self.warnings.append(Warned(error.reason, error.message))
            return None
        stored = self.vault.records
        if any(self.records.get(name) != stored.get(name) for name in _IDENTITY):
            self.identity = None  # the next look makes another one: nobody must upload this one's certificate
        return Obstacle(State.BLOCKED, error.reason, error.message)

    def _check_validity(self) -> None:
        if self.identity is None or self.waits:
            return
        try:
            identities.check_validity(self.identity, self.now if self.enrolled else self.likely)
        except IdentityError as error:
            if not self.enrolled:
                raise _Stopped(State.BLOCKED, error.reason, error.message) from None
            self.warnings.append(Warned(error.reason, error.message))

    def _describe(self, obstacle: Obstacle | None) -> Situation:
        generation, records = self.ground.generation, self.vault.records
        if self.identity is None:
            stopped = obstacle or Obstacle(State.BLOCKED, reasons.IDENTITY_INVALID)
            return Situation(
                nothing_but(stopped),
                url=self.url,
                place=self.place,
                anchors=self.anchors,
                trust_source=self.source,
                proxy=self.proxy,
                policy=self._policy(),
                unverified=self.unverified,
                warnings=tuple(self.warnings),
            )
        context = Context(self.identity.certificate, records, self._capabilities())
        client_id = generation.client_id(records)
        digest, form = generation.reported(records)
        history, recalled = self.ground.history(), self.ground.recall()
        if form:
            history = replace(history, form={**history.form, Step.REPORT: form})
        if recalled is not None and (history.memory is None or recalled.at >= history.memory.at):
            history = replace(history, memory=recalled)
        settings = anchoring.tls_settings(self.config.tls)
        gone = self.ground.retired.roots
        former = claiming.former(records, self.source, self.anchors, self.now, self._capabilities, retired=gone)
        facts = Facts(
            obstacle=obstacle,
            binding=self.vault.binding,
            trusted=bool(self.anchors),
            trust=self._trust_name(settings),
            enrols=generation.enrols,
            enrolled=client_id is not None,
            former=former is not None or (not self.anchors and claiming.may_claim(records, self.source)),
            reported=digest,
            report=self.ground.settled(context, digest, self._looked_at()),
            can_reissue=self.identity.source == MINTED,
            forms={step: generation.forms(step) for step in _STEPS},
        )
        return Situation(
            facts=facts,
            history=history,
            url=self.url,
            place=self.place,
            bound=self.bound,
            identity=self.identity,
            anchors=self.anchors,
            trust_source=self.source,
            retired=self.ground.retired.roots,
            withdrawn=self.withdrawn,
            staged=renewal.read(records.get(STAGED, b""), self.now, self.ground.retired.roots),
            proxy=self.proxy,
            policy=self._policy(),
            unverified=self.unverified,
            context=context,
            former=former,
            moved=self.moved if obstacle is None or obstacle.reason is not reasons.STATE_NOT_WRITABLE else "",
            client_id=client_id,
            device_id=context.capabilities.device_id or generation.last_report(records).device_id or client_id,
            warnings=tuple(self.warnings),
        )

    def _policy(self) -> trust.TrustPolicy | None:
        if not self.anchors and self.source != anchoring.SYSTEM:
            return None
        any_name = self.place is not None and self.place.any_name
        return trust.TrustPolicy(self.anchors or None, anchoring.tls_settings(self.config.tls), any_name=any_name)

    def _trust_name(self, settings: trust.TlsSettings) -> str:
        """Return what changes when the WFM is verified by something else than before, or reached another way.

        The download of a root aside.
        """
        given = [anchor.fingerprint for anchor in self.anchors if self.source == "ca_file" or self.ground.follows]
        pins = self.config.trust.pin if self.source == anchoring.PIN else None
        return hashlib.sha256(repr((self.source, given, pins, settings, self._way())).encode()).hexdigest()[:16]

    def _way(self) -> tuple[str, ...]:
        wfm, proxy = self.config.wfm, self.proxy
        return (wfm.signed_scheme, wfm.signed_authority or "", *((proxy.address, proxy.authorization) if proxy else ()))

    def _capabilities(self) -> Capabilities:
        return self._looked_at().capabilities

    def _looked_at(self) -> Device:
        """Return what this device is: one look at it is enough for one look."""
        if self._device is None:
            self._device = device_of(self.config, self.ground.directory, self.ground.generation)
            invalid = reasons.CAPABILITIES_INVALID
            self.warnings += [Warned(invalid, f"{invalid.says} {said}") for said in self._device.problems[:MOST_SAID]]
        return self._device


def _with_hint(error: MargodError) -> str:
    """Return what happened, and what to do where that is more exact than the reason's own hint."""
    return error.message if error.hint == error.reason.hint else f"{error.message} {error.hint}"
