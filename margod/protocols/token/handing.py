"""An access token as a person hands it over: `{"accessToken", "expiresAt"?, "url"?}`, camelCase or snake_case."""

from __future__ import annotations

import json

from margod.protocols.token.credentials import TOKEN, GitAccess, first, moment
from margod.protocols.token.origins import NotUsable, read_place


def read_handed(body: bytes) -> GitAccess:
    """Return what was handed over; its `url` is "" where none is named. Raises NotUsable, which repeats no secret."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise NotUsable("the body is not JSON") from None
    if not isinstance(value, dict):
        raise NotUsable('the body is not {"accessToken": "..."}')
    token, url, expires = (
        first(value, *names) for names in (("accessToken", "access_token"), ("url",), ("expiresAt", "expires_at"))
    )
    if token is None:
        raise NotUsable("accessToken: missing")
    if not isinstance(token, str) or not TOKEN.fullmatch(token):
        raise NotUsable("accessToken: not 1 to 8192 printable characters without blanks")
    expires_at = moment(expires)
    if expires is not None and expires_at is None:
        raise NotUsable("expiresAt: neither Unix seconds nor a time such as 2026-11-22T12:00:00Z")
    try:
        return GitAccess("" if url is None else read_place(url).url, token, expires_at)
    except NotUsable as error:
        raise NotUsable(f"url: {error}") from None
