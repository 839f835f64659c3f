"""What the device stands on: configuration and vault, read into the facts that the engine decides by.

Everything here may wait for a disk and runs in the disk thread; `look.py` does the looking.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

import structlog

from margod import capabilities
from margod import identity as identities
from margod.config import Config
from margod.discovery import Candidate
from margod.engine.messages import History, Memory
from margod.engine.settling import Settling
from margod.identity import Identity, hardware
from margod.model import reasons
from margod.model.errors import IdentityError, MargodError, StateInUse, StateNotWritable, StateUnusable
from margod.protocols import Context, Generation
from margod.protocols.signed import Dialect, Signed, SignedAs
from margod.shell import anchoring, belonging, moving, renewal
from margod.shell import proxy as proxies
from margod.shell.device import Device, device_of
from margod.shell.look import Look
from margod.shell.place import Place
from margod.shell.records import CHOSEN, HARDWARE, LEAVING, WFM, json_object
from margod.shell.retired import Retired
from margod.shell.situation import Situation, Warned, binding_of, blocked_by
from margod.shell.timekeeper import Timekeeper
from margod.store import read_regular, write_file
from margod.trust import Anchor
from margod.vault import Entry, Vault, ledger
from margod.wfm import Proxy

log: Final = structlog.get_logger()

RUNTIME: Final = "runtime.json"
RUNTIME_LIMIT: Final = 65_536
LOG_LENGTH: Final = 256
"""Entries of the answer log on top of a generation before they are folded: a commit a day while a device waits."""


class Ground:
    """Configuration, vault and generation together. One thread uses it at a time."""

    follows: bool = False
    """Whether WFM and trust are those of another ground, beside which this one stands (candidate.py)."""

    def __init__(
        self,
        config: Config,
        clock: Callable[[], float],
        env: Mapping[str, str] | None = None,
        keeper: Timekeeper | None = None,
    ) -> None:
        """Take the configuration; `clock` is the system's, Unix seconds. The vault is opened by `open` or a look.

        `env` is where a proxy may be named. `keeper` is the process's, where another ground has it already.
        """
        self.config = config
        self.env = dict(env or {})
        self.directory = config.state.directory
        """The state directory of this process: a reload does not move it, the lock is on this one."""
        self.vault: Vault | None = None
        self._unopened: list[tuple[str, str]] = []
        """Why it could not be opened till now, where no look has said so: codes and messages."""
        self.sightings: tuple[Candidate, ...] = ()
        """The WFMs that announce themselves and count; what is not browsed for is not in it."""
        self.keeper = keeper or Timekeeper(clock)
        self.clock = self.keeper.wall
        self.seen: hardware.Seen = {}
        """What the device is recognised by, as of the last look."""
        self.settling = Settling()
        self.told = False
        """A person asks: what the next look finds of the device is reported at once."""
        self.device: Device | None = None
        """What the device is, as of the last look."""
        self.retired = Retired()
        """The root CAs of which another one has taken the place."""
        self._identity: tuple[bytes, bytes, Identity] | None = None
        self._ca_file: object = None

    @property
    def generation(self) -> Generation:
        """The generation of the specification that is configured, with the owner's knobs."""
        return generation_of(self.config)

    def proxy(self, place: Place | None) -> Proxy | None:
        """Return the proxy to reach `place` by, None for none. Raises MargodError if it cannot be used."""
        if place is None:
            return None
        return proxies.choose(self.config, self.env, place.url, discovered=bool(place.addresses))

    def open(self) -> None:
        """Open and lock the state directory. Raises StateInUse, StateUnusable or StateNotWritable."""
        if self.vault is None:
            try:
                self.vault, self.seen = Vault.open(self.directory), capabilities.hardware()
            except (StateUnusable, StateNotWritable) as error:
                self._unopened.append((error.code, error.message))  # not the error: its frames have what was read
                raise
            if self._unopened:
                code, message = self._unopened[-1]
                log.warning("state-read-again", code=code, message=message, failed=len(self._unopened))
                self._unopened.clear()
            self.keeper.load(self.directory)
            self.keeper.downtime.load(self.directory)
            if not self.follows:
                self.retired.load(self.directory, self.vault)

    def close(self) -> None:
        """Give the state directory back."""
        if self.vault is not None:
            self.vault.close()
            self.vault = None

    def examine(self) -> Situation:
        """Look at everything again; what stands in the way is a fact, not an exception."""
        self._ca_file = anchoring.signature(self.config.trust.ca_file)  # before it is read: no change is missed
        try:
            self.open()
            assert self.vault is not None
            if self.vault.wiped:
                return Situation(blocked_by(reasons.WIPED, ""))
            self.seen = capabilities.hardware()
            return _leaving(self.vault, Look(self, self.vault, self.clock()).situation())
        except (StateInUse, StateUnusable, StateNotWritable) as error:
            self._unopened.clear()  # it is shown
            return Situation(blocked_by(error.reason, error.message), url=self.config.wfm.url)

    def reissue(self) -> None:
        """Make a new certificate over the same key and commit it. Raises IdentityError or StateNotWritable."""
        vault = self._open_vault()
        records = identities.reissue(vault.records, self.clock())
        fresh = identities.load(dict(vault.records) | records)
        changes: dict[str, bytes | None] = dict(records)
        changes[ledger.LEDGER] = None
        vault.commit(changes, binding_of(fresh, json_object(vault.records.get(WFM, b""))))

    def settled(self, context: Context, reported: str, device: Device) -> str:
        """Return the digest of the report that holds now; a change of the device has to hold for a while first."""
        generation, told, self.told, self.device = self.generation, self.told, False, device
        last, report = generation.last_report(context.records), generation.report_digest(context)
        said = last.said != context.capabilities.said or report == last.wanted  # or only the rest of it is missing
        return self.settling.settle(
            reported,
            report,
            hold=self.config.capabilities.settle,
            told=told or said,
            now=time.monotonic(),
        )

    def device_changed(self) -> bool:
        """Return whether the device, or one behind it, is another one than at the last look."""
        if self.device is None:
            return False
        return device_of(self.config, self.directory, self.generation).says != self.device.says

    def ca_file_changed(self) -> bool:
        """Return whether the file of trust.ca_file is another one than at the last look."""
        return anchoring.signature(self.config.trust.ca_file) != self._ca_file

    def accept(
        self, situation: Situation, offered: tuple[Anchor, ...], fingerprint: str, in_use: Collection[str] = ()
    ) -> None:
        """Keep the staged or offered root with this fingerprint. Raises TrustError or StateNotWritable."""
        changes = renewal.accept(situation.anchors, situation.staged, fingerprint, in_use)
        self.keep(changes or anchoring.accept(self._open_vault().records, offered, fingerprint), {fingerprint})

    def forget(self) -> None:
        """Drop the root CA that is kept. Raises TrustError or StateNotWritable."""
        self.keep(anchoring.forget(self._open_vault().records, self.config.trust))

    def keep(self, changes: Mapping[str, bytes | None], back: Collection[str] = ()) -> None:
        """Commit the records of an accepted step beside what there is, the log folded in. Raises StateNotWritable.

        `back`: retired root CAs that a person takes back.
        """
        vault = self._open_vault()
        changes = {ledger.LEDGER: ledger.fold(self.history()), **belonging.due(vault.records, self.seen), **changes}
        if (record := changes.get(WFM)) is not None:
            changes[WFM] = moving.outlived(vault.records.get(WFM, b""), record)
        self.commit(changes, vault.binding, back)

    def commit(self, changes: Mapping[str, bytes | None], binding: str, back: Collection[str] = ()) -> None:
        """Commit to the vault; a root CA that goes for another one is retired by it. Raises as `Vault.commit`."""
        vault = self._open_vault()
        if self.follows:  # the ground that it follows retires them
            vault.commit(changes, binding)
        else:
            self.retired.commit(vault, changes, binding, back)

    def taken_back(self, source: str, anchors: Collection[Anchor]) -> frozenset[str]:
        """Return the retired roots that the configuration names; nothing where another ground has the say."""
        return frozenset() if self.follows else anchoring.wanted(source, anchors, self.retired.roots)

    def claim(self, records: Mapping[str, bytes]) -> None:
        """Commit a former enrolment as the present one: the WFM knows it here too. Raises MargodError."""
        vault = self._open_vault()
        binding = binding_of(identities.load(records), json_object(records.get(WFM, b"")))
        vault.commit(records, binding)

    def reset(self, *, new_identity: bool) -> None:
        """Archive the enrolment and start again, `new_identity`: with another key. Raises MargodError, nothing done.

        A minted certificate that a WFM may know is issued anew over the same key: it says 409 to one that it knows.
        """
        vault, settings = self._open_vault(), self.config.identity
        if new_identity and settings.key_file is not None:
            message = f"The key is that of identity.key_file: {settings.key_file}."
            hint = "Put another key and its certificate there, then `margod reset`."
            raise MargodError(reasons.NOT_RESET, message, hint=hint)
        if vault.damaged and not new_identity:
            raise MargodError(reasons.NOT_RESET, reasons.STATE_DAMAGED.says, hint="`margod reset --new-identity`.")
        history, records = self.history(), dict(vault.records)
        if belonging.copied(records, self.seen):  # a new certificate over the same key, or an archive of it, is a copy
            mismatch = reasons.HARDWARE_MISMATCH
            raise MargodError(reasons.NOT_RESET, mismatch.says, hint=mismatch.hint)
        begun = self.generation.client_id(records) is not None or history.settled or history.unanswered
        records[ledger.LEDGER] = ledger.fold(history)
        changes = moving.reset(
            records,
            begun=begun or (new_identity and identities.KEY_RECORD in records),
            new_identity=new_identity,
            at=self.clock(),
        )
        bound = binding_after(records, changes, vault.binding)
        if begun and not new_identity and identities.load(records).source == identities.MINTED:
            fresh = identities.reissue(records, self.clock(), counted=None)
            bound = binding_after({**records, **fresh}, changes, vault.binding)
            changes |= fresh
        vault.commit(changes, bound)

    def adopt_hardware(self) -> None:
        """Bind the vault to the hardware that it is on. Raises IdentityError or StateNotWritable."""
        if identities.KEY_RECORD not in self._open_vault().records:
            raise IdentityError(reasons.NO_IDENTITY)
        self.seen = capabilities.hardware()
        self.keep({HARDWARE: belonging.bound(self.seen)})

    def leave(self) -> bool:
        """Keep that the WFM is about to be asked to remove this device; return whether that is new.

        Raises StateNotWritable.
        """
        if LEAVING in self._open_vault().records:
            return False
        self.keep({LEAVING: json.dumps({"since": self.clock()}).encode()})
        return True

    def stay(self) -> None:
        """Take `leave` back: the WFM has not removed this device. Raises StateNotWritable."""
        self.keep({LEAVING: None})

    def wipe(self) -> None:
        """Clear the state directory. Raises StateNotWritable; see `Vault.wipe`."""
        self._open_vault().wipe()
        self._identity = None

    def choose(self, instance: str) -> None:
        """Store which of several discovered WFMs is to be taken. Raises StateNotWritable."""
        self.keep({CHOSEN: json.dumps({"instance": instance}).encode()})

    @property
    def wanted_instances(self) -> tuple[str, ...]:
        """The instance names that no crowd of others may push out of what is seen."""
        records = self.vault.records if self.vault is not None else {}
        stored = [json_object(records.get(name, b"")).get("instance") for name in (WFM, CHOSEN)]
        return tuple(str(name) for name in (*stored, self.config.wfm.select) if name)

    def append(self, entry: Entry) -> None:
        """Append to the answer log, folded into a generation before it grows long. Raises StateNotWritable."""
        vault = self._open_vault()
        entries = vault.entries
        if entry.kind == "intent" and len(entries) >= LOG_LENGTH and entries[-1].kind == "answer":
            with suppress(StateNotWritable):  # a longer log is no harm, an entry that is missing would be
                vault.commit({ledger.LEDGER: ledger.fold(self.history())}, vault.binding)
        vault.append(entry)

    def history(self) -> History:
        """Return what the vault remembers of the enrolment under its present binding."""
        vault = self._open_vault()
        meta = json_object(vault.records.get(identities.META_RECORD, b""))
        return ledger.summarise(vault.records, vault.entries, bool(meta.get("reissued")))

    def remember(self, memory: Memory) -> None:
        """Write runtime.json. It is disposable: a disk that refuses changes nothing."""
        if self.vault is None or self.vault.read_only or self.vault.wiped:
            return
        with suppress(StateNotWritable):
            write_file(self.directory, RUNTIME, json.dumps(ledger.to_text(memory)).encode())

    def save_floor(self) -> None:
        """Write what the clock may not fall behind; a vault that may not be written keeps what it has."""
        if self.vault is not None and not self.vault.read_only and not self.vault.wiped:
            self.keeper.save(self.directory)

    def save_downtime(self) -> bool:
        """Write which downtime was begun by hand; return whether it is kept over a restart. Raises StateNotWritable."""
        if self.vault is None or self.vault.read_only or self.vault.wiped:
            return False
        self.keeper.downtime.save(self.directory)
        return True

    def recall(self) -> Memory | None:
        """Read runtime.json; None if there is none or it cannot be used."""
        try:
            value = json.loads(read_regular(self.directory / RUNTIME, RUNTIME_LIMIT))
        except (OSError, ValueError, RecursionError):
            return None
        return ledger.from_text(value) if isinstance(value, dict) else None

    def load_identity(self, records: Mapping[str, bytes]) -> Identity:
        """Load the identity, once for each pair of files. Raises IdentityError."""
        key, certificate = records[identities.KEY_RECORD], records.get(identities.CERTIFICATE_RECORD, b"")
        if self._identity is None or self._identity[:2] != (key, certificate):
            self._identity = (key, certificate, identities.load(records))
        return self._identity[2]

    def _open_vault(self) -> Vault:
        if self.vault is None:
            raise StateNotWritable(reasons.STATE_UNUSABLE)
        return self.vault


def _leaving(vault: Vault, situation: Situation) -> Situation:
    """Return the situation, with what it is to a device that is on its way out."""
    if LEAVING not in vault.records:
        return situation
    warned = Warned(reasons.LEAVING, reasons.LEAVING.says)
    return replace(situation, leaving=True, warnings=(*situation.warnings, warned))


def binding_after(records: Mapping[str, bytes], changes: Mapping[str, bytes | None], before: str) -> str:
    """Return the binding of these records after changes to wfm.json; another than `before` where none can be told."""
    try:
        return binding_of(identities.load(records), json_object(changes.get(WFM) or b""))
    except IdentityError:
        return f"{before[:64]}+"


def generation_of(config: Config) -> Generation:
    """Return the generation of the specification that a configuration asks for."""
    wfm = config.wfm
    if wfm.protocol == "token":
        from margod.protocols.token import Token  # only its devices load it

        return Token()
    dialect = Dialect(wfm.dialect, wfm.certificate_field, wfm.certificate_encoding, wfm.capabilities_route)
    return Signed(dialect, SignedAs(wfm.signed_scheme, wfm.signed_authority or ""))
