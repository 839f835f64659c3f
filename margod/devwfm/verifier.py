"""Verification of HTTP message signatures (RFC 9421) and content digests (RFC 9530), written from the RFCs.

    verify(message, body, key, policy, now) -> Verified          raises Refused or DigestRefused
    signature_base(message, covered, parameters) -> bytes        RFC 9421 2.5

The strict reading (`STRICT`) is the specification's. `LIKE_GO` does what the Go verifier of deployed WFMs does: it
writes @signature-params anew in its own order, knows six parameters only, and neither looks at `created` nor compares
the digest with the body. Both take the target and the authority as they came over the wire, without normalising.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote

from margod.devwfm import keys
from margod.devwfm.structured import BareItem, InnerList, Item, Malformed, dictionary, serialise


class Refused(Exception):
    """The signature does not hold; the message says why."""


class DigestRefused(Refused):
    """Content-Digest is missing, malformed, or not that of the body."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request (or, with `status`, a response) as it came over the wire.

    `authority` is the Host field verbatim, `target` the request target verbatim; field names are lower-case, one
    pair per field line, in order.
    """

    fields: tuple[tuple[str, str], ...]
    method: str = ""
    scheme: str = "https"
    authority: str = ""
    target: str = "/"
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What a verifier insists on. `window` is how old `created` may be, in seconds; None: it is not looked at."""

    window: float | None
    recompute_digest: bool
    fixed_order: bool
    required: tuple[str, ...] = ("@method", "@target-uri")


@dataclass(frozen=True, slots=True)
class Verified:
    """A signature that holds: its label, what it covers, its parameters, and the algorithm that it was made with."""

    label: str
    covered: tuple[str, ...]
    parameters: Mapping[str, BareItem]
    algorithm: str


STRICT: Final = Policy(window=300.0, recompute_digest=True, fixed_order=False)
LIKE_GO: Final = Policy(window=None, recompute_digest=False, fixed_order=True)

FUTURE: Final = 5.0
"""Seconds that `created` may lie ahead: clocks of two machines that are both right differ by this little."""

_GO_ORDER: Final = ("created", "expires", "keyid", "alg", "nonce", "tag")
_TYPES: Final[dict[str, type]] = {"created": int, "expires": int, "keyid": str, "alg": str, "nonce": str, "tag": str}
_DIGESTS: Final = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}


def verify(message: Message, body: bytes, key: keys.PublicKey, policy: Policy, now: float) -> Verified:
    """Verify the one signature of `message` by `key`. `now` is Unix seconds. Raises `Refused`, `DigestRefused`."""
    if policy.recompute_digest:
        check_digest(message, body)
    label, covered, signature = _only_signature(message)
    names = tuple(str(item.value) for item in covered.items)
    required = (*policy.required, "content-digest") if body else policy.required
    for name in required:
        if Item(name) not in covered.items:
            raise Refused(f"the signature does not cover {name}")
    parameters = dict(covered.parameters)
    _check_parameters(parameters, policy, now)
    algorithm = keys.algorithm_of(key)
    if "alg" in parameters:
        algorithm = str(parameters["alg"])
    if policy.fixed_order:
        parameters = {name: parameters[name] for name in _GO_ORDER if name in parameters}
    base = signature_base(message, covered.items, parameters)
    try:
        keys.check(key, algorithm, signature, base)
    except keys.KeyRefused as error:
        raise Refused(str(error)) from None
    return Verified(label, names, covered.parameters, algorithm)


def check_digest(message: Message, body: bytes) -> None:
    """Compare Content-Digest with the body's bytes (RFC 9530 2): required with a body, right whenever present."""
    text = field_value(message, "content-digest")
    if text is None:
        if body:
            raise DigestRefused("Content-Digest is missing")
        return
    try:
        members = dictionary(text)
    except Malformed as error:
        raise DigestRefused(f"Content-Digest is malformed: {error}") from None
    known = {name: member for name, member in members.items() if name in _DIGESTS}
    if not known:
        raise DigestRefused("Content-Digest has neither sha-256 nor sha-512")
    for name, member in known.items():
        if not isinstance(member, Item) or not isinstance(member.value, bytes):
            raise DigestRefused(f"Content-Digest: {name} is not a byte sequence")
        if member.value != _DIGESTS[name](body).digest():
            raise DigestRefused(f"Content-Digest: {name} is not that of the body")


