"""What the WFM has of this device and of those behind it, what it should have, and the requests between the two.

The record of the last report, `report.json`:

    {"digest": of all of it, "form": dialect form, "said": of the settings, "id": own id, "own": digest,
     "manifest": the device's own, "children": {id: digest}, "wanted": digest}

A report is whole when its digest is that of what should be there. A part of it that was accepted is kept as a record
with a digest that is another one; `wanted` is then the digest of the whole. Records of before there were children
have `digest` and `form` alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from margod import __version__
from margod.model import reasons
from margod.model.outcome import Kind, Outcome, Step
from margod.model.wire import Answer, Auth, Request, TransportFailure
from margod.protocols import Context, LastReport, Part, classify
from margod.protocols.signed import bodies, device_manifest
from margod.protocols.signed.unregister import is_unregistered, unregister_request

REPORT: Final = "report.json"
_JSON: Final = {
    "Accept": "application/json",
    "User-Agent": f"margod/{__version__}",
    "Content-Type": "application/json",
}
_ABOUT_THE_CHILD: Final = (Kind.INVALID, Kind.UNAUTHORIZED, Kind.UNKNOWN, Kind.CONFLICT, Kind.WRONG_ADDRESS)
_MANIFEST_LIMIT: Final = 65_536
"""Characters of the device's own manifest that are kept, to show what has changed since."""


def read(records: Mapping[str, bytes]) -> LastReport:
    """Return what was last accepted; nothing for what cannot be read."""
    try:
        value = json.loads(records.get(REPORT, b"{}"))
    except (ValueError, RecursionError):
        return LastReport()
    if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in ("digest", "form")):
        return LastReport()
    children, manifest = value.get("children"), value.get("manifest")
    return LastReport(
        digest=value["digest"],
        form=value["form"],
        said=str(value.get("said", "")),
        device_id=str(value.get("id", "")),
        own=str(value.get("own", "")),
        manifest=manifest if isinstance(manifest, dict) else {},
        children={str(name): str(each) for name, each in children.items()} if isinstance(children, dict) else {},
        wanted=str(value.get("wanted", "")),
    )


def digest(context: Context) -> str:
    """Return the digest of what the WFM should have: hexadecimal, never empty."""
    return _whole(own_digest(context), wanted_children(context))


def own_digest(context: Context) -> str:
    """Return the digest of the device's own manifest; what cannot be told stays what it was."""
    device = context.capabilities
    if device.invalid:
        return read(context.records).own or _digest({"invalid": device.invalid})
    return _digest(device_manifest.of(device, device.device_id or ""))


def wanted_children(context: Context) -> dict[str, str]:
    """Return id and digest of every child that the WFM should have."""
    device = context.capabilities
    wanted = dict(read(context.records).children) if device.held else {}
    return wanted | {child.device_id: _digest(child.manifest) for child in device.children}


def is_due(context: Context) -> bool:
    """Return whether the device's own manifest is to be reported; not a child's."""
    return own_digest(context) != read(context.records).own


def accepted(form: str, context: Context, device_id: str) -> dict[str, bytes]:
    """Return the record after the device's own manifest was accepted under this id."""
    known = read(context.records)
    manifest = device_manifest.of(context.capabilities, device_id)
    if len(json.dumps(manifest)) > _MANIFEST_LIMIT:
        manifest = {}
    # What is this device's own by now, or above it, is none of its children any more, and never to be removed.
    below = {name: each for name, each in known.children.items() if not f"{device_id}/".startswith(f"{name}/")}
    said = context.capabilities.said
    return _record(LastReport("", form, said, device_id, own_digest(context), manifest, below), digest(context))


def parts(client_id: str, context: Context) -> tuple[Part, ...]:
    """Return what is to be said of the children, in order: parents first, then those that are gone, deepest first."""
    known, device = read(context.records).children, context.capabilities
    found = []
    for child in device.children:
        if (now := _digest(child.manifest)) != known.get(child.device_id):
            ways = ("PUT", "POST") if child.device_id in known else ("POST", "PUT")
            body = bodies.dump({**child.manifest})
            first, other = (
                Request(way, route(client_id, child.device_id), Auth.SIGNATURE, _JSON, body) for way in ways
            )
            found.append(Part(child.device_id, now, first, other))
    gone = sorted(known.keys() - wanted_children(context).keys(), key=lambda name: (-name.count("/"), name))
    found += [Part(name, "", unregister_request(client_id, name)) for name in gone]
    return tuple(found)


def outcome(part: Part, result: Answer | TransportFailure) -> Outcome:
    """Say what came of a part. What is about this child alone is INVALID and names it: the others go on."""
    if isinstance(result, Answer):
        if part.digest and result.status in (200, 201, 204):
            return Outcome(Kind.ACCEPTED, reasons.ENROLLED)
        if not part.digest and is_unregistered(result):
            return Outcome(Kind.ACCEPTED, reasons.ENROLLED)
    said = classify.refusal(Step.REPORT, result)
    about = isinstance(result, Answer) and result.status != 401 and said.kind in _ABOUT_THE_CHILD
    if about and not said.by_clock:
        detail = f"{part.device_id}: {said.detail}"
        return Outcome(Kind.INVALID, reasons.CHILD_REFUSED, detail, retry_after=said.retry_after)
    return said


def wants_other(part: Part, result: Answer | TransportFailure) -> bool:
    """Return whether the WFM knows the child although this device does not, or the other way round."""
    return part.other is not None and isinstance(result, Answer) and result.status in (404, 405, 409)


def kept(part: Part, context: Context) -> dict[str, bytes]:
    """Return the record after a part was accepted."""
    known = read(context.records)
    children = {name: each for name, each in known.children.items() if name != part.device_id}
    if part.digest:
        children[part.device_id] = part.digest
    now = LastReport("", known.form, known.said, known.device_id, known.own, known.manifest, children)
    return _record(now, digest(context))


def route(client_id: str, device_id: str) -> str:
    """Return the path of a device's capabilities; the slashes of the hierarchy go raw."""
    path = "/".join(quote(segment, safe="") for segment in device_id.split("/"))
    return f"/api/v1/clients/{quote(client_id, safe='')}/capabilities/{path}"


def _record(known: LastReport, wanted: str) -> dict[str, bytes]:
    value = {
        "digest": _whole(known.own, known.children),
        "form": known.form,
        "said": known.said,
        "id": known.device_id,
        "own": known.own,
        "manifest": known.manifest,
        "children": dict(sorted(known.children.items())),
        "wanted": wanted,
    }
    return {REPORT: json.dumps(value, separators=(",", ":")).encode()}


def _whole(own: str, children: Mapping[str, str]) -> str:
    return _digest({"own": own, "children": children}) if children else own


def _digest(document: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
