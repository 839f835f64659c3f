"""Which requests of local programs go through to the WFM: rules over the raw path, headers by allowlist. Pure.

The raw path is what is looked at and what is sent: nothing is decoded, nothing is normalised. What could mean one thing
here and another at the WFM (`%`, `..`, `//`, `;`, a query) is no path that the door knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from margod.model import reasons
from margod.model.errors import MargodError
from margod.model.reason import Reason

CLIENT_ID: Final = "{clientId}"
"""In a path: the id that the WFM knows this device by."""
BODY_LIMIT: Final = 1_048_576
"""Bytes that a program may send."""
ANSWER_LIMIT: Final = 8 << 20
"""Bytes of an answer: the largest bundle that margod itself would take."""
PATH_LIMIT: Final = 2_048
"""Bytes of a path."""
HIDDEN_UID: Final = 65_534
"""Whom the kernel shows where a user namespace hides the caller: the same number for everybody, so it is nobody's."""

METHODS: Final = "GET|POST|PUT|PATCH|DELETE"
"""What a rule may open. Only the rules say what is."""
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._~=+:@-]+")
"""RFC 3986 unreserved characters and those of pchar that ids and digests need; no `%`, no `;`, no `*`."""
_ANY: Final = re.compile(r"\{[A-Za-z][A-Za-z0-9]*\}")
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}")
_RULE: Final = re.compile(rf"({METHODS}) (/[!-~]*)(?: for ([!-~]+(?: [!-~]+)*))?")
_FIELD: Final = re.compile(r"[\t -~]{0,4096}")

_INWARDS: Final = (
    "Accept",
    "Accept-Language",
    "Content-Type",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Unmodified-Since",
)
"""What of a program's request reaches the WFM. Never what says who asks or proves it."""
_OUTWARDS: Final = (
    "Allow",
    "Cache-Control",
    "Content-Encoding",
    "Content-Language",
    "Content-Type",
    "Date",
    "ETag",
    "Last-Modified",
    "Retry-After",
)
"""What of the WFM's answer reaches the program. Never what is about one connection, cookies, or where else to go."""

_RESERVED: Final = (
    (re.compile(r"onboarding.*"), "onboarding is margod's own"),
    (re.compile(r"status"), "deployment status goes through the outbox (PUT /v1/deployments/{id}/status)"),
    (re.compile(r"capabilities"), "capabilities are margod's own (capabilities.* in the configuration)"),
)
"""Segments, in lower case, that no configuration opens."""


class DoorError(MargodError):
    """A program gets no answer of the WFM. `status` is the HTTP status that says so.

    `retry_after`: seconds after which it is worth asking again, where that is known.
    """

    def __init__(
        self, reason: Reason, message: str = "", *, status: int, retry_after: float | None = None, hint: str = ""
    ) -> None:
        """Say what stands in the way."""
        self.status, self.retry_after = status, retry_after
        super().__init__(reason, message, hint=hint)


class DoorClosed(DoorError):
    """A request that does not go through; the WFM was not asked."""

    def __init__(self, message: str, status: int = 403) -> None:
        """Say which sentence of the rules stands in the way."""
        super().__init__(reasons.DOOR_CLOSED, message, status=status)


@dataclass(frozen=True, slots=True)
class Rule:
    """One opened route. `{clientId}` in it is the device's id, any other `{name}` any one segment.

    `users`: names or numbers of those whom it is open for; () is whoever may use the socket.
    """

    method: str
    route: str
    users: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as it is written: `POST /api/v1/logs/{id} for collector 1001`."""
        opened = f"{self.method} {self.route}"
        return f"{opened} for {' '.join(self.users)}" if self.users else opened


@dataclass(frozen=True, slots=True)
class Asked:
    """What a program asks for: raw path behind the door, headers with names as they came, and who it is (-1: unknown).

    Its body is read only once it is its turn.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    uid: int = -1
    gid: int = -1
    pid: int = -1


@dataclass(frozen=True, slots=True)
class Opened:
    """What goes to the WFM: `path` below its root URL, and the rule's route, which is what the journal shows."""

    path: str
    route: str


