"""A second enrolment beside the one in force: its own vault in `next/`, and the one commit that promotes it.

    begin ──> next/ with key, certificate and the WFM's record ──> onboarded there like any device
    settle, before each look of the one in force:
        accepted (client id and first report) ──> one commit of the vault in force: the old goes to the archive,
                                                  the new takes its place ──> next/ is removed
        made for another enrolment, or promoted already (a crash came between) ──> next/ is removed

So there is always a whole enrolment in force, the old or the new, and a crash at any point is finished by the next
`settle`. Everything here may wait for a disk and runs in the disk thread.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Final

import structlog

from margod import identity as identities
from margod.identity.records import MINTED
from margod.model import reasons
from margod.model.errors import MargodError, StateUnusable
from margod.model.reasons import Reason
from margod.shell import archive
from margod.shell.belonging import copied
from margod.shell.device import device_of
from margod.shell.ground import Ground
from margod.shell.records import ANCHORS, CHOSEN, HARDWARE, LEAVING, STAGED, WFM, json_object
from margod.shell.situation import Situation, binding_of
from margod.store import drop_tree, finish_drop
from margod.vault import Vault, ledger

log: Final = structlog.get_logger()

NEXT: Final = "next"
"""The candidate's vault, below the state directory."""
ABOUT: Final = "candidate.json"

_FOLLOWED: Final = (WFM, ANCHORS, STAGED, CHOSEN, HARDWARE)
"""Where the WFM is, what verifies it, and which device this is: always what the enrolment in force has."""


@dataclass(frozen=True, slots=True)
class About:
    """Why there is a candidate (archive.ROTATED or FORGOTTEN), and the binding of the enrolment it is to replace.

    `since` is when it was made, `begin` the moment of its first request; Unix seconds.
    """

    why: str
    of: str
    since: float
    begin: float

    def encoded(self) -> bytes:
        """Return the record."""
        value = {"why": self.why, "of": self.of, "since": self.since, "begin": self.begin}
        return json.dumps(value, allow_nan=False).encode("ascii")


class Verdict(Enum):
    """What becomes of a candidate that is found."""

    STAYS = "stays"
    PROMOTE = "promote"
    DISCARD = "discard"


class NotRotated(MargodError):
    """The identity cannot be rotated now; nothing was changed."""

    def __init__(self, message: str, reason: Reason = reasons.NOT_ROTATED) -> None:
        """Say why."""
        super().__init__(reason, message)


def read_about(records: Mapping[str, bytes]) -> About | None:
    """Return what the candidate's records say of it; None if that cannot be read."""
    value = json_object(records.get(ABOUT, b""))
    why, of, since, begin = (value.get(key) for key in ("why", "of", "since", "begin"))
    if why not in (archive.ROTATED, archive.FORGOTTEN) or not isinstance(of, str):
        return None
    if not (isinstance(since, int | float) and isinstance(begin, int | float)):
        return None
    return About(str(why), of, float(since), float(begin)) if math.isfinite(since) and math.isfinite(begin) else None


def judge(force: Vault, mine: Vault, *, accepted: bool) -> Verdict:
    """Return what becomes of the candidate in `mine` beside the enrolment in `force`.

    A damaged vault is evidence of nothing: a candidate that cannot be read waits for a person, and one that was
    accepted is the only identity left where the one in force is lost.
    """
    if mine.damaged or mine.read_only:
        return Verdict.STAYS
    about = read_about(mine.records)
    if about is None or identities.KEY_RECORD not in mine.records:
        return Verdict.DISCARD  # a crash came before there was one: nothing was sent
    if about.why == archive.FORGOTTEN and LEAVING in force.records:
        return Verdict.DISCARD  # nobody comes back by himself to where his owner has unregistered him
    if not force.damaged and (mine.binding == force.binding or about.of != force.binding):
        return Verdict.DISCARD
    return Verdict.PROMOTE if accepted else Verdict.STAYS


