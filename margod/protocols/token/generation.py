"""The `token` generation at the protocol boundary: its steps, what it accepts, how its requests are proven.

A request with `Auth.PAYLOAD` is ready after `authenticate`. One with `Auth.BEARER` still lacks its bearer token, which
lives outside (engine/bearer.py): `bearing` puts it on, and only on a request to the WFM's own origin.

Desired state is no request of this generation (gitfetch/).
"""

# ruff: noqa: ARG002 - the boundary is wider than what this generation needs of it

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, assert_never
from urllib.parse import quote

from margod import __version__
from margod.model import reasons
from margod.model.bearer import Grant
from margod.model.capabilities import Capabilities
from margod.model.deployment import DeploymentStatus
from margod.model.outcome import Kind, Outcome, Step
from margod.model.report import Reply
from margod.model.text import clean
from margod.model.wire import Answer, Auth, PayloadSigner, Request, SignedRequest, Signer, TransportFailure
from margod.protocols import CA_ANSWER, Context, LastReport, Part, classify
from margod.protocols.answers import error_text, is_json, page_title, read_object
from margod.protocols.signed import bodies
from margod.protocols.signed.deployment_status import read_status
from margod.protocols.signed.reporting import status_reply
from margod.protocols.token import device as manifests
from margod.protocols.token import payload
from margod.protocols.token.credentials import GitAccess, enrolment, read_access, stored_credentials, unusable
from margod.protocols.token.deployment_status import NOTES, status_request, write_status
from margod.protocols.token.origins import NotUsable, read_place

REPORT: Final = "report.json"
SPEC, UPDATE = "spec", "update"
"""Forms of a report: by what is known here, or by PUT although no report is known to be accepted."""

_MANIFEST_LIMIT: Final = 65_536
"""Characters of the device's own manifest that are kept, to show what has changed since."""
_PLAIN: Final = {"Accept": "application/json", "User-Agent": f"margod/{__version__}"}
_JSON: Final = {**_PLAIN, "Content-Type": "application/json"}


