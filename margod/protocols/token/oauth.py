"""The token endpoint: OAuth 2.0 client credentials (RFC 6749, 4.4), what is asked and what came of it."""

from __future__ import annotations

import math
import re
from typing import Final
from urllib.parse import urlencode

from margod import __version__
from margod.model import reasons
from margod.model.bearer import Grant
from margod.model.outcome import Kind, Outcome, Step
from margod.model.redact import without
from margod.model.text import clean
from margod.model.wire import Answer, SignedRequest, TransportFailure
from margod.protocols import classify
from margod.protocols.answers import error_text, page_title, read_object, retry_after
from margod.protocols.token.credentials import TOKEN, Credentials
from margod.protocols.token.origins import Place

ANSWER_LIMIT: Final = 65_536
_DIGITS: Final = re.compile(r"-?[0-9]{1,15}")
_REFUSED: Final = frozenset({"invalid_client", "unauthorized_client", "invalid_grant", "access_denied"})
"""What servers say (RFC 6749, 5.2) of a client that they do not know or do not want any more."""
_BUSY: Final = frozenset({"temporarily_unavailable", "server_error", "slow_down"})


def token_request(endpoint: Place, credentials: Credentials) -> SignedRequest:
    """Return the request for a bearer token. `endpoint` comes from `Credentials.endpoint`, which judges it.

    Id and secret go into the body (2.3.1), as the draft has it; the URL and the headers hold neither.
    """
    form = {
        "grant_type": "client_credentials",
        "client_id": credentials.client_id,
        "client_secret": credentials.secret,
    }
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/x-www-form-urlencoded",
        "User-Agent": f"margod/{__version__}",
    }
    return SignedRequest("POST", endpoint.url, headers, urlencode(form).encode("ascii"), ANSWER_LIMIT)


def read_grant(credentials: Credentials, result: Answer | TransportFailure, *others: str) -> Grant | Outcome:
    """Return the token that was granted (5.1), or what the refusal means (5.2). The Outcome is never ACCEPTED.

    A server may say back what it was told: the outcome's detail has neither the secret in it nor one of the `others`.
    """
    body = {} if isinstance(result, TransportFailure) else read_object(result)
    if isinstance(result, Answer) and 200 <= result.status < 300 and (grant := _grant(body)) is not None:
        return grant
    said = without(result, credentials.secret, *others)
    return classify.refusal(Step.CONFIRM, said) if isinstance(said, TransportFailure) else _refusal(body, said)


def _grant(body: dict[str, object]) -> Grant | None:
    value, kind = body.get("access_token"), body.get("token_type", "Bearer")
    if not isinstance(value, str) or not TOKEN.fullmatch(value):
        return None
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return None
    return Grant(value, _seconds(body.get("expires_in")))


def _refusal(body: dict[str, object], result: Answer) -> Outcome:
    if 200 <= result.status < 300:
        text = _unusable(body) if body else page_title(result)  # an answer with a token is never repeated
        said = clean(f"HTTP {result.status}: {text or 'no JSON object'}")
        return Outcome(Kind.BAD_ANSWER, reasons.TOKEN_ANSWER_INVALID, said)
    if 300 <= result.status < 400:
        to = result.headers.get("location", "nowhere")
        said = clean(f"HTTP {result.status}, to {to}")
        return Outcome(Kind.BAD_ANSWER, reasons.TOKEN_ANSWER_INVALID, said, retry_after=retry_after(result))
    error = body.get("error")
    said = error if isinstance(error, str) else ""
    if said in _BUSY or result.status in (408, 425, 429) or result.status >= 500:
        return _outcome(Kind.BUSY, reasons.TOKEN_ENDPOINT_BUSY, result)
    if said in _REFUSED or (body and result.status in (401, 403)):  # a page is no word of an endpoint's
        return _outcome(Kind.FORBIDDEN, reasons.CLIENT_SECRET_REFUSED, result)
    return _outcome(Kind.WRONG_ADDRESS, reasons.TOKEN_ANSWER_INVALID, result)


def _unusable(body: dict[str, object]) -> str:
    """Return which member keeps a success from being one."""
    value, kind = body.get("access_token"), body.get("token_type", "Bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return "token_type is not Bearer"
    if not isinstance(value, str) or not value:
        return "access_token is missing or no text"
    return "access_token has blanks or other characters that no header takes, or more than 8192 of them"


def _seconds(value: object) -> float | None:
    """Return `expires_in` where it is a number at all, as some servers write it in quotes too."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) else None


def _outcome(kind: Kind, reason: reasons.Reason, answer: Answer) -> Outcome:
    said = error_text(answer)
    detail = clean(f"HTTP {answer.status}: {said}" if said else f"HTTP {answer.status}")
    return Outcome(kind, reason, detail, retry_after=retry_after(answer))