class Candidate(Ground):
    """The ground of a candidate: its own vault, and everything else as the enrolment in force has it."""

    follows = True

    def __init__(self, force: Ground) -> None:
        """Stand beside `force`; `open` comes next."""
        super().__init__(force.config, force.clock, force.env, force.keeper)
        self._force = force
        self.directory = force.directory / NEXT
        self.retired = force.retired
        self.about: About | None = None
        self.gone = False
        """Removed: it must not come back into being by a look."""
        self.identity: identities.Identity | None = None

    def open(self) -> None:
        """Open the vault and read what the candidate is for. Raises as `Ground.open`."""
        if self.gone:
            raise StateUnusable(reasons.STATE_UNUSABLE)
        super().open()
        assert self.vault is not None
        self.about = read_about(self.vault.records)
        with suppress(MargodError, KeyError):  # the look says what is wrong
            self.identity = self.load_identity(self.vault.records)

    def examine(self) -> Situation:
        """Look at it, under the trust that the enrolment in force has by now."""
        with suppress(MargodError):  # what stands in the way of a write stands in the way of the look, which says it
            self._follow()
        situation = super().examine()
        self.identity = situation.identity or self.identity
        return situation

    @property
    def fingerprint(self) -> str | None:
        """The certificate's, None where it cannot be read."""
        return self.identity.fingerprint if self.identity else None

    @property
    def accepted(self) -> bool:
        """Whether the WFM has given it a client id and taken its first report."""
        records = self.vault.records if self.vault else {}
        return self.generation.client_id(records) is not None and self.generation.reported(records) != ("", "")

    def _follow(self) -> None:
        theirs = self._force.vault
        if self.vault is None or theirs is None or theirs.damaged or self.vault.damaged:
            return
        changes = {name: theirs.records.get(name) for name in _FOLLOWED}
        if any(self.vault.records.get(name) != data for name, data in changes.items()):
            folded = {ledger.LEDGER: ledger.fold(self.history())}
            self.vault.commit({**changes, **folded}, self.vault.binding)


