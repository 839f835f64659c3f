"""What an answer or a failure means: the design's table, complete, in one place, for every step and generation.

A generation decides what it accepts (which answer carries a usable record) and which dialect form a refusal asks for;
everything else an HTTP status or a failure can mean is decided here.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from margod.model import reasons
from margod.model.bearer import NoToken
from margod.model.outcome import Kind, Outcome, Step
from margod.model.reasons import Reason
from margod.model.text import clean, duration
from margod.model.wire import Answer, TransportFailure
from margod.protocols.answers import clock_offset, error_text, read_object, retry_after

OFFSET_WORTH_SAYING: Final = 60.0
"""Seconds by which two clocks have to differ before a refused signature is explained by it."""

_UNTRUSTED: Final = frozenset(
    {
        reasons.TLS_UNKNOWN_ISSUER,
        reasons.TLS_WRONG_HOST,
        reasons.TLS_EXPIRED,
        reasons.TLS_NOT_YET_VALID,
        reasons.TLS_UNVERIFIED,
        reasons.TLS_VERSION,
    }
)

_BUSY: Final = frozenset({408, 425, 429, 503})

_REFUSED: Final[dict[Step, dict[int, tuple[Kind, Reason]]]] = {
    Step.FETCH_TRUST: {},
    Step.REFRESH_TRUST: {},
    Step.ENROL: {
        400: (Kind.INVALID, reasons.CERTIFICATE_REFUSED),
        401: (Kind.UNAUTHORIZED, reasons.SIGNATURE_REFUSED),
        403: (Kind.FORBIDDEN, reasons.REJECTED),
        404: (Kind.WRONG_ADDRESS, reasons.WRONG_ADDRESS),
        405: (Kind.WRONG_ADDRESS, reasons.WRONG_ADDRESS),
        409: (Kind.CONFLICT, reasons.REGISTERED_BY_OTHER),
        410: (Kind.WRONG_ADDRESS, reasons.WRONG_ADDRESS),
        415: (Kind.INVALID, reasons.CERTIFICATE_REFUSED),
        422: (Kind.INVALID, reasons.CERTIFICATE_REFUSED),
    },
    Step.REPORT: {
        400: (Kind.UNAUTHORIZED, reasons.CAPABILITIES_REFUSED),
        401: (Kind.UNAUTHORIZED, reasons.SIGNATURE_REFUSED),
        403: (Kind.FORBIDDEN, reasons.CLIENT_REFUSED),
        404: (Kind.WRONG_ADDRESS, reasons.CLIENT_UNKNOWN),
        405: (Kind.WRONG_ADDRESS, reasons.CLIENT_UNKNOWN),
        409: (Kind.CONFLICT, reasons.CAPABILITIES_REFUSED),
        410: (Kind.WRONG_ADDRESS, reasons.CLIENT_UNKNOWN),
        415: (Kind.INVALID, reasons.CAPABILITIES_REFUSED),
        422: (Kind.INVALID, reasons.CAPABILITIES_REFUSED),
    },
    Step.CONFIRM: {
        400: (Kind.UNAUTHORIZED, reasons.SIGNATURE_REFUSED),  # deployed servers' word for a refused signature
        401: (Kind.UNAUTHORIZED, reasons.SIGNATURE_REFUSED),
        403: (Kind.FORBIDDEN, reasons.CLIENT_REFUSED),
        404: (Kind.WRONG_ADDRESS, reasons.CLIENT_UNKNOWN),
        405: (Kind.WRONG_ADDRESS, reasons.CLIENT_UNKNOWN),
        410: (Kind.WRONG_ADDRESS, reasons.CLIENT_UNKNOWN),
    },
}
_DOWNLOADS: Final = (Step.FETCH_TRUST, Step.REFRESH_TRUST)
_UNKNOWN_CLIENT: Final = re.compile(
    r"\b(client|device)\b[^.;,]{0,90}?\b(unknown|not (found|known|registered|onboarded)|(does not|doesn't) exist)\b"
    r"|\b(unknown|unregistered|no such) (client|device)\b",
    re.IGNORECASE,
)
_ABOUT_SOMETHING_ELSE: Final = re.compile(
    r"revo(ked|cation)|block|den(y|ied)|forbid|suspend|reject|signature|certificate|token|route|licen[cs]e|expire|clock",
    re.IGNORECASE,
)
"""What servers say, in JSON, when they know no such client: nothing else may be meant, because a device that was
forgotten may be onboarded anew, and one that was revoked must not."""


def refusal(step: Step, result: Answer | TransportFailure) -> Outcome:
    """Return the meaning of whatever is not acceptance. Never returns ACCEPTED."""
    if isinstance(result, NoToken):
        return result.outcome
    if isinstance(result, TransportFailure):
        kind = Kind.UNTRUSTED if result.reason in _UNTRUSTED else Kind.UNREACHABLE
        return Outcome(kind, result.reason, result.detail, sent=result.sent, lost=result.sent)
    outcome = _by_status(step, result)
    offset = clock_offset(result) if outcome.kind is Kind.UNAUTHORIZED else None
    by_clock = offset is not None and abs(offset) > OFFSET_WORTH_SAYING
    return replace(outcome, detail=_detail(result, outcome), retry_after=retry_after(result), by_clock=by_clock)


def _by_status(step: Step, answer: Answer) -> Outcome:
    status = answer.status
    if status == 202 and step in (Step.ENROL, Step.REPORT):  # nobody has to approve a download
        return Outcome(Kind.PENDING, reasons.PENDING_APPROVAL)
    if 200 <= status < 300:
        if step in _DOWNLOADS:
            return Outcome(Kind.BAD_ANSWER, reasons.CA_ANSWER_INVALID)
        return Outcome(Kind.BAD_ANSWER, reasons.ANSWER_INVALID, lost=True)
    if 300 <= status < 400:
        return Outcome(Kind.BAD_ANSWER, reasons.REDIRECTED)
    if status in _BUSY:
        return Outcome(Kind.BUSY, reasons.WFM_BUSY)
    if status == 504:  # a gateway's word that the WFM did not answer it: the same as no answer to us
        return Outcome(Kind.BUSY, reasons.TIMED_OUT, lost=True)
    if status >= 500:
        return Outcome(Kind.BUSY, reasons.WFM_ERROR, lost=True)
    if _client_is_unknown(step, answer):
        return Outcome(Kind.UNKNOWN, reasons.CLIENT_UNKNOWN)
    if status in _REFUSED[step]:
        return Outcome(*_REFUSED[step][status])
    if status >= 400 and step in _DOWNLOADS:
        return Outcome(Kind.WRONG_ADDRESS, reasons.CA_NOT_OFFERED)
    return Outcome(Kind.BUSY, reasons.ANSWER_UNEXPECTED)


def _client_is_unknown(step: Step, answer: Answer) -> bool:
    """Return whether the WFM says in so many words that it knows no such client. 401 and 403 never say that."""
    if step not in (Step.REPORT, Step.CONFIRM) or answer.status not in (400, 404, 410) or not read_object(answer):
        return False
    said = error_text(answer)
    return _UNKNOWN_CLIENT.search(said) is not None and _ABOUT_SOMETHING_ELSE.search(said) is None


def _detail(answer: Answer, outcome: Outcome) -> str:
    """Return the status and what the server said, with the clocks' difference where that may be the cause."""
    said = f"HTTP {answer.status}"
    if outcome.reason is reasons.REDIRECTED:
        said += f", to {answer.headers.get('location', 'nowhere')}"
    elif text := error_text(answer):
        said += f": {text}"
    if outcome.kind is Kind.UNAUTHORIZED:
        offset = clock_offset(answer)
        if offset is not None and abs(offset) > OFFSET_WORTH_SAYING:
            side = "behind" if offset > 0 else "ahead of"
            return clean(f"this device's clock is {duration(abs(offset))} {side} the WFM's; {said}")
    return clean(said)
