"""One poll: ask for the manifest, fetch what it names and is not here, see that all is what it says, and keep it.

Bundle first, single files where there is none or it cannot be used. What was mirrored before stays until the new one
is complete; what was fetched of one that was not is kept for the next poll.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import structlog

from margod.deployments.bundle import unpack
from margod.deployments.mirror import Mirror
from margod.model import reasons
from margod.model.errors import MargodError
from margod.model.outcome import Kind, Outcome, Step
from margod.model.wire import Answer, Request, TransportFailure
from margod.protocols import Context, classify
from margod.protocols.answers import error_text, read_object
from margod.protocols.signed.desired import bundle_request, deployment_request, kept_etag, manifest_request
from margod.protocols.signed.manifest import Deployment, Manifest, Unacceptable, read_manifest
from margod.shell.courier import Courier
from margod.shell.disk import Disk
from margod.shell.ground import Ground
from margod.shell.mirrored import Failed, Found, Mirrored, refused

log: Final = structlog.get_logger()

BUNDLE_SECONDS: Final = 600.0
FILE_SECONDS: Final = 120.0
"""Seconds for a bundle and for one deployment, as long as something comes: a slow link takes its time."""


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


class Mirroring(Mirrored):
    """The mirror, brought up to date by the manifests of a WFM."""

    def __init__(self, courier: Courier, disk: Disk, ground: Ground) -> None:
        """Keep the mirror in the state directory of `ground`."""
        super().__init__(courier, disk, ground)
        self._etag: tuple[int, str] = (0, "")
        """The ETag that came with the manifest of a version, where it is another one than that which is kept."""
        self._refused_bundle: tuple[int, str] = (0, "")
        """The version and what was wrong with its bundle, as it was said."""

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
        except Failed as failed:
            by_what_it_gave = failed.outcome.kind is Kind.BAD_ANSWER
            return Found(failed.outcome, said if by_what_it_gave else failed.outcome)
        except Unacceptable as error:
            by_a_wfm = await self._disk.run(lambda: is_manifest(result))
            return Found(refused(reasons.MANIFEST_INVALID, str(error)), said if by_a_wfm else None)
        except MargodError as error:
            return Found(Outcome(Kind.BAD_ANSWER, error.reason, error.message), said)
        return Found(said, said, changed)

    def _known_etag(self) -> str:
        held = self.held
        if held is None or not self.whole:
            return ""
        return self._etag[1] if self._etag[0] == held.manifest.version else held.etag

    async def _take(self, client_id: str, answer: Answer) -> bool:
        """Take an answer's manifest; return whether it is another one. Raises Failed, Unacceptable, MargodError."""
        manifest = await self._disk.run(lambda: read_manifest(answer.body))
        etag, held = kept_etag(answer.headers.get("etag", "")), self.held
        is_new = held is None or manifest.version > held.manifest.version
        if held is not None and not is_new and not _is_same(manifest, held.manifest):
            is_new = self._accepts()
        if held is not None and not is_new and not _is_same(manifest, held.manifest):
            other = ", with another content" if manifest.version == held.manifest.version else ""
            versions = f"version {manifest.version}{other}; mirrored is {held.manifest.version}"
            raise Failed(refused(reasons.MANIFEST_ROLLED_BACK, versions))
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
        """Take the bundle, as far as it can be used; return what is missing then. Raises Failed, MargodError."""
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
        """Fetch one deployment. Raises Failed, MargodError."""
        name, digest = deployment.deployment_id, deployment.digest
        request, pieces = deployment_request(client_id, name, digest), _Pieces()
        why = _why_not(await self._fetch(request, FILE_SECONDS, pieces), name)
        if why is not None:
            raise Failed(refused(reasons.DEPLOYMENT_NOT_GIVEN, why))
        body = bytes(pieces.data)
        try:
            await self._in_mirror(lambda mirror: mirror.put(digest, body))
        except Unacceptable:
            says = f"{name} is not what its digest in the manifest names"
            raise Failed(refused(reasons.DEPLOYMENT_MISMATCH, says)) from None

    async def _fetch(self, request: Request, seconds: float, pieces: _Pieces) -> Answer | TransportFailure:
        """Make a request of the poll under way, if it is still made for the enrolment that it began under."""
        if self._courier.binding != self._for:
            return TransportFailure(reasons.NOT_ENROLLED, "", sent=False)
        return await self._courier.call(request, seconds=seconds, into=pieces)


def polled(result: Answer | TransportFailure, *, asked: str) -> Outcome:
    """Return what an answer to a poll says of this device; ACCEPTED: it is known, and here is what it asked for."""
    if isinstance(result, Answer) and (result.status == 200 or (result.status == 304 and asked)):
        return Outcome(Kind.ACCEPTED, reasons.ENROLLED)
    return classify.refusal(Step.CONFIRM, result)


def is_manifest(answer: Answer) -> bool:
    """Return whether a WFM has said this, whatever is wrong with it, and no proxy or portal with a page of its own."""
    return not {"manifestVersion", "deployments"}.isdisjoint(read_object(answer))


def _is_same(one: Manifest, other: Manifest) -> bool:
    """Return whether both want the same. A bundle may be packed anew, and its digest be another one."""
    return one.version == other.version and set(one.deployments) == set(other.deployments)


def _why_not(result: Answer | TransportFailure, what: str) -> str | None:
    """Return why what was asked for was not given; None if it was. Raises Failed where nothing more is to be asked."""
    if isinstance(result, Answer) and result.status == 200:
        return None
    outcome = classify.refusal(Step.CONFIRM, result)
    if outcome.kind is Kind.BUSY or (isinstance(result, TransportFailure) and not result.sent):
        raise Failed(replace(outcome, detail=f"{what}: {outcome.detail}"))
    if isinstance(result, TransportFailure):
        return f"{what}: {result.reason.says} {result.detail}".strip()
    return f"{what}: HTTP {result.status} {error_text(result)}".strip()