class Succession:
    """The candidate for the place of the enrolment that stands on `force`, if there is one."""

    def __init__(self, force: Ground) -> None:
        """Look for one at the first `settle`."""
        self._force = force
        self.candidate: Candidate | None = None

    def settle(self, *, promotes: bool = True) -> None:
        """Take up, promote or remove the candidate, as it deserves. Never raises: what is in force goes on.

        `promotes`: no request of the enrolment in force is under way, whose answer would be taken for the new one's.
        """
        try:
            self._settle(promotes=promotes)
        except MargodError as error:
            log.warning("rotation-waits", code=error.code, message=error.message, hint=error.hint)
        except Exception as error:  # a fault here must not stop the enrolment in force
            log.error("internal-error", exc_info=error)

    def begin(self, why: str, delay: float, of: str | None = None) -> Candidate:
        """Make a candidate, whose first request comes in `delay` seconds. Raises MargodError with nothing changed.

        `of`: only while that is the binding in force.
        """
        force, now = self._force, self._force.keeper.wall()
        force.open()
        vault = force.vault
        assert vault is not None
        if self.candidate is not None or (force.directory / NEXT).exists():
            raise NotRotated("There is a candidate already.")
        if of is not None and of != vault.binding:
            raise NotRotated("What the WFM said was about another enrolment.")
        if vault.damaged or vault.read_only or vault.wiped or force.generation.client_id(vault.records) is None:
            raise NotRotated("This device is not enrolled; `margod reset --new-identity` gives it another key.")
        if copied(vault.records, force.seen):
            raise NotRotated(reasons.HARDWARE_MISMATCH.says, reasons.HARDWARE_MISMATCH)
        if why == archive.FORGOTTEN and LEAVING in vault.records:
            raise NotRotated("This device is to be unregistered.")
        identity = self._reissued(vault, now) if why == archive.FORGOTTEN else self._another(vault, now)
        about = About(why, vault.binding, now, now + delay)
        followed = {name: vault.records[name] for name in _FOLLOWED if name in vault.records}
        records: dict[str, bytes | None] = {**followed, **identity, ABOUT: about.encoded()}
        binding = binding_of(identities.load(identity), json_object(followed.get(WFM, b"")))
        candidate = Candidate(force)
        try:
            candidate.open()
            assert candidate.vault is not None
            candidate.vault.commit(records, binding)
            candidate.about, candidate.identity = about, candidate.load_identity(identity)
        except BaseException:
            candidate.close()
            with suppress(MargodError):
                self._remove()
            raise
        self.candidate = candidate
        log.info("rotation-begun", why=why, certificate=candidate.fingerprint or "")
        return candidate

    def drop(self, why: str | None = None) -> bool:
        """Remove the candidate (`why`: only one made for that); return whether there was one. Raises MargodError."""
        candidate = self.candidate
        if candidate is None and why is None and (self._force.directory / NEXT).exists():
            self._remove()  # it could not even be opened
            return True
        if candidate is None or (why is not None and candidate.about is not None and candidate.about.why != why):
            return False
        self._discard(candidate)
        log.warning("rotation-dropped", certificate=candidate.fingerprint or "")
        return True

    def _settle(self, *, promotes: bool) -> None:
        force = self._force
        with suppress(MargodError):  # the look says why
            force.open()
        vault = force.vault
        if vault is None or vault.read_only:
            return
        if vault.wiped:
            self._forget()
            return
        finish_drop(force.directory, NEXT)
        if self.candidate is None and not (force.directory / NEXT).exists():
            return
        if self.candidate is None:
            found = Candidate(force)
            found.open()
            self.candidate = found
        candidate = self.candidate
        if candidate.gone:  # removed but for the files, which a disk refused to let go
            self._discard(candidate)
            return
        assert candidate.vault is not None
        candidate.config = force.config
        if copied(vault.records, force.seen) or copied(candidate.vault.records, force.seen):
            return  # another device's, as the look says: it takes no place here
        verdict = judge(vault, candidate.vault, accepted=candidate.accepted)
        if verdict is Verdict.PROMOTE and not promotes:
            return
        if verdict is Verdict.PROMOTE:
            self._promote(vault, candidate)
        if vault.binding == candidate.vault.binding:
            vault.commit({}, vault.binding)  # a fall-back by one generation has to find it too, once next/ is gone
        if verdict is not Verdict.STAYS:
            self._discard(candidate)

    def _promote(self, vault: Vault, candidate: Candidate) -> None:
        """Put the candidate in the place of the enrolment in force, which goes to the archive, in one commit."""
        assert candidate.vault is not None
        mine, theirs = candidate.vault.records, vault.records
        about, now = candidate.about, self._force.keeper.wall()
        changes: dict[str, bytes | None] = {}
        if not vault.damaged:
            old = {**theirs, ledger.LEDGER: ledger.fold(self._force.history())}
            changes |= archive.put(old, about.why if about else archive.ROTATED, now)
            changes |= archive.cleared(theirs, identity=True)
        changes |= {name: data for name, data in mine.items() if name != ABOUT}
        changes |= {name: theirs[name] for name in _FOLLOWED if name in theirs}
        changes[ledger.LEDGER] = ledger.fold(candidate.history())
        old_id, new_id = (self._force.generation.client_id(records) or "" for records in (theirs, mine))
        vault.commit(changes, candidate.vault.binding)
        log.info("rotation-promoted", certificate=candidate.fingerprint or "", client_id=new_id, former_id=old_id)

    def _another(self, vault: Vault, now: float) -> dict[str, bytes]:
        """Return another identity: the operator's files, or one that is minted. Raises MargodError."""
        settings = self._force.config.identity
        if settings.key_file is None or settings.certificate_file is None:
            force = self._force
            device = device_of(force.config, force.directory, force.generation).capabilities
            name = settings.common_name or device.serial_number
            return identities.mint(name, settings.organization, settings.lifetime, now)
        given = identities.import_files(settings.key_file, settings.certificate_file)
        identities.check_validity(identities.load(given), now)
        if given[identities.CERTIFICATE_RECORD] == vault.records.get(identities.CERTIFICATE_RECORD):
            raise NotRotated(
                "This device has the identity of identity.key_file and identity.certificate_file; replace those files "
                "first."
            )
        return given

    def _reissued(self, vault: Vault, now: float) -> dict[str, bytes]:
        """Return the key in force under a new certificate, for which nothing was ever asked. Raises MargodError."""
        if identities.load(vault.records).source != MINTED:
            raise NotRotated("The certificate was given as a file; margod cannot issue it anew. Replace the files.")
        fresh = identities.reissue(vault.records, now, counted=False)
        return {**fresh, identities.META_RECORD: json.dumps({"source": MINTED, "reissued": 0}).encode()}

    def _discard(self, candidate: Candidate) -> None:
        candidate.gone = True
        candidate.close()
        self._remove()
        self.candidate = None

    def _forget(self) -> None:
        """Let go of a candidate whose files are gone with all the others."""
        if self.candidate is not None:
            self.candidate.gone = True
            self.candidate.close()
            self.candidate = None

    def _remove(self) -> None:
        drop_tree(self._force.directory, NEXT)  # half removed, it must not look like an earlier candidate


def wish(about: About | None, *, reonboards: bool, forgotten: bool, revoked: bool, accepted: bool) -> str:
    """Return "begin" or "drop" if the WFM's words about the enrolment in force ask for it, else "".

    `reonboards`: the setting. `forgotten`, `revoked`: it is refused as unknown, or otherwise. `accepted`: the WFM has
    accepted the id in force; then that is the one to keep.
    """
    if about is None:
        return "begin" if reonboards and forgotten else ""
    if about.why != archive.FORGOTTEN:
        return ""
    return "drop" if accepted or revoked or not reonboards else ""
