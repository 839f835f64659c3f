"""What happened, in words: from the WFM's request record, the daemon's status and its journal, and nothing else."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import ssl
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from margod.client import StatusDocument
from margod.model.text import clean, duration

Record = dict[str, Any]
"""One request as the development WFM recorded it: number, route, method, target, fields, body, status, verdict, ..."""

_COVERED: Final = re.compile(r"=\(([^)]*)\)")


def of_route(requests: list[Record], route: str) -> list[Record]:
    """Return the requests of one route, oldest first."""
    return [request for request in requests if request["route"] == route]


def covered(request: Record) -> str:
    """Return what the request's signature covers, or nothing if it carries none."""
    found = {name: value for name, value in request["fields"] if name in ("signature", "signature-input")}
    components = _COVERED.search(found.get("signature-input", ""))
    if components is None or "signature" not in found:
        return ""
    return " ".join(components[1].replace('"', "").split())


def signed(request: Record) -> str:
    """Return the kind of signature that a request carries, or nothing if it carries none."""
    if covered(request):
        return "RFC 9421 signature"
    return "X-Payload-Signature" if any(name == "x-payload-signature" for name, _ in request["fields"]) else ""


def form(request: Record) -> str:
    """Return the dialect form of a request: the certificate's field and encoding, or the capabilities' route."""
    if request["route"] == "capabilities":
        return "without device id" if request["target"].endswith("/capabilities") else "with device id"
    try:
        document = json.loads(base64.b64decode(request["body"]))
        name = next(key for key in document if key.endswith("certificate"))
        pem = base64.b64decode(document[name]).startswith(b"-----BEGIN")
    except (ValueError, binascii.Error, StopIteration, TypeError, AttributeError):
        return "unreadable"
    return f"{name} as {'PEM' if pem else 'DER'}"


def route(request: Record, client_id: str = "") -> str:
    """Return method and path, with the client's own id by name."""
    target: str = request["target"]
    if client_id:
        target = re.sub(rf"(?<=/){re.escape(quote(client_id, safe=''))}(?=/|$)", "{clientId}", target)
    return f"{request['method']} {target}"


def answer(request: Record) -> str:
    """Return the WFM's answer: status and why."""
    return f"{request['status']}, {clean(request['verdict'], 120)}"


def next_attempt(status: StatusDocument) -> str:
    """Return when the device asks again."""
    if status["next_attempt_at"] is None:
        return "asking now"
    return f"asks again in {duration(datetime.fromisoformat(status['next_attempt_at']).timestamp() - time.time())}"


def count(number: int, what: str) -> str:
    """Return `1 request`, `2 requests`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def fingerprint(ca_file: Path) -> str:
    """Return the SHA-256 of the first certificate in a PEM file, hexadecimal."""
    pem = ca_file.read_text("ascii")
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END CERTIFICATE-----") + 25])).hexdigest()


def kept_before_report(journal: Path, client_id: str) -> bool:
    """Return whether the journal has the client id as accepted, which is after its fsync, before the first report."""
    for line in journal.read_text("utf-8", "replace").splitlines():
        event = line.partition(">")[2].partition(" ")[0]
        if event == "accepted" and "step=enrol" in line:
            return f"client_id={client_id}" in line
        if event == "request" and "step=report" in line:
            return False
    return False
