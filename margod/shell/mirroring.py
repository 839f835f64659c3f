"""One poll: ask for the manifest, fetch what it names and is not here, see that all is what it says, and keep it.

Bundle first, single files where there is none or it cannot be used. What was mirrored before stays until the new one
is complete; what was fetched of one that was not is kept for the next poll.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import structlog

from margod.deployments.bundle import unpack
from margod.deployments.mirror import Held, Mirror
from margod.model import reasons
from margod.model.errors import MargodError, StateUnusable
from margod.model.outcome import Kind, Outcome, Step
from margod.model.reasons import Reason
from margod.model.text import duration
from margod.model.wire import Answer, Request, TransportFailure
from margod.protocols import Context, classify
from margod.protocols.answers import error_text, read_object
from margod.protocols.signed.desired import bundle_request, deployment_request, kept_etag, manifest_request
from margod.protocols.signed.manifest import Deployment, Manifest, Unacceptable, read_manifest
from margod.shell.courier import Courier
from margod.shell.disk import Disk
from margod.shell.ground import Ground
from margod.store import drop_tree

log: Final = structlog.get_logger()
T = TypeVar("T")

DIRECTORY: Final = "mirror"
BUNDLE_SECONDS: Final = 600.0
FILE_SECONDS: Final = 120.0
"""Seconds for a bundle and for one deployment, as long as something comes: a slow link takes its time."""
ACCEPTED_FOR: Final = 600.0
"""Seconds for which a person's word holds that the version may go back."""
ADOPTED_APART: Final = 1.0
"""Seconds between two commits that the agent can cause."""
SECURITY: Final = frozenset({reasons.MANIFEST_ROLLED_BACK, reasons.DEPLOYMENT_MISMATCH})
"""What an attack would look like too."""


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a poll. `said`: what the WFM said of this device, whatever is wrong with what it gave."""

    outcome: Outcome
    said: Outcome | None = None
    changed: bool = False


class _Failed(Exception):
    """A poll ends here."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason.code)
        self.outcome = outcome


class _Pieces:
    """Takes an answer as it comes: who asks so is given time as long as something comes (WfmClient.send)."""

    def __init__(self) -> None:
        self.data = bytearray()

    async def begin(self, _status: int, _headers: Mapping[str, str]) -> None:
        """A request that is made once more begins anew."""
        self.data.clear()

    async def write(self, piece: bytes) -> None:
        """Keep it; the request's limit bounds the whole."""
        self.data += piece


