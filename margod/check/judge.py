"""What the evidence means: from what was seen to a line each. Pure; the words are those of `model.reasons`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from margod.check import report
from margod.check.report import Line
from margod.client import StatusDocument, exit_code
from margod.client.documents import DesiredStateDocument
from margod.engine.timekeeping import beyond
from margod.model import reasons
from margod.model.outcome import Kind, Step
from margod.model.reasons import REASONS, Reason, Side
from margod.model.text import duration, timestamp
from margod.model.wire import Answer, TransportFailure
from margod.protocols import classify
from margod.protocols.answers import error_text

OFFSET_WARNED: Final = 5.0
"""Seconds that a `created` in the future may lie ahead at a strict WFM."""

_ABOUT_THE_CLIENT: Final = re.compile(r"client|device", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Seen:
    """A server's certificate. Times are Unix seconds; `names` are its subject alternative names."""

    subject: str
    issuer: str
    fingerprint: str
    not_before: float
    not_after: float
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt to connect to an address: seconds that it took, and why it failed, if it did."""

    address: str
    seconds: float
    failure: tuple[Reason, str] | None = None


@dataclass(frozen=True, slots=True)
class Handshake:
    """What came of TLS. `seen` may come from a second connection that verified nothing and sent nothing."""

    version: str | None
    seen: Seen | None
    failure: tuple[Reason, str] | None = None


def clock(
    now: float,
    floor: float,
    synchronised: bool | None,
    offset: float | None,
    valid_from: Sequence[tuple[str, float]],
) -> Line:
    """Judge the clock by what is known of the time.

    `floor`: when it was at least, by what is stored or when this margod was made. `offset`: seconds by which the WFM's
    verified clock is ahead of ours, None if it was not asked. `valid_from`: certificates that we hold, each with the
    begin of its validity.
    """
    name = "clock"
    facts: dict[str, report.Fact] = {
        "now": timestamp(now),
        "floor": timestamp(floor),
        "synchronised": synchronised,
        "wfm_offset_seconds": None if offset is None else round(offset, 1),
    }
    later = [(what, begin) for what, begin in valid_from if begin > now]
    if now < floor:
        said = f"it says {timestamp(now)}, and it was {timestamp(floor)} already"
        return report.failed(name, reasons.CLOCK_IMPLAUSIBLE, said, facts=facts)
    if offset is not None and abs(offset) > OFFSET_WARNED:
        side = "behind" if offset > 0 else "ahead of"
        said = f"this device's is {duration(abs(offset))} {side} the WFM's, and is {_kept(synchronised)}"
        reason = reasons.WFM_CLOCK_OFFSET if synchronised else reasons.CLOCK_OFFSET
        if beyond(offset, synchronised):
            return report.failed(name, reason, said, facts=facts)
        return report.warning(name, reason, f"{said}; signatures bear the WFM's time", facts=facts)
    if later:
        said = f"it says {timestamp(now)}; {later[0][0]} is valid from {timestamp(later[0][1])}"
        return report.warning(name, reasons.CLOCK_IMPLAUSIBLE, said, facts=facts)
    if synchronised is False and offset is None:
        return report.warning(name, reasons.CLOCK_UNSYNCHRONISED, f"it says {timestamp(now)}", facts=facts)
    agrees = "" if offset is None else ", agrees with the WFM's"
    return report.ok(name, f"{timestamp(now)}, {_kept(synchronised)}{agrees}", facts=facts)


def names(host: str, addresses: Sequence[str], seconds: float, failure: tuple[Reason, str] | None) -> Line:
    """Judge a name lookup."""
    facts: dict[str, report.Fact] = {"host": host, "addresses": tuple(addresses), "seconds": round(seconds, 3)}
    if failure is not None:
        return report.failed("dns", failure[0], f"{host}: {failure[1]}", facts=facts)
    if list(addresses) == [host]:
        return report.ok("dns", f"{host} is an address", facts=facts)
    return report.ok("dns", f"{host} is {', '.join(addresses)} ({_took(seconds)})", facts=facts)


def connections(tried: Sequence[Tried], port: int) -> Line:
    """Judge the attempts to connect to each address: one that works is enough to go on, all should."""
    facts: dict[str, report.Fact] = {
        "port": port,
        "addresses": tuple(f"{t.address}: {t.failure[0].code if t.failure else _took(t.seconds)}" for t in tried),
    }
    failures = [(t.address, *t.failure) for t in tried if t.failure is not None]
    said = "; ".join(f"{address} port {port}: {detail or reason.code}" for address, reason, detail in failures)
    if len(failures) == len(tried):
        return report.failed("tcp", failures[0][1], said, facts=facts)
    if failures:
        message = f"{len(failures)} of {len(tried)} addresses do not answer: {failures[0][1].says}"
        return report.warning("tcp", failures[0][1], said, message=message, facts=facts)
    return report.ok("tcp", f"port {port} open, {_took(max(t.seconds for t in tried))}", facts=facts)


def tls(found: Handshake, now: float) -> Line:
    """Judge a handshake; the server's certificate is shown whether it was verified or not."""
    seen = found.seen
    facts: dict[str, report.Fact] = {"tls_version": found.version, "verified": found.failure is None}
    if seen is not None:
        facts |= {
            "subject": seen.subject,
            "issuer": seen.issuer,
            "fingerprint": seen.fingerprint,
            "not_before": timestamp(seen.not_before),
            "not_after": timestamp(seen.not_after),
            "names": seen.names,
        }
    if found.failure is None:
        message = f"{found.version}, verified"
        if seen is not None:
            message += f"; {seen.subject}, valid until {timestamp(seen.not_after)[:10]}; {seen.fingerprint}"
        return report.ok("tls", message, facts=facts)
    reason, said = found.failure
    if seen is not None:
        about = f"presented: {seen.subject}, issued by {seen.issuer}, {seen.fingerprint}"
        if reason is reasons.TLS_WRONG_HOST:
            about += f", for {', '.join(seen.names) or 'no name'}"
        if reason in (reasons.TLS_EXPIRED, reasons.TLS_NOT_YET_VALID):
            period = f"from {timestamp(seen.not_before)} to {timestamp(seen.not_after)}"
            about += f", valid {period}; this device's clock says {timestamp(now)}"
        if reason is reasons.TLS_VERSION:
            about = f"the server speaks {found.version}; {about}"
        said = f"{said}; {about}"
    return report.failed("tls", reason, said, facts=facts)


