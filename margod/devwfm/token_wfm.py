"""The development WFM's mind in the `token` generation (wire, section 3): the same approval, other words.

GET  /onboarding/certificate        POST /onboarding/          X-Payload-Signature
POST /oauth/token                   client credentials (RFC 6749, 4.4)
GET  /onboarding/git                POST|PUT /device/{id}/capabilities
POST /device/{id}/deployment/{id}/status                       Bearer; a body has X-Payload-Signature
/git/desired.git/...                Basic, the access token as the password
"""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl

from margod.devwfm.decisions import Decision, Route, Wfm, _Denied, _json_object
from margod.devwfm.dialects import DIALECTS
from margod.devwfm.keys import PublicKey
from margod.devwfm.registry import Client, Registry
from margod.devwfm.schema import SchemaError
from margod.devwfm.statuses import BACK
from margod.devwfm.token_git import TokenRepository
from margod.devwfm.token_payload import PayloadRefused, verify_payload
from margod.devwfm.token_routes import REPOSITORY, Lifetimes
from margod.devwfm.token_schema import check_device, check_report
from margod.devwfm.token_store import BEARER, GIT, TokenStore
from margod.devwfm.verifier import Message, field_value

_METHODS: Final = {
    "certificate": ("GET",),
    "onboarding": ("POST",),
    "token": ("POST",),
    "git-access": ("GET",),
    "capabilities": ("POST", "PUT"),
    "status": ("POST",),
    "repository": ("GET", "POST"),
}