class Mirroring:
    """The mirror of the present enrolment, opened when it is needed, and how it is brought up to date."""

    def __init__(self, courier: Courier, disk: Disk, ground: Ground) -> None:
        """Keep the mirror in the state directory of `ground`."""
        self._courier, self._disk, self._ground = courier, disk, ground
        self._mirror: Mirror | None = None
        self._etag: tuple[int, str] = (0, "")
        """The ETag that came with the manifest of a version, where it is another one than that which is kept."""
        self._for = ""
        """The enrolment that the poll under way is made for."""
        self._adopts_again = 0.0
        """When another version may be adopted, monotonic."""
        self._accepts_until = 0.0
        """Until when a person lets the version go back, monotonic."""
        self._refused_bundle: tuple[int, str] = (0, "")
        """The version and what was wrong with its bundle, as it was said."""

    @property
    def held(self) -> Held | None:
        """What is mirrored for the present enrolment; None if nothing is."""
        return self._mirror.held if self._mirror and self._mirror.binding == self._binding() else None

    @property
    def whole(self) -> bool:
        """Whether all of that is here."""
        return self.held is not None and self._mirror is not None and self._mirror.whole

    async def open(self) -> None:
        """Open the mirror of the present enrolment, if there is one. Raises MargodError."""
        await self._disk.run(self._opened)

    async def text(self, deployment_id: str) -> tuple[str, bytes | None] | None:
        """Return digest and YAML of a deployment, as Mirror does."""

        def text() -> tuple[str, bytes | None] | None:
            mirror = self._mirror
            if mirror is None or mirror.binding != self._binding():  # what another one left may be going already
                return None
            found = mirror.text(deployment_id)
            _say_damage(mirror)
            return found

        return await self._disk.run(text)

    async def adopt(self, version: int) -> None:
        """Remember what the agent works by. Raises MargodError.

        The version that is stored already writes nothing; another one within a second is refused: each is a commit.
        """
        held = self.held
        if held is not None and version == held.adopted:
            return
        if time.monotonic() < self._adopts_again:
            raise MargodError(reasons.ADOPTED_TOO_OFTEN)

        def adopt() -> None:
            mirror = self._opened()
            if mirror is None or mirror.held is None:
                raise MargodError(reasons.DESIRED_STATE_UNKNOWN)
            mirror.adopt(version)

        apart, self._adopts_again = ADOPTED_APART, math.inf
        try:
            await self._disk.run(adopt)
        except Unacceptable:
            apart = 0.0  # nothing was written
            raise MargodError(reasons.VERSION_UNKNOWN) from None
        finally:
            self._adopts_again = time.monotonic() + apart

    def accept(self) -> None:
        """Let the next manifest be taken whatever its version is, once. Raises MargodError if nothing is mirrored."""
        if self.held is None:
            raise MargodError(reasons.DESIRED_STATE_UNKNOWN)
        self._accepts_until = time.monotonic() + ACCEPTED_FOR
        log.warning("desired-state-any-version", within=duration(ACCEPTED_FOR), mirrored=self.held.manifest.version)

    async def poll(self, context: Context) -> Found:
        """Make one poll. Raises nothing but CancelledError."""
        self._for = self._courier.binding
        try:
            await self._in_mirror(lambda _mirror: None)
        except MargodError as error:
            return Found(Outcome(Kind.UNREACHABLE, error.reason, error.message, sent=False))
        etag, client_id = self._known_etag(), self._ground.generation.client_id(context.records) or ""
        result = await self._courier.call(manifest_request(client_id, etag))
        said = polled(result, asked=etag)
        if said.kind is not Kind.ACCEPTED or not isinstance(result, Answer):
            return Found(said, said)
        if result.status == 304:
            return Found(said, said)
        try:
            changed = await self._take(client_id, result)
        except _Failed as failed:
            refused = failed.outcome.kind is Kind.BAD_ANSWER
            return Found(failed.outcome, said if refused else failed.outcome)
        except Unacceptable as error:
            by_a_wfm = await self._disk.run(lambda: is_manifest(result))
            return Found(_refused(reasons.MANIFEST_INVALID, str(error)), said if by_a_wfm else None)
        except MargodError as error:
            return Found(Outcome(Kind.BAD_ANSWER, error.reason, error.message), said)
        return Found(said, said, changed)

    def close(self) -> None:
        """Give the directory back (in the disk thread)."""
        if self._mirror is not None:
            self._mirror.close()
            self._mirror = None

    def _known_etag(self) -> str:
        held = self.held
        if held is None or not self.whole:
            return ""
        return self._etag[1] if self._etag[0] == held.manifest.version else held.etag

    async def _take(self, client_id: str, answer: Answer) -> bool:
        """Take an answer's manifest; return whether it is another one. Raises _Failed, Unacceptable, MargodError."""
        manifest = await self._disk.run(lambda: read_manifest(answer.body))
        etag, held = kept_etag(answer.headers.get("etag", "")), self.held
        is_new = held is None or manifest.version > held.manifest.version
        if held is not None and not is_new and not _is_same(manifest, held.manifest):
            is_new = time.monotonic() < self._accepts_until
        if held is not None and not is_new and not _is_same(manifest, held.manifest):
            other = ", with another content" if manifest.version == held.manifest.version else ""
            versions = f"version {manifest.version}{other}; mirrored is {held.manifest.version}"
            raise _Failed(_refused(reasons.MANIFEST_ROLLED_BACK, versions))
        missing = await self._in_mirror(lambda mirror: mirror.missing(manifest))
        fetches = bool(missing)
        if missing and manifest.bundle is not None:
            missing = await self._take_bundle(client_id, manifest)
        for deployment in missing:
            await self._take_one(client_id, deployment)
        if is_new:
            now = self._ground.keeper.wall()
            back = held is not None and manifest.version <= held.manifest.version
            await self._in_mirror(lambda mirror: mirror.take(manifest, etag, now, any_version=back))
            self._accepts_until = 0.0
            if back:
                log.warning("desired-state-accepted", version=manifest.version, security="yes")
            log.info("desired-state", version=manifest.version, deployments=len(manifest.deployments))
        elif fetches:
            await self._in_mirror(lambda mirror: mirror.mended())
        self._etag = (manifest.version, etag)
        return is_new or fetches

    async def _take_bundle(self, client_id: str, manifest: Manifest) -> list[Deployment]:
        """Take the bundle, as far as it can be used; return what is missing then. Raises _Failed, MargodError."""
        assert manifest.bundle is not None
        request, pieces = bundle_request(client_id, manifest.bundle), _Pieces()
        why = _why_not(await self._fetch(request, BUNDLE_SECONDS, pieces), "the bundle")
        if why is None:
            archive = bytes(pieces.data)
            del pieces  # as large as the archive, and not needed twice

            def put(mirror: Mirror) -> str | None:
                try:
                    for _ in unpack(archive, manifest):  # to its end, before anything of it counts
                        pass
                except Unacceptable as error:
                    return str(error)
                for digest, data in unpack(archive, manifest):
                    mirror.put(digest, data)
                return None

            why = await self._in_mirror(put)
            if why is not None:
                say = log.debug if self._refused_bundle == (manifest.version, why) else log.warning
                self._refused_bundle = manifest.version, why
                code = reasons.DEPLOYMENT_MISMATCH.code
                say("bundle-refused", version=manifest.version, code=code, detail=why, security="yes")
        else:
            log.info("bundle-not-given", version=manifest.version, detail=why)
        return await self._in_mirror(lambda mirror: mirror.missing(manifest))

    async def _take_one(self, client_id: str, deployment: Deployment) -> None:
        """Fetch one deployment. Raises _Failed, MargodError."""
        name, digest = deployment.deployment_id, deployment.digest
        request, pieces = deployment_request(client_id, name, digest), _Pieces()
        why = _why_not(await self._fetch(request, FILE_SECONDS, pieces), name)
        if why is not None:
            raise _Failed(_refused(reasons.DEPLOYMENT_NOT_GIVEN, why))
        body = bytes(pieces.data)
        try:
            await self._in_mirror(lambda mirror: mirror.put(digest, body))
        except Unacceptable:
            says = f"{name} is not what its digest in the manifest names"
            raise _Failed(_refused(reasons.DEPLOYMENT_MISMATCH, says)) from None

    async def _fetch(self, request: Request, seconds: float, pieces: _Pieces) -> Answer | TransportFailure:
        """Make a request of the poll under way, if it is still made for the enrolment that it began under."""
        if self._courier.binding != self._for:
            return TransportFailure(reasons.NOT_ENROLLED, "", sent=False)
        return await self._courier.call(request, seconds=seconds, into=pieces)

    async def _in_mirror(self, call: Callable[[Mirror], T]) -> T:
        """Return what `call` makes of the mirror that is polled for, in the disk thread.

        Raises MargodError, also where that is not the present one any more.
        """

        def carry_out() -> T:
            mirror = self._opened(make=True)
            if mirror is None or mirror.binding != self._for:
                raise StateUnusable(reasons.NOT_ENROLLED)
            result = call(mirror)
            _say_damage(mirror)
            return result

        return await self._disk.run(carry_out)

    def _opened(self, *, make: bool = False) -> Mirror | None:
        """Return the mirror of the present enrolment, None if there is none. In the disk thread. Raises MargodError.

        `make`: begin one where there was none; before that nothing is written of what is never asked for.
        """
        binding, vault = self._binding(), self._ground.vault
        if (mirror := self._mirror) is not None and mirror.binding != binding:
            self.close()
            if vault is not None and not vault.wiped and vault.binding != mirror.binding:  # reset, moved, or replaced
                drop_tree(self._ground.directory, DIRECTORY)
        if self._mirror is None and binding and (make or self._directory.exists()):
            self._mirror = Mirror(self._directory, binding)
            _say_damage(self._mirror)
        return self._mirror

    @property
    def _directory(self) -> Path:
        return self._ground.directory / DIRECTORY

    def _binding(self) -> str:
        vault = self._ground.vault
        if vault is None or vault.wiped or self._ground.generation.client_id(vault.records) is None:
            return ""
        return vault.binding


