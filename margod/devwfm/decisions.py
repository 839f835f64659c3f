"""What the development WFM decides about one request: verification, approval, the record. No HTTP library here.

`Wfm.decide` takes a request as it came over the wire and returns a `Decision`; what it changes is committed by then.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import ssl
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from margod.devwfm import certificates
from margod.devwfm.desired import MANIFEST, Desired
from margod.devwfm.dialects import Dialect
from margod.devwfm.keys import PublicKey
from margod.devwfm.registry import Client, Registry
from margod.devwfm.schema import SchemaError, check_capabilities, check_status
from margod.devwfm.statuses import BACK
from margod.devwfm.verifier import DigestRefused, Message, Refused, field_value, verify
from margod.model.capabilities import DEVICE_ID

PENDING: Final = (202, 403)

_DEPLOYMENTS: Final = re.compile(r"/api/v1/clients/([^/]+)/deployments")
_STATUS: Final = re.compile(r"/api/v1/clients/([^/]+)/(deployments?)/([^/]+)/status")
_DEPLOYMENT: Final = re.compile(r"/api/v1/clients/([^/]+)/deployments/([^/]+)/(sha256:[^/]+)")
_BUNDLE: Final = re.compile(r"/api/v1/clients/([^/]+)/bundles/([^/]+)")
_DESIRED: Final = frozenset({"deployments", "deployment", "bundle"})
_CAPABILITIES: Final = re.compile(r"/api/v1/clients/([^/]+)/capabilities(?:/(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes: `certificate`, `onboarding`, `capabilities`, `status`, `deployments` and what it names.

    And `other`. `device_id` is raw, as are `deployment_id` and `digest` of what a manifest names. `segment` is what
    stands before a deployment's id in a report: `deployments`, or `deployment` on earlier servers.
    """

    name: str
    client_id: str = ""
    device_id: str | None = None
    deployment_id: str = ""
    segment: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer: `document` None for none. `verdict` is for the record and the person who watches."""

    status: int
    verdict: str
    document: Mapping[str, object] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str | None = None
    client_id: str | None = None
    content_type: str = "application/json"
    says_null: bool = False
    """Without a document: the body is `null`."""
    body: bytes | None = None
    """What is sent instead of a document."""


class _Denied(Exception):
    """A request ends here: the status of the specification and what is said."""

    def __init__(self, status: int, says: str) -> None:
        super().__init__(says)
        self.status = status


def route_of(prefix: str, target: str) -> Route:
    """Match the raw request target against the routes under `prefix`; nothing is normalised."""
    path = target.partition("?")[0]
    if not path.startswith(prefix):
        return Route("other")
    path = path[len(prefix) :]
    if path == "/api/v1/onboarding/certificate":
        return Route("certificate")
    if path == "/api/v1/onboarding":
        return Route("onboarding")
    if match := _CAPABILITIES.fullmatch(path):
        return Route("capabilities", unquote(match.group(1)), match.group(2))
    if match := _DEPLOYMENTS.fullmatch(path):
        return Route("deployments", unquote(match.group(1)))
    if match := _STATUS.fullmatch(path):
        client_id, segment, deployment_id = match.groups()
        return Route("status", unquote(client_id), None, unquote(deployment_id), segment)
    if match := _DEPLOYMENT.fullmatch(path):
        return Route("deployment", unquote(match[1]), deployment_id=match[2], digest=match[3])
    if match := _BUNDLE.fullmatch(path):
        return Route("bundle", unquote(match[1]), digest=match[2])
    return Route("other")


class Wfm:
    """The WFM's mind: its registry, its dialect and how it approves."""

    def __init__(
        self,
        registry: Registry,
        roots: Callable[[], Sequence[bytes]],
        dialect: Dialect,
        *,
        approval: str,
        pending: int,
        retry_after: int,
    ) -> None:
        """`roots` gives the CAs for download, DER; `retry_after` is said with 202, in seconds."""
        self._registry = registry
        self.desired = Desired(registry)
        self._roots = roots
        self._dialect = dialect
        self._approval = approval
        self._pending = pending
        self._retry_after = retry_after

    def decide(self, route: Route, message: Message, body: bytes, now: float) -> Decision:
        """Decide about one request. `now` is Unix seconds. Never raises for anything that a device can send."""
        methods = self._methods(route)
        try:
            if not methods:
                return Decision(404, "no such route", self._says("no such route"))
            if message.method not in methods:
                return Decision(
                    405, "method not allowed", self._says("method not allowed"), {"Allow": ", ".join(methods)}
                )
            if route.name == "certificate":
                return Decision(200, "root CA given", {"certificate": self._ca_text()})
            if route.name == "onboarding":
                return self._onboard(message, body, now)
            if route.name == "status":
                return self._status(route, message, body, now)
            if route.name in _DESIRED:
                return self._desired_state(route, message, body, now)
            return self._capabilities(route, message, body, now)
        except _Denied as denied:
            status = denied.status
            if self._dialect.plain_errors and status in {401, 404, 422} and route.name not in {"deployment", "bundle"}:
                status = 400
            return Decision(status, str(denied), self._says(str(denied)), client_id=route.client_id or None)

    # Onboarding

    def _onboard(self, message: Message, body: bytes, now: float) -> Decision:
        text = self._certificate_text(_json_object(body))
        if not self._dialect.checks_certificate:
            return self._accept_anything(text)
        try:
            certificate = certificates.decode(text, encodings=self._dialect.encodings)
            key = certificates.public_key(certificate.der)
            if self._dialect.onboarding_is_signed:
                self._verify(message, body, key, now)
            certificates.check(certificate.der, now)
        except certificates.CertificateInvalid as error:
            raise _Denied(400, str(error)) from None
        except certificates.CertificateUnacceptable as error:
            raise _Denied(422, str(error)) from None
        client = self._registry.by_identity(certificate.fingerprint)
        if client is None:
            state = {"auto": "approved", "manual": "pending", "deny": "rejected"}[self._approval]
            client = self._registry.add(
                certificate.fingerprint, certificate.fingerprint, certificate.der, certificate.subject, state
            )
        return self._judge(client)

    def _judge(self, client: Client) -> Decision:
        fingerprint = client.fingerprint
        if client.state == "rejected":
            return Decision(403, "rejected", self._says("client rejected"), fingerprint=fingerprint)
        if client.state == "onboarded":
            says = "this certificate was onboarded before"
            return Decision(409, says, self._says(says), fingerprint=fingerprint)
        if client.state == "pending" and self._approval != "auto":
            if self._pending == 202:
                waits = {"Retry-After": str(self._retry_after)}
                return Decision(202, "waits for approval", {"status": "pending"}, waits, fingerprint)
            return Decision(403, "waits for approval", self._says("client not approved"), fingerprint=fingerprint)
        return self._accept(client)

    def _accept(self, client: Client) -> Decision:
        client_id = str(uuid.uuid4())
        if self._dialect.plain_errors:
            client_id = f"client-{uuid.uuid4().hex[:8]}-{int(time.time())}"
        self._registry.onboard(client, client_id)
        document: dict[str, object] = {"clientId": client_id}
        if self._dialect.old_names:
            document = {"client_id": client_id, "endpoint_list": []}
        return Decision(201, "onboarded", document, fingerprint=client.fingerprint, client_id=client_id)

    def _accept_anything(self, text: str) -> Decision:
        identity = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        client = self._registry.by_identity(identity)
        if client is None:
            try:
                parsed = certificates.decode(text)
                fingerprint, der, subject = parsed.fingerprint, parsed.der, parsed.subject
            except certificates.CertificateInvalid:
                fingerprint, der, subject = identity, None, "(not a certificate)"
            client = self._registry.add(identity, fingerprint, der, subject, "approved")
        return self._judge(client)

    def _certificate_text(self, document: dict[str, object]) -> str:
        name = "public_certificate" if self._dialect.old_names else "certificate"
        if not self._dialect.plain_errors:
            if not isinstance(document.get("apiVersion"), str):
                raise _Denied(400, "apiVersion is missing")
            if document.get("kind") != "OnboardingRequest":
                raise _Denied(400, "kind is not OnboardingRequest")
        text = document.get(name)
        if not isinstance(text, str) or not text:
            raise _Denied(400, f"{name} is missing")
        return text

    # Capabilities

    def _capabilities(self, route: Route, message: Message, body: bytes, now: float) -> Decision:
        client = self._client(route, message, body, now)
        device_id = route.client_id if route.device_id is None else route.device_id
        if not DEVICE_ID.fullmatch(device_id):
            raise _Denied(400, "the device id in the path breaks the grammar")
        if message.method == "DELETE":
            if not self._registry.unregister(route.client_id, device_id):
                raise _Denied(404, "no such device")
            return Decision(204, f"{device_id} unregistered", None, {}, client.fingerprint, route.client_id)
        document = _json_object(body)
        try:
            check_capabilities(document)
        except SchemaError as error:
            raise _Denied(422, str(error)) from None
        properties = document["properties"]
        if not isinstance(properties, dict) or properties.get("id") != device_id:
            raise _Denied(
                422, f"properties.id: not {'the device id in the path' if route.device_id else 'the client id'}"
            )
        parent = device_id.rpartition("/")[0]
        if parent and not self._registry.knows_device(route.client_id, parent):
            raise _Denied(404, f"the gateway {parent} is not known")
        self._registry.report(route.client_id, device_id, json.dumps(document))
        return Decision(201, f"{device_id} reported", None, {}, client.fingerprint, route.client_id)

    def _status(self, route: Route, message: Message, body: bytes, now: float) -> Decision:
        """Take a report of any deployment: what an agent runs is its own affair here."""
        client = self._client(route, message, body, now)
        document = _json_object(body)
        try:
            check_status(document)
        except SchemaError as error:
            raise _Denied(422, str(error)) from None
        if document["deploymentId"] != route.deployment_id:
            raise _Denied(422, "deploymentId: not the one in the path")
        status = document["status"]
        assert isinstance(status, dict), "checked above"
        state = str(status["state"])
        came = self._registry.statuses.take(route.client_id, route.deployment_id, state, document)
        says = f"{route.deployment_id} is {state}" + (" (went back)" if came == BACK else "")
        accepted = self._dialect.status_accepted
        null = accepted == 201
        return Decision(accepted, says, None, {}, client.fingerprint, client.client_id, says_null=null)

    # Desired state

    def _desired_state(self, route: Route, message: Message, body: bytes, now: float) -> Decision:
        """Give the manifest, one deployment or the bundle (wire, section 1.4)."""
        client = self._client(route, message, body, now)
        hides = self._dialect.exact_accept
        match route.name:
            case "deployments" if hides and field_value(message, "accept") != MANIFEST:
                says = f"Accept is not {MANIFEST}"
                return Decision(500, says, self._says("internal error"), client_id=client.client_id)
            case "deployments":
                given = self.desired.manifest(route.client_id, field_value(message, "if-none-match"))
            case "bundle":
                given = self.desired.bundle(route.digest, hides_etag=hides)
            case _:
                given = self.desired.one(route.deployment_id, route.digest)
        if given.status >= 400:
            raise _Denied(given.status, given.verdict)
        return Decision(
            given.status,
            given.verdict,
            headers=given.headers,
            fingerprint=client.fingerprint,
            client_id=client.client_id,
            content_type=given.content_type,
            body=given.body,
        )

    # Clients

    def _client(self, route: Route, message: Message, body: bytes, now: float) -> Client:
        """Return who signed this, or deny it."""
        client = self._registry.by_client_id(route.client_id)
        if client is None:
            raise _Denied(404, "no such client")
        self._verify(message, body, self._key_of(client), now)
        if client.state == "rejected":
            raise _Denied(403, "the client's certificate is not trusted any more")
        return client

    def _key_of(self, client: Client) -> PublicKey:
        try:
            if client.certificate is None:
                raise _Denied(401, "the client has no key")
            return certificates.public_key(client.certificate)
        except certificates.CertificateUnacceptable as error:
            raise _Denied(401, str(error)) from None

    # Helpers

    def _methods(self, route: Route) -> tuple[str, ...]:
        if route.name == "certificate" or route.name in _DESIRED:
            return ("GET",)
        if route.name == "onboarding" or (route.name == "status" and route.segment == self._dialect.status_route):
            return ("POST",)
        if route.name == "capabilities" and (route.device_id is not None) == self._dialect.device_in_path:
            return ("POST", "PUT", "DELETE") if self._dialect.device_in_path else ("POST", "PUT")
        return ()

    def _verify(self, message: Message, body: bytes, key: PublicKey, now: float) -> None:
        try:
            verify(message, body, key, self._dialect.policy, now)
        except DigestRefused as error:
            raise _Denied(400, str(error)) from None
        except Refused as error:
            raise _Denied(401, str(error)) from None

    def _says(self, text: str) -> dict[str, object]:
        return {"Error" if self._dialect.plain_errors else "error": text}

    def _ca_text(self) -> str:
        roots = self._roots()
        if self._dialect.plain_errors:
            return base64.b64encode("".join(map(ssl.DER_cert_to_PEM_cert, roots)).encode()).decode()
        return base64.b64encode(b"".join(roots)).decode()


def _json_object(body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise _Denied(400, "the body is not JSON") from None
    if not isinstance(document, dict):
        raise _Denied(400, "the body is not a JSON object")
    return document