class TokenWfm(Wfm):
    """Registry and approval are those of `Wfm`; what is said and how it is proven is not."""

    def __init__(
        self,
        registry: Registry,
        roots: Callable[[], Sequence[bytes]],
        *,
        store: TokenStore,
        repository: TokenRepository,
        url: Callable[[], str],
        lifetimes: Lifetimes,
        approval: str,
        pending: int,
        retry_after: int,
    ) -> None:
        """`url` gives the WFM's own root URL, which is known once it listens."""
        super().__init__(registry, roots, DIALECTS["spec"], approval=approval, pending=pending, retry_after=retry_after)
        self.desired.has_manifest = False
        self._store = store
        self._repository = repository
        self._url = url
        self._lifetimes = lifetimes

    def act(self, act: str) -> dict[str, object]:
        """Do what a person asks: `revoke` bearer tokens, `rotate` the Git tokens, `rewind` the repository."""
        if act == "rewind":
            return {"commit": self._repository.bring(self._deployments(), rewind=True)}
        return {"ended": self._store.revoke(BEARER if act == "revoke" else GIT)}

    def decide(self, route: Route, message: Message, body: bytes, now: float) -> Decision:
        """Decide about one request. `now` is Unix seconds. Never raises for anything that a device can send."""
        methods = _METHODS.get(route.name, ())
        try:
            if not methods:
                return Decision(404, "no such route", self._says("no such route"))
            if message.method not in methods:
                allow = {"Allow": ", ".join(methods)}
                return Decision(405, "method not allowed", self._says("method not allowed"), allow)
            match route.name:
                case "certificate":
                    return Decision(200, "root CA given", {"certificate": self._ca_text()})
                case "onboarding":
                    return self._onboard(message, body, now)
                case "token":
                    return self._grant(body, now)
                case "repository":
                    return self._git(route, message, body, now)
                case "git-access":
                    client = self._bearer(message, body, now)
                    return Decision(200, "access given", self._access(client.client_id or "", now))
                case "capabilities":
                    return self._device(route, message, body, now)
                case _:
                    return self._report(route, message, body, now)
        except _Denied as denied:
            asks = {"WWW-Authenticate": "Bearer"} if denied.status == 401 else {}
            return Decision(denied.status, str(denied), self._says(str(denied)), asks)

    def _verify(self, message: Message, body: bytes, key: PublicKey, now: float) -> None:  # noqa: ARG002 - the base's
        try:
            verify_payload(field_value(message, "x-payload-signature"), body, key)
        except PayloadRefused as error:
            raise _Denied(401, str(error)) from None

    def _accept(self, client: Client) -> Decision:
        client_id, now = str(uuid.uuid4()), datetime.now(UTC).timestamp()
        secret = self._store.new_secret(client_id)
        self._registry.onboard(client, client_id)
        document: dict[str, object] = {
            "clientId": client_id,
            "clientSecret": secret,
            "tokenEndpointUrl": f"{self._url()}/oauth/token",
        }
        if not self._lifetimes.git_later:
            document["gitRepository"] = self._access(client_id, now)
        return Decision(201, "onboarded", document, fingerprint=client.fingerprint, client_id=client_id)

    def _access(self, client_id: str, now: float) -> dict[str, object]:
        ends = now + self._lifetimes.git
        return {
            "url": f"{self._url()}{REPOSITORY}",
            "accessToken": self._store.new_token(GIT, client_id, ends),
            "expiresAt": datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def _grant(self, body: bytes, now: float) -> Decision:
        """The token endpoint (RFC 6749, 4.4.2, 5.1, 5.2)."""
        try:
            pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=16)
        except ValueError:
            return self._oauth_error(400, "invalid_request")
        form = dict(pairs)
        if len(form) < len(pairs) or "grant_type" not in form:
            return self._oauth_error(400, "invalid_request")
        if form["grant_type"] != "client_credentials":
            return self._oauth_error(400, "unsupported_grant_type")
        client_id = form.get("client_id", "")
        client = self._registry.by_client_id(client_id)
        known = self._store.is_secret(client_id, form.get("client_secret", ""))
        if client is None or not known or client.state == "rejected":
            return self._oauth_error(401, "invalid_client")
        life = self._lifetimes.bearer
        value = self._store.new_token(BEARER, client_id, now + life)
        document = {"access_token": value, "token_type": "Bearer", "expires_in": life}
        return Decision(200, "token given", document, {"Cache-Control": "no-store"}, client.fingerprint, client_id)

    def _oauth_error(self, status: int, code: str) -> Decision:
        return Decision(status, code, {"error": code}, {"Cache-Control": "no-store"})

    def _bearer(self, message: Message, body: bytes, now: float) -> Client:
        """Return whose bearer token this is, and whose key signed the body if there is one; or deny it."""
        scheme, _, value = (field_value(message, "authorization") or "").partition(" ")
        client_id = self._store.holder(BEARER, value, now) if scheme.lower() == "bearer" else None
        client = self._registry.by_client_id(client_id) if client_id else None
        if client is None:
            raise _Denied(401, "invalid_token")
        if body:
            self._verify(message, body, self._key_of(client), now)
        if client.state == "rejected":
            raise _Denied(403, "the client is not trusted any more")
        return client

    def _device(self, route: Route, message: Message, body: bytes, now: float) -> Decision:
        client = self._bearer(message, body, now)
        document, device_id = _json_object(body), route.device_id or ""
        try:
            check_device(document)
        except SchemaError as error:
            raise _Denied(422, str(error)) from None
        properties = document["properties"]
        if not isinstance(properties, dict) or properties["id"] != device_id:
            raise _Denied(422, "properties.id: not the device id in the path")
        self._registry.report(client.client_id or "", device_id, json.dumps(document))
        return Decision(201, f"{device_id} reported", None, {}, client.fingerprint, client.client_id)

    def _report(self, route: Route, message: Message, body: bytes, now: float) -> Decision:
        client = self._bearer(message, body, now)
        document, client_id = _json_object(body), client.client_id or ""
        try:
            check_report(document)
        except SchemaError as error:
            raise _Denied(422, str(error)) from None
        if document["deploymentId"] != route.deployment_id:
            raise _Denied(422, "deploymentId: not the one in the path")
        if not self._registry.knows_device(client_id, route.device_id or ""):
            raise _Denied(404, f"the device {route.device_id} is not known")
        status = document["status"]
        assert isinstance(status, dict), "checked above"
        state = str(status["state"])
        came = self._registry.statuses.take(client_id, route.deployment_id, state.lower(), document)
        said = f"{route.deployment_id} is {state}" + (" (went back)" if came == BACK else "")
        return Decision(201, said, None, {}, client.fingerprint, client.client_id)

    def _git(self, route: Route, message: Message, body: bytes, now: float) -> Decision:
        holder = self._store.holder(GIT, _password(field_value(message, "authorization") or ""), now)
        client = self._registry.by_client_id(holder) if holder else None
        if client is None or client.state == "rejected":
            asks = {"WWW-Authenticate": 'Basic realm="desired state"'}
            return Decision(401, "the access token is refused", self._says("unauthorized"), asks)
        self._repository.bring(self._deployments())
        query = message.target.partition("?")[2]
        status, media, answer = self._repository.answer(
            message.method, route.segment, query, dict(message.fields), body
        )
        return Decision(status, "repository", None, {}, client.fingerprint, holder, content_type=media, body=answer)

    def _deployments(self) -> dict[str, bytes]:
        return self._registry.desired()[1]


def _password(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    try:
        text = base64.b64decode(value, validate=True).decode() if scheme.lower() == "basic" else ""
    except (ValueError, binascii.Error):
        return ""
    return text.partition(":")[2]
