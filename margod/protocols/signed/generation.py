"""The `signed` generation at the protocol boundary: its steps, its dialect forms, what it accepts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, assert_never
from urllib.parse import quote

from margod import __version__
from margod.model import reasons
from margod.model.capabilities import Capabilities
from margod.model.deployment import DeploymentStatus
from margod.model.outcome import Kind, Outcome, Step
from margod.model.report import Reply
from margod.model.wire import Answer, Auth, Request, SignedRequest, Signer, TransportFailure
from margod.protocols import CA_ANSWER, ENROLMENT, Context, LastReport, Part, Unregistering, classify
from margod.protocols.answers import CLIENT_ID, error_text, read_client_id, read_object
from margod.protocols.signed import bodies, capabilities, device_manifest, signature
from margod.protocols.signed.desired import manifest_request
from margod.protocols.signed.forwarding import READABLE, forwarded
from margod.protocols.signed.reporting import FORMS, status_reply, status_request
from margod.protocols.signed.unregister import is_unregistered, unregister_request

REPORT: Final = capabilities.REPORT

DEVICE_ROUTE, CLIENT_ROUTE = "device", "client"
UPDATE: Final = "-update"
"""Behind a route: report by PUT although no report is known to be accepted; the WFM says 409 where it knows one."""
_PLAIN: Final = {"Accept": "application/json", "User-Agent": f"margod/{__version__}"}
_JSON: Final = {**_PLAIN, "Content-Type": "application/json"}
_FORMS: Final = (
    ("certificate", "der"),
    ("certificate", "pem"),
    ("public_certificate", "pem"),
    ("public_certificate", "der"),
)
_ABOUT_THE_CERTIFICATE: Final = re.compile(
    r"expired|not.?yet.?valid|validity|revoked|too (weak|short|small)|key.?(size|length)|\brsa\b|curve|subject",
    re.IGNORECASE,
)
_ABOUT_THE_FORM: Final = re.compile(r"public_certificate|required|missing|field", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The owner's knobs: `auto`, or one of the values that the deviations of real servers gave rise to."""

    mode: str = "auto"
    certificate_field: str = "auto"
    certificate_encoding: str = "auto"
    capabilities_route: str = "auto"


