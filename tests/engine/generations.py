"""Two throw-away generations, one like `token` and one like `mtls`, that prove the engine's vocabulary neutral."""

from __future__ import annotations

import json
from collections.abc import Mapping

from margod.model import reasons
from margod.model.capabilities import Capabilities
from margod.model.deployment import DeploymentStatus
from margod.model.outcome import Kind, Outcome, Step
from margod.model.report import About, Reply
from margod.model.wire import Answer, Auth, Request, SignedRequest, Signer, TransportFailure
from margod.protocols import Context, LastReport, Part, classify
from margod.protocols.answers import read_object


class TokenLike:
    """Enrols into an id, a secret and Git access, which it keeps in two records of its own; has one form only."""

    name = "token-like"
    enrols = True
    desired_state = "git"
    children = False
    readable: tuple[str, ...] = ()

    def forms(self, step: Step) -> tuple[str, ...]:
        """Return the one form."""
        return ("only",)

    def client_id(self, records: Mapping[str, bytes]) -> str | None:
        """Return the id if its secret is there as well."""
        return records["token.id"].decode() if "token.id" in records and "token.secret" in records else None

    def report_digest(self, context: Context) -> str:
        """Return a digest of the device's serial number."""
        return f"digest-{context.capabilities.serial_number}"

    def reported(self, records: Mapping[str, bytes]) -> tuple[str, str]:
        """Return what was stored."""
        return (records["report.json"].decode(), "only") if "report.json" in records else ("", "")

    def request(self, step: Step, form: str, context: Context) -> Request:
        """Build a request on the routes of that generation."""
        path = {Step.ENROL: "/onboarding/", Step.REPORT: "/device/d/capabilities"}.get(step, "/onboarding/certificate")
        return Request("POST", path, Auth.NONE, {}, b"{}")

    def outcome(self, step: Step, form: str, context: Context, result: Answer | TransportFailure) -> Outcome:
        """Take id and secret from an acceptance."""
        if isinstance(result, Answer) and result.status in (200, 201):
            return Outcome(Kind.ACCEPTED, reasons.ENROLLED, records=self._records(step, context, read_object(result)))
        return classify.refusal(step, result)

    def own_report_is_due(self, context: Context) -> bool:
        """Return whether the report is another one."""
        return self.report_digest(context) != self.reported(context.records)[0]

    def report_problem(self, form: str, context: Context) -> str:
        """Return what the device says of itself."""
        return context.capabilities.invalid

    def parts(self, context: Context, client_id: str) -> tuple[Part, ...]:
        """Return nothing: it knows of no devices behind another."""
        return ()

    def part_outcome(self, part: Part, result: Answer | TransportFailure) -> Outcome:
        """Say what came of a part that there is not."""
        return classify.refusal(Step.REPORT, result)

    def part_wants_other(self, part: Part, result: Answer | TransportFailure) -> bool:
        """Return whether it is to be said in another way."""
        return False

    def part_kept(self, part: Part, context: Context) -> dict[str, bytes]:
        """Return nothing to keep."""
        return {}

    def last_report(self, records: Mapping[str, bytes]) -> LastReport:
        """Return digest and form."""
        return LastReport(*self.reported(records))

    def manifest(self, device: Capabilities, device_id: str) -> dict[str, object]:
        """Return something of it."""
        return {"id": device.device_id or device_id}

    def manifest_problem(self, document: object) -> str:
        """Return that there is nothing wrong."""
        return ""

    def manifest_id(self, document: Mapping[str, object]) -> str:
        """Return the id."""
        return str(document["id"])

    def report_forms(self) -> tuple[str, ...]:
        """Return the one form."""
        return ("only",)

    def report_request(self, form: str, context: Context, deployment_id: str, body: bytes) -> Request:
        """Return a request."""
        return Request("POST", f"/{deployment_id}", Auth.NONE, body=body)

    def report_notes(self, status: DeploymentStatus) -> list[str]:
        """Return nothing."""
        return []

    def notes(self, context: Context) -> list[str]:
        """Return nothing."""
        return []

    def report_reply(self, deployment_id: str, body: bytes, result: Answer | TransportFailure) -> Reply:
        """Take everything for acceptance."""
        return Reply(About.TAKEN, Outcome(Kind.ACCEPTED, reasons.ENROLLED))

    def unregistering(self, context: Context, client_id: str) -> None:
        """There is no way."""

    def forwarded(self, method: str, path: str, headers: Mapping[str, str], body: bytes, limit: int) -> Request:
        """Send what another program asks for as it is."""
        return Request(method, path, Auth.NONE, headers, body, limit)

    def authenticate(self, request: Request, base: str, signer: Signer, created: int) -> SignedRequest:
        """Send it as it is."""
        return SignedRequest(request.method, base + request.path, request.headers, request.body, request.limit)

    def _records(self, step: Step, context: Context, body: dict[str, object]) -> dict[str, bytes]:
        if step is Step.ENROL:
            access = json.dumps(body["gitRepository"]).encode()
            return {"token.id": b"id", "token.secret": str(body["clientSecret"]).encode(), "token.git": access}
        return {"report.json": self.report_digest(context).encode()} if step is Step.REPORT else {}


class MtlsLike(TokenLike):
    """Has no enrolment request: the operator installed an SVID, and the first accepted report proves it."""

    name = "mtls-like"
    enrols = False
    desired_state = "manifest"

    def client_id(self, records: Mapping[str, bytes]) -> str | None:
        """Return nothing: the id is in the certificate."""
        return None