class Token:
    """Requests and outcomes of the drafts of 2024 to mid 2025."""

    name = "token"
    enrols = True
    desired_state = "git"
    children = False
    readable: tuple[str, ...] = ()
    """None: what there is to read at this WFM holds tokens."""

    def forms(self, step: Step) -> tuple[str, ...]:
        """Return the forms a step may take: the drafts have no deviations that are known."""
        return (SPEC, UPDATE) if step is Step.REPORT else (SPEC,)

    def client_id(self, records: Mapping[str, bytes]) -> str | None:
        """Return the stored client id, or None unless its secret is there as well."""
        found = stored_credentials(records)
        return None if found is None else found.client_id

    def report_digest(self, context: Context) -> str:
        """Return the SHA-256 of what a report would say, hexadecimal; what cannot be told stays what it was."""
        known, now = _stored(context.records), context.capabilities
        if now.invalid:
            return known.digest or _digest({"invalid": now.invalid})
        return _digest(manifests.of(now, now.device_id or ""))

    def reported(self, records: Mapping[str, bytes]) -> tuple[str, str]:
        """Return digest and form of the last accepted report."""
        stored = _stored(records)
        return stored.digest, stored.form

    def own_report_is_due(self, context: Context) -> bool:
        """Return whether the WFM has something else of this device than it should."""
        return self.report_digest(context) != self.reported(context.records)[0]

    def report_problem(self, form: str, context: Context) -> str:
        """Return why the report cannot be made; "" if it may be sent."""
        return context.capabilities.invalid or manifests.problem(
            manifests.of(context.capabilities, self._device_id(context))
        )

    def notes(self, context: Context) -> list[str]:
        """Return what this generation cannot say of the device and of deployments, for `margod capabilities`."""
        return [*manifests.notes(context.capabilities), *NOTES]

    def parts(self, context: Context, client_id: str) -> tuple[Part, ...]:
        """Return nothing: this generation knows no devices behind a gateway (`children`)."""
        return ()

    def part_outcome(self, part: Part, result: Answer | TransportFailure) -> Outcome:
        """Say what came of a part, of which there is none."""
        return classify.refusal(Step.REPORT, result)

    def part_wants_other(self, part: Part, result: Answer | TransportFailure) -> bool:
        """Return that it does not."""
        return False

    def part_kept(self, part: Part, context: Context) -> Mapping[str, bytes]:
        """Return nothing."""
        return {}

    def last_report(self, records: Mapping[str, bytes]) -> LastReport:
        """Return the record of the last accepted report."""
        return _stored(records)

    def manifest(self, device: Capabilities, device_id: str) -> Mapping[str, object]:
        """Return the DeviceCapability."""
        return manifests.of(device, device.device_id or device_id)

    def manifest_problem(self, document: object) -> str:
        """Return what is wrong with a DeviceCapability that somebody wrote."""
        return manifests.problem(document)

    def manifest_id(self, document: Mapping[str, object]) -> str:
        """Return properties.id."""
        properties = document["properties"]
        return str(properties["id"]) if isinstance(properties, dict) else ""

    def request(self, step: Step, form: str, context: Context) -> Request:
        """Build the request of a step."""
        match step:
            case Step.FETCH_TRUST | Step.REFRESH_TRUST:
                return Request("GET", "/onboarding/certificate", Auth.NONE, _PLAIN, limit=262_144)
            case Step.ENROL:
                body = bodies.onboarding(context.certificate, "certificate", "der")
                return Request("POST", "/onboarding/", Auth.PAYLOAD, _JSON, body)
            case Step.REPORT:
                return self._report(form, context)
            case Step.CONFIRM:
                return git_request()
            case _:
                assert_never(step)

    def outcome(self, step: Step, form: str, context: Context, result: Answer | TransportFailure) -> Outcome:
        """Say what an answer or failure means."""
        if isinstance(result, Answer):
            records = self._accepted(step, form, context, result)
            if records is not None:
                return Outcome(Kind.ACCEPTED, reasons.ENROLLED, records=records)
        outcome = _refusal(step, result)
        if step is Step.REPORT and form == SPEC and isinstance(result, Answer) and result.status == 409:
            return Outcome(outcome.kind, outcome.reason, outcome.detail, other_form=UPDATE)
        return outcome

    def report_forms(self) -> tuple[str, ...]:
        """Return the one route that there is."""
        return (SPEC,)

    def report_request(self, form: str, context: Context, deployment_id: str, body: bytes) -> Request | None:
        """Build the report of a deployment; None where there is no word for its status (deployment_status.py)."""
        written, _ = write_status(read_status(deployment_id, body))
        # The id that the WFM has: of another one, set since, it is told by the next report of the device.
        known = _stored(context.records).device_id or self._device_id(context)
        return None if written is None else status_request(known, deployment_id, written)

    def report_notes(self, status: DeploymentStatus) -> list[str]:
        """Return what there is no word for in it (deployment_status.py)."""
        return write_status(status)[1]

    def report_reply(self, deployment_id: str, body: bytes, result: Answer | TransportFailure) -> Reply:
        """Say what came of it."""
        reply = status_reply(deployment_id, body, result)
        if isinstance(result, Answer) and reply.outcome.kind is Kind.UNAUTHORIZED and result.status == 401:
            return replace(reply, outcome=_refusal(Step.CONFIRM, result))
        return reply

    def unregistering(self, context: Context, client_id: str) -> None:
        """Return None: the drafts have no route for it."""

    def forwarded(self, method: str, path: str, headers: Mapping[str, str], body: bytes, limit: int) -> Request:
        """Build the request of another program on the device."""
        whole = {**headers, "User-Agent": f"margod/{__version__}"}
        return Request(method, path, Auth.BEARER, whole, body, limit)

    def authenticate(self, request: Request, base: str, signer: Signer, created: int) -> SignedRequest:
        """Make the request absolute; a body gets its `X-Payload-Signature`."""
        headers, bears = dict(request.headers), request.auth is Auth.BEARER
        if request.auth in (Auth.PAYLOAD, Auth.BEARER):
            if request.body:
                assert isinstance(signer, PayloadSigner), "a device that sends a body has its key"
                headers[payload.HEADER] = payload.header(request.body, signer)
        elif request.auth is not Auth.NONE:
            raise AssertionError("a request of another generation")
        return SignedRequest(request.method, base + request.path, headers, request.body, request.limit, bears=bears)

    def _device_id(self, context: Context) -> str:
        client_id = self.client_id(context.records)
        assert client_id is not None, "only asked for once the enrolment record is stored"
        return context.capabilities.device_id or client_id

    def _report(self, form: str, context: Context) -> Request:
        device_id = self._device_id(context)
        known = self.reported(context.records)[0] and _stored(context.records).device_id == device_id
        body = bodies.dump(manifests.of(context.capabilities, device_id))
        method = "PUT" if known or form == UPDATE else "POST"
        return Request(method, f"/device/{quote(device_id, safe='')}/capabilities", Auth.BEARER, _JSON, body)

    def _accepted(self, step: Step, form: str, context: Context, answer: Answer) -> dict[str, bytes] | None:
        """Return the records that this answer leaves if it is an acceptance, else None."""
        if step is Step.ENROL and answer.status in (200, 201):
            return enrolment(answer)
        if step is Step.REPORT and answer.status in (200, 201, 204):
            return self._kept(form, context)
        if step in (Step.FETCH_TRUST, Step.REFRESH_TRUST) and answer.status == 200:
            return {CA_ANSWER: answer.body}
        if step is Step.CONFIRM and (answer.status == 204 or (answer.status == 200 and read_object(answer))):
            return {}  # a token that comes with it is proven by a fetch before it is kept
        return None

    def _kept(self, form: str, context: Context) -> dict[str, bytes]:
        device_id = self._device_id(context)
        manifest = manifests.of(context.capabilities, device_id)
        kept = {
            "digest": self.report_digest(context),
            "form": form,
            "said": context.capabilities.said,
            "id": device_id,
            "manifest": manifest if len(json.dumps(manifest)) <= _MANIFEST_LIMIT else {},
        }
        return {REPORT: json.dumps(kept).encode()}