class Signed:
    """Requests and outcomes of 1.0.0-rc.1 and rc.2."""

    name = "signed"
    enrols = True
    desired_state = "manifest"
    children = True
    readable = READABLE

    def __init__(self, dialect: Dialect, signed_as: signature.SignedAs = signature.AS_SENT) -> None:
        """Take the knobs; a knob that is set by hand is the only form there is."""
        self._dialect = dialect
        self._signed_as = signed_as

    def forms(self, step: Step) -> tuple[str, ...]:
        """Return the forms a step may take; `spec` and knobs set by hand leave less to choose from."""
        knobs = self._dialect
        if step is Step.ENROL:
            field, encoding = knobs.certificate_field, knobs.certificate_encoding
            found = [f"{f}-{e}" for f, e in _FORMS if field in ("auto", f) and encoding in ("auto", e)]
            if field == "auto" and encoding == "auto":
                found.remove("public_certificate-der")
        elif step is Step.REPORT:
            routes = [r for r in (DEVICE_ROUTE, CLIENT_ROUTE) if knobs.capabilities_route in ("auto", r)]
            routes = routes[:1] if knobs.mode == "spec" else routes
            return (*routes, *(route + UPDATE for route in routes))
        else:
            found = ["spec"]
        return tuple(found[:1] if knobs.mode == "spec" else found)

    def client_id(self, records: Mapping[str, bytes]) -> str | None:
        """Return the stored client id, or None if there is no valid record of one."""
        value = _stored(records, ENROLMENT).get("clientId")
        return value if isinstance(value, str) and CLIENT_ID.fullmatch(value) else None

    def report_digest(self, context: Context) -> str:
        """Return the SHA-256 of what the WFM should know of this device and those behind it, hexadecimal."""
        return capabilities.digest(context)

    def reported(self, records: Mapping[str, bytes]) -> tuple[str, str]:
        """Return digest and form of the last accepted report."""
        known = capabilities.read(records)
        return known.digest, known.form

    def own_report_is_due(self, context: Context) -> bool:
        """Return whether the device's own manifest is another one than the WFM has."""
        return capabilities.is_due(context)

    def report_problem(self, form: str, context: Context) -> str:
        """Return what keeps the device's own manifest from being sent."""
        device = context.capabilities
        return device.invalid or device_manifest.problem(device_manifest.of(device, self._device_id(form, context)))

    def parts(self, context: Context, client_id: str) -> tuple[Part, ...]:
        """Return the requests about the devices behind this one."""
        return capabilities.parts(client_id, context)

    def part_outcome(self, part: Part, result: Answer | TransportFailure) -> Outcome:
        """Say what came of one of them."""
        return capabilities.outcome(part, result)

    def part_wants_other(self, part: Part, result: Answer | TransportFailure) -> bool:
        """Return whether PUT is asked for in place of POST, or POST of PUT."""
        return capabilities.wants_other(part, result)

    def part_kept(self, part: Part, context: Context) -> Mapping[str, bytes]:
        """Return the record of the report with this part in it."""
        return capabilities.kept(part, context)

    def last_report(self, records: Mapping[str, bytes]) -> LastReport:
        """Return the record of the last accepted report."""
        return capabilities.read(records)

    def manifest(self, device: Capabilities, device_id: str) -> Mapping[str, object]:
        """Return the DeviceCapabilitiesManifest."""
        return device_manifest.of(device, device.device_id or device_id)

    def manifest_problem(self, document: object) -> str:
        """Return what breaks the schema of DeviceCapabilitiesManifest."""
        return device_manifest.problem(document)

    def manifest_id(self, document: Mapping[str, object]) -> str:
        """Return properties.id."""
        return device_manifest.identifier(document)

    def request(self, step: Step, form: str, context: Context) -> Request:
        """Build the request of a step in one of its forms."""
        match step:
            case Step.FETCH_TRUST | Step.REFRESH_TRUST:
                return Request("GET", "/api/v1/onboarding/certificate", Auth.NONE, _PLAIN, limit=262_144)
            case Step.ENROL:
                field, _, encoding = form.partition("-")
                body = bodies.onboarding(context.certificate, field, encoding)
                return Request("POST", "/api/v1/onboarding", Auth.SIGNATURE, _JSON, body)
            case Step.REPORT:
                return self._report(form, context)
            case Step.CONFIRM:
                return manifest_request(self._id(context))
            case _:
                assert_never(step)

    def outcome(self, step: Step, form: str, context: Context, result: Answer | TransportFailure) -> Outcome:
        """Say what an answer or failure means."""
        if isinstance(result, Answer):
            records = self._accepted(step, form, context, result)
            if records is not None:
                return Outcome(Kind.ACCEPTED, reasons.ENROLLED, records=records)
        outcome = classify.refusal(step, result)
        if isinstance(result, Answer):
            return replace(outcome, other_form=self._other_form(step, form, result))
        return outcome

    def report_forms(self) -> tuple[str, ...]:
        """Return the specification's route, and that of earlier servers."""
        return FORMS[:1] if self._dialect.mode == "spec" else FORMS

    def report_request(self, form: str, context: Context, deployment_id: str, body: bytes) -> Request:
        """Build the report of a deployment."""
        return status_request(self._id(context), deployment_id, form, body)

    def report_notes(self, status: DeploymentStatus) -> list[str]:  # noqa: ARG002 - the boundary's
        """Return nothing: the outbox speaks this generation's words."""
        return []

    def notes(self, context: Context) -> list[str]:  # noqa: ARG002 - the boundary's
        """Return nothing: what margod knows is said in this generation's terms."""
        return []

    def report_reply(self, deployment_id: str, body: bytes, result: Answer | TransportFailure) -> Reply:
        """Say what came of it."""
        return status_reply(deployment_id, body, result)

    def unregistering(self, context: Context, client_id: str) -> Unregistering:
        """Return the DELETE of the device, by the route on which it was reported."""
        by_client = self.reported(context.records)[1].startswith(CLIENT_ROUTE)
        named = context.capabilities.device_id or self.last_report(context.records).device_id
        device = client_id if by_client else named or client_id
        return Unregistering(device, unregister_request(client_id, device), is_unregistered)

    def forwarded(self, method: str, path: str, headers: Mapping[str, str], body: bytes, limit: int) -> Request:
        """Build the request of another program."""
        return forwarded(method, path, headers, body, limit)

    def authenticate(self, request: Request, base: str, signer: Signer, created: int) -> SignedRequest:
        """Make the request ready for the wire."""
        match request.auth:
            case Auth.NONE:
                return signature.unsigned(request, base)
            case Auth.SIGNATURE:
                return signature.sign(request, base, signer, created, self._signed_as)
            case Auth.PAYLOAD | Auth.BEARER:
                raise AssertionError("a request of another generation")
            case _:
                assert_never(request.auth)

    def _id(self, context: Context) -> str:
        client_id = self.client_id(context.records)
        assert client_id is not None, "only asked for once the enrolment record is stored"
        return client_id

    def _report(self, form: str, context: Context) -> Request:
        client_id = self._id(context)
        device_id = self._device_id(form, context)
        route = f"/api/v1/clients/{quote(client_id, safe='')}/capabilities"
        if form.removesuffix(UPDATE) == DEVICE_ROUTE:
            route = capabilities.route(client_id, device_id)
        known = capabilities.read(context.records)
        is_known = known.digest and known.device_id in ("", device_id)
        method = "PUT" if is_known or form.endswith(UPDATE) else "POST"
        body = bodies.dump(device_manifest.of(context.capabilities, device_id))
        return Request(method, route, Auth.SIGNATURE, _JSON, body)

    def _device_id(self, form: str, context: Context) -> str:
        own = context.capabilities.device_id
        return own if own and form.removesuffix(UPDATE) == DEVICE_ROUTE else self._id(context)

    def _accepted(self, step: Step, form: str, context: Context, answer: Answer) -> dict[str, bytes] | None:
        """Return the records that this answer leaves if it is an acceptance, else None."""
        if step is Step.ENROL and answer.status in (200, 201):
            client_id = read_client_id(answer)
            return None if client_id is None else {ENROLMENT: json.dumps({"clientId": client_id}).encode()}
        if step is Step.REPORT and answer.status in (200, 201, 204):
            return capabilities.accepted(form, context, self._device_id(form, context))
        if step in (Step.FETCH_TRUST, Step.REFRESH_TRUST) and answer.status == 200:
            return {CA_ANSWER: answer.body}
        if step is Step.CONFIRM and (answer.status == 304 or (answer.status == 200 and _is_manifest(answer))):
            return {}
        return None

    def _other_form(self, step: Step, form: str, answer: Answer) -> str | None:
        """Return the older form that this refusal asks for, if it looks like one of the known deviations."""
        forms, said = self.forms(step), error_text(answer)
        later = forms[forms.index(form) + 1 :] if form in forms else ()
        if not later:
            return None
        if step is Step.REPORT:
            wanted = form + UPDATE if answer.status == 409 else CLIENT_ROUTE if answer.status in (400, 404, 405) else ""
            return wanted if wanted in later else None
        if step is not Step.ENROL or answer.status not in (400, 415, 422):
            return None
        if "public_certificate" in said:
            return next((other for other in later if other.startswith("public_certificate")), None)
        if answer.status == 422:
            return later[0] if _ABOUT_THE_FORM.search(said) else None
        return None if _ABOUT_THE_CERTIFICATE.search(said) else later[0]


def _is_manifest(answer: Answer) -> bool:
    return not {"manifestVersion", "deployments"}.isdisjoint(read_object(answer))


def _stored(records: Mapping[str, bytes], name: str) -> dict[str, object]:
    try:
        value = json.loads(records.get(name, b"{}"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
