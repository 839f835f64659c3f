"""The body of the Certificate API, in all the encodings that servers really use (wire, section 1.1)."""

from __future__ import annotations

import base64
import json
from typing import Final

from margod.model import reasons
from margod.model.errors import TrustError
from margod.trust.anchors import LIMIT, Anchor, decode_certificates

_BODY_LIMIT: Final = 2 * LIMIT
"""Bytes: base64 and JSON make the certificates longer, PEM within base64 longest."""

_NAME: Final = "the WFM's certificate download"


def decode_answer(body: bytes, now: float, *, pass_over: bool = False) -> tuple[Anchor, ...]:
    """Return the CA certificates in `{"certificate": "..."}`, whatever else the object holds.

    The string is PEM, or base64 or base64url, padded or not, of PEM or DER; one or several certificates. The rules of
    `decode_certificates` hold, `pass_over` too. Nothing but the certificates has any effect. Raises TrustError
    (ca-answer-invalid).
    """
    if len(body) > _BODY_LIMIT:
        raise _invalid(f"is larger than {_BODY_LIMIT // 1024} KiB")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):  # RecursionError: nested too deep
        raise _invalid("is not JSON; a captive portal or a proxy's own page looks like this") from None
    if not isinstance(document, dict) or "certificate" not in document:
        raise _invalid('is not a JSON object with a member "certificate"')
    text = document["certificate"]
    if not isinstance(text, str):
        raise _invalid('has a member "certificate" that is not a string')
    return decode_certificates(_decoded(text), now, reason=reasons.CA_ANSWER_INVALID, name=_NAME, pass_over=pass_over)


def _decoded(text: str) -> bytes:
    if "-----BEGIN " in text:
        return text.encode("utf-8", "replace")
    compact = "".join(text.split()).rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except ValueError:  # binascii.Error, and characters outside ASCII
        raise _invalid("is neither PEM nor base64") from None


def _invalid(what: str) -> TrustError:
    return TrustError(reasons.CA_ANSWER_INVALID, f"{_NAME} {what}")