def git_request() -> Request:
    """Return the request for fresh access to the repository (margod's own route; wire, section 3)."""
    return Request("GET", "/onboarding/git", Auth.BEARER, _PLAIN)


def read_git_answer(answer: Answer) -> GitAccess | None:
    """Return the access that `git_request` was answered with; None where there is no repository (yet).

    The object comes bare or as the member of that name. Raises NotUsable for anything else that is a success.
    """
    if answer.status == 204:
        return None
    body = read_object(answer)
    for name in ("gitRepository", "git_repository"):
        if name in body:
            return read_access(body[name])
    if not body:
        raise NotUsable("the answer is not a JSON object")
    return read_access(body)


def bearing(request: SignedRequest, grant: Grant, base: str) -> SignedRequest:
    """Return the request with the bearer token on it (RFC 6750, 2.1). `base`: the WFM's root URL, which it is for."""
    assert read_place(request.url, query=True).origin == read_place(base).origin, "a token goes to no other origin"
    headers = {**request.headers, "Authorization": f"Bearer {grant.value}"}
    return SignedRequest(request.method, request.url, headers, request.body, request.limit)


def _unsaid(step: Step, answer: Answer) -> Answer:
    """Return an answer that is no acceptance, without the text of one that was to bring secrets: it may hold them."""
    brings = step in (Step.ENROL, Step.CONFIRM) and 200 <= answer.status < 300
    return replace(answer, body=b"") if brings and not _page(answer) else answer


def _page(answer: Answer) -> str:
    """Return the title of a page that came where secrets were to come; a title in JSON may be anything."""
    return "" if is_json(answer) else page_title(answer)


def _refusal(step: Step, result: Answer | TransportFailure) -> Outcome:
    """Return what a refusal means here: no clock has a part in a proof, and a success may hold a secret."""
    if not isinstance(result, Answer):
        return classify.refusal(step, result)
    outcome = classify.refusal(step, _unsaid(step, result))
    said = f"HTTP {result.status}"
    if outcome.reason is reasons.ANSWER_INVALID and step in (Step.ENROL, Step.CONFIRM):
        reason, why = unusable(result) if step is Step.ENROL else (reasons.ANSWER_UNEXPECTED, _page(result))
        return replace(outcome, reason=reason, detail=clean(f"{said}: {why}" if why else said))
    if step is Step.CONFIRM and result.status == 400 and outcome.kind is Kind.UNAUTHORIZED:
        outcome = replace(outcome, kind=Kind.BAD_ANSWER, reason=reasons.ANSWER_UNEXPECTED)  # no word on a signature
    if outcome.kind is Kind.UNAUTHORIZED:
        reason = outcome.reason
        if result.status == 401:
            reason = reasons.PAYLOAD_SIGNATURE_REFUSED if step is Step.ENROL else reasons.BEARER_TOKEN_REFUSED
        text = error_text(result)
        return replace(outcome, reason=reason, detail=clean(f"{said}: {text}" if text else said), by_clock=False)
    if step is Step.CONFIRM and outcome.kind is Kind.WRONG_ADDRESS:  # margod's own route: a WFM may well lack it
        return replace(outcome, reason=reasons.NO_CONFIRM_ROUTE)
    return outcome


def _digest(document: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _stored(records: Mapping[str, bytes]) -> LastReport:
    """Return the record of the last accepted report, empty where there is none that can be read."""
    try:
        value = json.loads(records.get(REPORT, b"{}"))
    except (ValueError, RecursionError):
        return LastReport()
    if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in ("digest", "form")):
        return LastReport()
    manifest, digest = value.get("manifest"), value["digest"]
    return LastReport(
        digest=digest,
        form=value["form"],
        said=str(value.get("said", "")),
        device_id=str(value.get("id", "")),
        own=digest,
        manifest=manifest if isinstance(manifest, dict) else {},
        wanted=digest,
    )