def read_rule(text: str) -> Rule:
    """Return the rule that is written as `METHOD /route` or `METHOD /route for USER...`.

    Raises ValueError with what is wrong: among it every route that stays margod's own.
    """
    if (found := _RULE.fullmatch(text)) is None:
        raise ValueError("expected METHOD /route, or METHOD /route for USER ...; a method is GET, POST, PUT, PATCH ...")
    segments = _segments(found[2], pattern=True)
    if (why := _reserved(segments)) is not None:
        raise ValueError(f"{found[2]} cannot be opened: {why}")
    users = tuple(dict.fromkeys((found[3] or "").split()))
    for user in users:
        if _USER.fullmatch(user) is None or user == str(HIDDEN_UID):
            raise ValueError(f"{user} is no user's name or number that could be told from others")
    return Rule(found[1], found[2], users)


def judge(asked: Asked, client_id: str, rules: Iterable[Rule], uids: Mapping[str, int], note: str = "") -> Opened:
    """Return what goes to the WFM, or raise DoorClosed.

    `uids`: the numbers of the users whom the rules name; a name that is missing is nobody's. `note` is a sentence for
    whom no rule is open.
    """
    try:
        segments = _segments(asked.path, pattern=False)
    except ValueError as error:
        raise DoorClosed(f"This path is not forwarded: {error}.", 400) from None
    if (why := _reserved(segments)) is not None:
        raise DoorClosed(f"This path is never forwarded: {why}.")
    filled = [quote(client_id, safe="") if each in (CLIENT_ID, client_id) else each for each in segments]
    for rule in rules:
        if rule.method == asked.method and _fits(rule, segments, client_id) and _is_for(rule, asked.uid, uids):
            return Opened("/" + "/".join(filled), rule.route)
    raise DoorClosed(f"No rule of the door opens this method and path for this user. {note}".rstrip())


def named(rules: Iterable[Rule]) -> tuple[str, ...]:
    """Return the users whom rules mention by name, without repeats."""
    return tuple(dict.fromkeys(user for rule in rules for user in rule.users if not user.isdigit()))


def inwards(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what of a program's headers goes to the WFM. Raises DoorClosed for a value that is not visible ASCII."""
    kept = _kept(headers, _INWARDS)
    for name, value in kept.items():
        if _FIELD.fullmatch(value) is None:
            raise DoorClosed(f"The header {name} is not plain ASCII.", 400)
    return kept


def outwards(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what of the WFM's headers goes to the program; what is not plain ASCII is left out."""
    return {name: value for name, value in _kept(headers, _OUTWARDS).items() if _FIELD.fullmatch(value)}


def _kept(headers: Mapping[str, str], allowed: Sequence[str]) -> dict[str, str]:
    given = {name.lower(): value for name, value in headers.items()}
    return {name: given[name.lower()] for name in allowed if name.lower() in given}


def _segments(path: str, *, pattern: bool) -> list[str]:
    """Return the segments of a raw path; in a pattern any `{name}` may stand for one, else only `{clientId}`."""
    if not path.startswith("/") or path == "/" or len(path) > PATH_LIMIT:
        raise ValueError(f"it has to begin with a slash and to have 2 to {PATH_LIMIT} bytes")
    segments = path[1:].split("/")
    for segment in segments:
        if segment in ("", ".") or ".." in segment:
            raise ValueError("it has empty segments or dots for segments")
        if segment == CLIENT_ID or (pattern and _ANY.fullmatch(segment)):
            continue
        if _SEGMENT.fullmatch(segment) is None:
            raise ValueError("only letters, digits and . _ ~ = + : @ - are known in it, and {clientId} for a segment")
    return segments


def _reserved(segments: Iterable[str]) -> str | None:
    for segment in segments:
        for name, why in _RESERVED:
            if name.fullmatch(segment.lower()):
                return why
    return None


def _fits(rule: Rule, segments: Sequence[str], client_id: str) -> bool:
    wanted = rule.route[1:].split("/")
    return len(wanted) == len(segments) and all(map(lambda w, s: _same(w, s, client_id), wanted, segments))


def _same(wanted: str, segment: str, client_id: str) -> bool:
    if wanted == CLIENT_ID:
        return segment in (CLIENT_ID, client_id)
    return wanted == segment or _ANY.fullmatch(wanted) is not None


def _is_for(rule: Rule, uid: int, uids: Mapping[str, int]) -> bool:
    if not rule.users:
        return True
    if uid in (-1, HIDDEN_UID):  # nobody in particular
        return False
    return any(uid == (int(user) if user.isdigit() else uids.get(user)) for user in rule.users)
