"""The words that the local sockets and systemd show: one document, made from the engine's condition."""

from __future__ import annotations

import math
from typing import Final

from margod import __version__, trust
from margod.identity import Identity
from margod.model.state import Condition, State
from margod.model.text import timestamp
from margod.shell.renewal import Staged
from margod.shell.situation import Situation, Warned
from margod.trust import Anchor
from margod.trust.presented import Presented

SCHEMA: Final = 1

Document = dict[str, object]


def document(
    condition: Condition,
    situation: Situation | None,
    warnings: tuple[Warned, ...],
    started_at: float,
    offered: tuple[Anchor, ...] = (),
    *,
    protocol: str,
    presented: Presented | None = None,
    adopt_after: float = 0.0,
) -> Document:
    """Return the status document (local/openapi.yaml, `Status`). `offered`: roots that a person may accept.

    `protocol` is wfm.protocol. `presented`: who answers in the WFM's place. `adopt_after`: how long a staged root has
    to be vouched for, seconds.
    """
    error = condition.last_error
    known = situation or None
    identity = known.identity if known else None
    return {
        "schema": SCHEMA,
        "version": __version__,
        "state": condition.state.value,
        "reason": condition.reason.code,
        "message": condition.reason.says,
        "hint": condition.reason.hint,
        "detail": condition.detail,
        "side": condition.reason.side.value,
        "since": timestamp(condition.since),
        "attempt": condition.attempt,
        "next_attempt_at": None if condition.next_attempt_at is None else timestamp(condition.next_attempt_at),
        "last_error": None
        if error is None
        else {
            "code": error.reason.code,
            "message": error.reason.says,
            "hint": error.reason.hint,
            "detail": error.detail,
            "at": timestamp(error.at),
        },
        "connection": condition.connection.value,
        "connection_since": timestamp(condition.connection_since),
        "wfm": {
            "url": known.url if known else None,
            "protocol": protocol,
            "proxy": known.proxy.address if known and known.proxy else None,
        },
        "client_id": known.client_id if known else None,
        "device_id": known.device_id if known else None,
        "identity": None if identity is None else _identity(identity),
        "trust": {
            "source": known.trust_source if known else "none",
            "anchors": [_anchor(anchor) for anchor in (known.anchors if known else ())],
            "offered": [_anchor(anchor) for anchor in offered],
            "staged": [_staged(each, adopt_after) for each in (known.staged if known else ())],
            "retired": [_anchor(anchor) for anchor in (known.withdrawn if known else ())],
            "presented": None
            if presented is None
            else {
                "subject": presented.subject,
                "issuer": presented.issuer,
                "fingerprint": presented.fingerprint,
            },
        },
        "warnings": [
            {"code": warned.reason.code, "message": warned.message, "hint": warned.reason.hint} for warned in warnings
        ],
        "started_at": timestamp(started_at),
    }


def identity_document(identity: Identity, known: Situation | None) -> Document:
    """Return what is public of the identity, with the certificate and with what it is known by to whom.

    (local/openapi.yaml, `IdentityDocument`)
    """
    return {
        "certificate": identity.chain_pem.decode("ascii"),
        **_identity(identity),
        "client_id": known.client_id if known else None,
        "wfm_url": known.url if known else None,
        "root_ca": trust.to_pem(known.anchors).decode("ascii") if known and known.anchors else None,
    }


def systemd_line(condition: Condition) -> str:
    """Return the line of `systemctl status`: our own words and codes only, never the server's."""
    silent = "" if condition.downtime is None else f"downtime until {_end(condition.downtime)}"
    if condition.state is State.ENROLLED:
        return f"enrolled, {silent or condition.connection.value}"
    line = f"{condition.state.value} ({condition.reason.code}): {condition.reason.says}"
    if silent:
        return f"{line} D{silent[1:]}."
    if condition.next_attempt_at is not None:
        line += f" Next attempt at {timestamp(condition.next_attempt_at)}."
    return line


def _end(downtime: float) -> str:
    return "further notice" if math.isinf(downtime) else timestamp(downtime)


def _anchor(anchor: Anchor) -> Document:
    return {
        "subject": anchor.subject,
        "fingerprint": anchor.fingerprint,
        "spki": anchor.spki or None,
        "not_before": timestamp(anchor.not_before),
        "not_after": timestamp(anchor.not_after),
    }


def _staged(staged: Staged, adopt_after: float) -> Document:
    left = staged.left(adopt_after)
    return {**_anchor(staged.anchor), "since": timestamp(staged.since), "seconds_left": math.ceil(left)}


def _identity(identity: Identity) -> Document:
    return {
        "fingerprint": identity.fingerprint,
        "key_id": identity.signer.key_id,
        "algorithm": identity.signer.algorithm,
        "subject": identity.subject,
        "not_before": timestamp(identity.not_before),
        "not_after": timestamp(identity.not_after),
        "source": identity.source,
    }
