"""What an onboarding leaves: id and secret, token endpoint, and access to the repository, as answers and records.

Id and secret make an enrolment. What an answer says of places is kept as it was said and judged when it is used: a
WFM that has registered this device will not do so again, so that a wrong URL beside a right secret must not lose both.
The record's members are `id`, `secret`, `tokenEndpoint`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from margod.model import reasons
from margod.model.reasons import Reason
from margod.model.wire import Answer
from margod.protocols import ENROLMENT
from margod.protocols.answers import is_json, page_title, read_client_id, read_object
from margod.protocols.token.origins import LONGEST, NotUsable, Origins, Place, read_place

GIT: Final = "git.json"
"""Members `url`, `accessToken` and, where it is known, `expiresAt` in Unix seconds."""

SECRET: Final = re.compile(r"[\x20-\x7e]{1,4096}")
"""A client secret (RFC 6749, A.2), to be matched whole."""
TOKEN: Final = re.compile(r"[\x21-\x7e]{1,8192}")
"""An access token (RFC 6749, A.12) without blanks, which would end it in a header; to be matched whole."""
_LATEST: Final = 253_402_300_799.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who this device is at the token endpoint; the endpoint as the WFM said it, not yet judged."""

    client_id: str
    secret: str = field(repr=False)
    token_endpoint: str = ""

    def endpoint(self, origins: Origins) -> Place:
        """Return where the secret may be sent. Raises NotUsable."""
        return origins.check(read_place(self.token_endpoint, query=True))


@dataclass(frozen=True, slots=True)
class GitAccess:
    """A repository and the token for it, which belong together; `expires_at` in Unix seconds, None if unknown."""

    url: str
    token: str = field(repr=False)
    expires_at: float | None = None

    def place(self, origins: Origins) -> Place:
        """Return where the token may be sent. Raises NotUsable."""
        return origins.check(read_place(self.url))

    def record(self) -> bytes:
        """Return it as the vault keeps it."""
        known = {} if self.expires_at is None else {"expiresAt": self.expires_at}
        return json.dumps({"url": self.url, "accessToken": self.token, **known}).encode()


def enrolment(answer: Answer) -> dict[str, bytes] | None:
    """Return the records of an accepted onboarding, or None where it holds no usable id and secret.

    Names are camelCase or snake_case, the first before the second. Without a usable repository there is no `GIT`.
    """
    body = read_object(answer)
    client_id, secret = read_client_id(answer), first(body, "clientSecret", "client_secret")
    if client_id is None or not isinstance(secret, str) or not SECRET.fullmatch(secret):
        return None
    endpoint = first(body, "tokenEndpointUrl", "token_endpoint_url")
    said = endpoint if isinstance(endpoint, str) and len(endpoint) <= LONGEST and endpoint.isprintable() else ""
    records = {ENROLMENT: json.dumps({"id": client_id, "secret": secret, "tokenEndpoint": said}).encode()}
    try:
        access = read_access(first(body, "gitRepository", "git_repository"))
    except NotUsable:
        return records
    return records if access is None else {**records, GIT: access.record()}


def unusable(answer: Answer) -> tuple[Reason, str]:
    """Return why a success holds no enrolment. The answer's own text is never repeated: it may hold a secret."""
    body = read_object(answer)
    if not body:
        return reasons.ANSWER_INVALID, ("" if is_json(answer) else page_title(answer)) or "no JSON object"
    if read_client_id(answer) is None:
        return reasons.ANSWER_INVALID, _wrong(body, "clientId", "client_id")
    return reasons.CLIENT_SECRET_MISSING, _wrong(body, "clientSecret", "client_secret")


def _wrong(body: Mapping[str, object], *names: str) -> str:
    value = first(body, *names)
    if value is None or value == "":
        return f"{names[0]}: missing"
    if not isinstance(value, str):
        return f"{names[0]}: no text"
    return f"{names[0]}: too long, or with characters that it may not have"


def read_access(value: object) -> GitAccess | None:
    """Return what a parsed `gitRepository` object gives access to, None for null. Raises NotUsable.

    The URL's place is not judged against origins here. An `expiresAt` that says nothing is as good as none.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise NotUsable("gitRepository: not an object")
    try:
        place = read_place(first(value, "url"))
    except NotUsable as error:
        raise NotUsable(f"gitRepository.url: {error}") from None
    token = first(value, "accessToken", "access_token")
    if not isinstance(token, str) or not TOKEN.fullmatch(token):
        raise NotUsable("gitRepository.accessToken: missing, or not 1 to 8192 printable characters without blanks")
    return GitAccess(place.url, token, moment(first(value, "expiresAt", "expires_at")))


def stored_credentials(records: Mapping[str, bytes]) -> Credentials | None:
    """Return the credentials in the vault's records, or None if they are not there whole."""
    value = _stored(records, ENROLMENT)
    client_id, secret, endpoint = value.get("id"), value.get("secret"), value.get("tokenEndpoint")
    if not isinstance(client_id, str) or not isinstance(secret, str) or not isinstance(endpoint, str):
        return None
    return Credentials(client_id, secret, endpoint) if client_id and secret else None


def stored_access(records: Mapping[str, bytes]) -> GitAccess | None:
    """Return the access in the vault's records, or None if it is not there whole."""
    try:
        return read_access(_stored(records, GIT) or None)
    except NotUsable:
        return None


def first(body: Mapping[str, object], *names: str) -> object:
    """Return the first member of these names that is there and not null."""
    return next((body[name] for name in names if body.get(name) is not None), None)


def moment(value: object) -> float | None:
    """Return a time as Unix seconds: a number of them, or a text as RFC 3339 writes it; without a zone it is UTC."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if 0 < value <= _LATEST else None  # NaN is neither
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        read = datetime.fromisoformat(value)
        moment = (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return moment if 0 < moment <= _LATEST else None


def _stored(records: Mapping[str, bytes], name: str) -> dict[str, object]:
    try:
        value = json.loads(records.get(name, b"{}"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