def _say_damage(mirror: Mirror) -> None:
    """Put what was found damaged since into the journal."""
    while mirror.findings:
        log.warning("mirror-damaged", code=reasons.DEPLOYMENT_DAMAGED.code, message=mirror.findings.pop(0))


def polled(result: Answer | TransportFailure, *, asked: str) -> Outcome:
    """Return what an answer to a poll says of this device; ACCEPTED: it is known, and here is what it asked for."""
    if isinstance(result, Answer) and (result.status == 200 or (result.status == 304 and asked)):
        return Outcome(Kind.ACCEPTED, reasons.ENROLLED)
    return classify.refusal(Step.CONFIRM, result)


def is_manifest(answer: Answer) -> bool:
    """Return whether a WFM has said this, whatever is wrong with it, and no proxy or portal with a page of its own."""
    return not {"manifestVersion", "deployments"}.isdisjoint(read_object(answer))


def _refused(reason: Reason, detail: str) -> Outcome:
    return Outcome(Kind.BAD_ANSWER, reason, detail)


def _is_same(one: Manifest, other: Manifest) -> bool:
    """Return whether both want the same. A bundle may be packed anew, and its digest be another one."""
    return one.version == other.version and set(one.deployments) == set(other.deployments)


def _why_not(result: Answer | TransportFailure, what: str) -> str | None:
    """Return why what was asked for was not given; None if it was. Raises _Failed where nothing more is to be asked."""
    if isinstance(result, Answer) and result.status == 200:
        return None
    outcome = classify.refusal(Step.CONFIRM, result)
    if outcome.kind is Kind.BUSY or (isinstance(result, TransportFailure) and not result.sent):
        raise _Failed(replace(outcome, detail=f"{what}: {outcome.detail}"))
    if isinstance(result, TransportFailure):
        return f"{what}: {result.reason.says} {result.detail}".strip()
    return f"{what}: HTTP {result.status} {error_text(result)}".strip()