def signed(result: Answer | TransportFailure, path: str) -> Line:
    """Judge the answer to a signed GET of the desired state, leniently: it is the signature that is being tried."""
    name = "signed-request"
    facts: dict[str, report.Fact] = {
        "request": f"GET {path}",
        "status": result.status if isinstance(result, Answer) else None,
    }
    if isinstance(result, Answer):
        status, said = result.status, error_text(result)
        if status in (200, 304):
            return report.ok(name, f"the signature was accepted (HTTP {status})", facts=facts)
        unknown = bool(_ABOUT_THE_CLIENT.search(said)) and "not trusted" not in said
        if status == 404 and not unknown:
            return report.ok(name, "this WFM has no such route (HTTP 404); the signature was not refused", facts=facts)
        outcome = classify.refusal(Step.REPORT, result)
        if status in (400, 404):
            reason = reasons.CLIENT_UNKNOWN if unknown else reasons.SIGNATURE_REFUSED
            return report.failed(name, reason, outcome.detail, facts=facts)
        if outcome.kind in (Kind.BUSY, Kind.PENDING):
            return report.warning(name, outcome.reason, outcome.detail, facts=facts)
    else:
        outcome = classify.refusal(Step.REPORT, result)
    return report.failed(name, outcome.reason, outcome.detail, facts=facts)


def daemon(status: StatusDocument, *, url: str | None, fingerprint: str | None, client_id: str | None) -> Line:
    """Judge the daemon's own word, and whether it says what stands on disk (None: not known here)."""
    name = "local-socket"
    identity = status["identity"]
    facts: dict[str, report.Fact] = {
        "state": status["state"],
        "reason": status["reason"],
        "connection": status["connection"],
        "daemon_version": status["version"],
        "since": status["since"],
    }
    pairs = {
        "the WFM's URL": (url, status["wfm"]["url"]),
        "the certificate": (fingerprint, identity["fingerprint"] if identity else None),
        "the client id": (client_id, status["client_id"]),
    }
    differing = [f"{what}: {its}, here {ours}" for what, (ours, its) in pairs.items() if ours and its and ours != its]
    if differing:
        return report.warning(name, reasons.DAEMON_DISAGREES, "; ".join(differing), facts=facts)
    code = exit_code(status["state"])
    message = f"margod {status['version']} is {status['state']}: {status['message']}"
    desired: DesiredStateDocument | None = status.get("desired_state")  # an older daemon has none
    error = desired["error"] if desired else None
    if code == 0 and not status["warnings"] and error is None:
        return report.ok(name, message, facts=facts)
    known = REASONS.get(status["reason"]) or Reason(status["reason"], Side.NONE, status["message"], status["hint"])
    judged = report.failed if code == 5 else report.warning
    said, hint = status["detail"], status["hint"]
    if code == 0:
        first = error or status["warnings"][0]
        known = REASONS.get(first["code"]) or Reason(first["code"], Side.NONE, first["message"], first["hint"])
        said, hint = first["message"], first["hint"]
        if error and error["detail"]:
            said = f"{said} {error['detail']}"
    return judged(name, known, said, message=message, hint=hint, facts=facts)


def _kept(synchronised: bool | None) -> str:
    if synchronised is None:
        return "perhaps synchronised (the system does not say)"
    return "synchronised" if synchronised else "not synchronised"


def _took(seconds: float) -> str:
    return f"{round(seconds * 1000)} ms"