def signature_base(message: Message, covered: tuple[Item, ...], parameters: Mapping[str, BareItem]) -> bytes:
    """Return the signature base (RFC 9421 2.5) of the covered components and signature parameters, in their order."""
    lines: list[str] = []
    seen: set[tuple[object, ...]] = set()
    for item in covered:
        name = item.value
        if type(name) is not str or name != name.lower():
            raise Refused("a component name is a lower-case string")
        identity = (name, *sorted(item.parameters.items(), key=lambda pair: pair[0]))
        if identity in seen:
            raise Refused(f"{name} is covered twice")
        seen.add(identity)
        value = _component(message, name, item.parameters)
        if not value.isascii() or "\n" in value or "\r" in value:
            raise Refused(f"{name} has a value that cannot be signed")
        lines.append(f"{serialise(item)}: {value}")
    lines.append(f'"@signature-params": {serialise(InnerList(covered, parameters))}')
    return "\n".join(lines).encode("ascii")


def field_value(message: Message, name: str) -> str | None:
    """Return the combined value of a field (RFC 9421 2.1), None if it is absent."""
    values = [value.strip(" \t") for field, value in message.fields if field == name]
    return ", ".join(values) if values else None


def _only_signature(message: Message) -> tuple[str, InnerList, bytes]:
    fields = []
    for name in ("signature-input", "signature"):
        text = field_value(message, name)
        if text is None:
            raise Refused(f"{name} is missing")
        try:
            fields.append(dictionary(text))
        except Malformed as error:
            raise Refused(f"{name} is malformed: {error}") from None
    inputs, signatures = fields
    if len(inputs) != 1 or inputs.keys() != signatures.keys():
        raise Refused("exactly one signature with one label is expected")
    (label, covered), (signature,) = next(iter(inputs.items())), signatures.values()
    if not isinstance(covered, InnerList):
        raise Refused("signature-input is not an inner list")
    if not isinstance(signature, Item) or not isinstance(signature.value, bytes):
        raise Refused("signature is not a byte sequence")
    return label, covered, signature.value


def _check_parameters(parameters: Mapping[str, BareItem], policy: Policy, now: float) -> None:
    for name, value in parameters.items():
        # bool is an int, a Token a str: only the exact type is the structured type that RFC 9421 2.3 names.
        if name in _TYPES and type(value) is not _TYPES[name]:
            raise Refused(f"{name} has the wrong type")
    if not parameters.get("keyid"):
        raise Refused("keyid is missing or empty")
    expires = parameters.get("expires")
    if policy.window is None:
        return
    created = parameters.get("created")
    if not isinstance(created, int):
        raise Refused("created is missing")
    if created > now + FUTURE:
        raise Refused(f"created lies {created - now:.0f} s in the future")
    if created < now - policy.window:
        raise Refused(f"created is {now - created:.0f} s old")
    if isinstance(expires, int) and expires < now:
        raise Refused("the signature has expired")


def _component(message: Message, name: str, parameters: Mapping[str, BareItem]) -> str:
    if name == "@query-param" and message.status is None:
        return _query_parameter(message, parameters)
    if parameters:
        raise Refused(f"{name}: component parameters are not supported")
    if not name.startswith("@"):
        value = field_value(message, name)
        if value is None:
            raise Refused(f"{name} is covered but absent")
        return value
    derived = _derived(message).get(name)
    if derived is None:
        raise Refused(f"{name} is not a component of this message")
    return derived


def _derived(message: Message) -> dict[str, str]:
    if message.status is not None:
        return {"@status": str(message.status)}
    absolute = not message.target.startswith("/")
    path, mark, query = message.target.partition("?")
    return {
        "@method": message.method,
        "@target-uri": message.target if absolute else f"{message.scheme}://{message.authority}{message.target}",
        "@authority": message.authority,
        "@scheme": message.scheme,
        "@request-target": message.target,
        "@path": path,
        "@query": f"?{query}" if mark else "?",
    }


def _query_parameter(message: Message, parameters: Mapping[str, BareItem]) -> str:
    wanted = parameters.get("name")
    if len(parameters) != 1 or not isinstance(wanted, str):
        raise Refused("@query-param needs a name and nothing else")
    pairs = parse_qsl(message.target.partition("?")[2], keep_blank_values=True)
    # RFC 9421 2.2.8: names and values are compared and written percent-encoded, a parameter occurs once.
    values = [quote(value, safe="*-._") for name, value in pairs if quote(name, safe="*-._") == wanted]
    if len(values) != 1:
        raise Refused("@query-param names a parameter that does not occur exactly once")
    return values[0]
