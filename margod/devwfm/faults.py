"""Faults on demand: what the development WFM does wrong, how often, on which route.

A fault of a request meets the next `times` requests on its route, before the request is looked at or after it was
decided and recorded (`when`): `answer`, `hang`, `cut`, `garbage`, `endless`, `slow`, `redirect`. A fault of a
connection meets the next `times` connections: `certificate` (of a wrong `kind`), `tls12`, `silent`, `plain`, `reset`.
`times` 0 lasts until it is cleared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Final

from aiohttp import web

from margod.devwfm.problems import DevWfmError

REQUEST_ACTIONS: Final = ("answer", "hang", "cut", "garbage", "endless", "slow", "redirect")
CONNECTION_ACTIONS: Final = ("certificate", "tls12", "silent", "plain", "reset")
DESIRED: Final = ("deployments", "deployment", "bundle", "status")
ROUTES: Final = (
    "all",
    "certificate",
    "onboarding",
    "capabilities",
    *DESIRED,
    "token",
    "git-access",
    "repository",
    "other",
)
WHEN: Final = ("before", "after")
KINDS: Final = ("expired", "not-yet-valid", "wrong-host", "self-signed", "other-ca")

GARBAGE: Final = b"\x00\xffSSH-2.0-not http at all\x1b[2J\r\n\r\n"
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    **dict.fromkeys(("action", "route", "when", "body", "location", "kind", "deployment"), (str,)),
    **dict.fromkeys(("times", "status"), (int,)),
    "seconds": (int, float),
}
_BLOCK: Final = b"[" * 65_536


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault as it was asked for. `seconds` is the pause between two bytes of `slow`, >= 0.

    With `deployment` only requests about that deployment meet it.
    """

    action: str
    route: str = "all"
    times: int = 1
    when: str = "before"
    status: int = 503
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    location: str = ""
    kind: str = "expired"
    seconds: float = 1.0
    deployment: str = ""

    @classmethod
    def from_json(cls, document: object) -> Fault:
        """Read what the control socket was given; raises `DevWfmError` naming the member that is wrong."""
        if not isinstance(document, dict):
            raise DevWfmError("a fault is an object")
        unknown = document.keys() - cls.__dataclass_fields__.keys()
        if unknown:
            raise DevWfmError(f"unknown member {min(unknown)}")
        given = dict(document)
        for name, kinds in _TYPES.items():
            if name in given and type(given[name]) not in kinds:
                raise DevWfmError(f"{name}: not {' or '.join(kind.__name__ for kind in kinds)}")
        headers = given.pop("headers", {})
        if isinstance(headers, Mapping):
            headers = list(headers.items())
        try:
            pairs = tuple((str(name), str(value)) for name, value in headers)
            fault = cls(**given, headers=pairs)
        except (TypeError, ValueError):
            raise DevWfmError("a fault needs an action, and headers are an object or a list of pairs") from None
        fault.check()
        return fault

    def check(self) -> None:
        """Raise `DevWfmError` if a member has a value that it cannot have."""
        choices: dict[str, tuple[str, tuple[str, ...]]] = {
            "action": (self.action, (*REQUEST_ACTIONS, *CONNECTION_ACTIONS)),
            "route": (self.route, ROUTES),
            "when": (self.when, WHEN),
            "kind": (self.kind, KINDS),
        }
        for name, (value, allowed) in choices.items():
            if value not in allowed:
                raise DevWfmError(f"{name}: not one of {', '.join(allowed)}")
        if self.times < 0:
            raise DevWfmError("times: a whole number, 0 for until it is cleared")
        if not 100 <= self.status <= 599:
            raise DevWfmError("status: 100 to 599")
        if not 0 <= self.seconds <= 3600:
            raise DevWfmError("seconds: 0 to 3600")
        lines = (self.location, *(text for pair in self.headers for text in pair))
        if any(character in line for line in lines for character in "\r\n\0"):
            raise DevWfmError("headers and location are one line each")

    def public(self) -> dict[str, object]:
        """Return the fault as the control socket shows it."""
        return asdict(self)


class FaultBox:
    """The faults that are armed, oldest first; the first that fits is met."""

    def __init__(self) -> None:
        """Begin without any."""
        self._armed: list[tuple[Fault, int]] = []

    def add(self, fault: Fault) -> None:
        """Arm a fault."""
        self._armed.append((fault, fault.times))

    def clear(self) -> None:
        """Disarm all."""
        self._armed.clear()

    def armed(self) -> list[dict[str, object]]:
        """Return what is armed, each with how often it is still to come (`left`, 0 for until cleared)."""
        return [{**fault.public(), "left": left} for fault, left in self._armed]

    def next_request(self, route: str, deployment: str = "") -> Fault | None:
        """Take the fault that the next request on `route`, about `deployment` if any, meets."""

        def fits(fault: Fault) -> bool:
            return (
                fault.action in REQUEST_ACTIONS
                and fault.route in {"all", route}
                and fault.deployment in {"", deployment}
            )

        return self._take(fits)

    def next_connection(self) -> Fault | None:
        """Take the fault that the next connection meets."""
        return self._take(lambda f: f.action in CONNECTION_ACTIONS)

    def _take(self, fits: Callable[[Fault], bool]) -> Fault | None:
        for index, (fault, left) in enumerate(self._armed):
            if fits(fault):
                if left == 1:
                    del self._armed[index]
                elif left > 1:
                    self._armed[index] = (fault, left - 1)
                return fault
        return None


async def carry_out(fault: Fault, request: web.BaseRequest, answer: web.Response | None) -> web.StreamResponse:
    """Do to `request` what the fault says; `answer` is the true one if it was decided before (`when` after)."""
    match fault.action:
        case "answer" if fault.status >= 200:
            return _response(fault, fault.status)
        case "answer":
            status = fault.status
            _send_raw(request, f"HTTP/1.1 {status} {_phrase(status)}\r\n\r\n".encode())
        case "redirect":
            response = _response(fault, fault.status if 300 <= fault.status < 400 else 307)
            response.headers["Location"] = (
                fault.location or f"https://{request.headers.get('Host', '')}{request.raw_path}"
            )
            return response
        case "hang":
            await asyncio.get_running_loop().create_future()
        case "garbage":
            _send_raw(request, fault.body.encode() or GARBAGE)
        case "endless":
            return await _endless(fault, request)
        case "slow":
            await _slow(fault, request, answer or _response(fault, 200))
        case _:
            if request.transport is not None:
                request.transport.abort()
    return web.Response()  # The connection is gone: aiohttp notices when it writes this, and drops it.


def _response(fault: Fault, status: int) -> web.Response:
    response = web.Response(status=status, body=fault.body.encode(), content_type="application/json")
    for name, value in fault.headers:
        if name.lower() == "content-type":
            response.headers.popall("Content-Type", None)
        response.headers.add(name, value)
    return response


def _send_raw(request: web.BaseRequest, data: bytes) -> None:
    if request.transport is not None:
        request.transport.write(data)
        request.transport.close()


async def _endless(fault: Fault, request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(status=fault.status if fault.status != 503 else 200)
    response.content_type = "application/json"
    await response.prepare(request)
    while True:
        await response.write(_BLOCK)
        await asyncio.sleep(0)  # on a socket that is gone write() returns without giving the loop a turn to see it


async def _slow(fault: Fault, request: web.BaseRequest, answer: web.Response) -> None:
    body = answer.body if isinstance(answer.body, bytes) else b""
    head = f"HTTP/1.1 {answer.status} {_phrase(answer.status)}\r\nContent-Length: {len(body)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items() if name != "Content-Length")
    for octet in head.encode("latin-1", "replace") + b"\r\n" + body:
        transport = request.transport
        if transport is None or transport.is_closing():
            return
        transport.write(bytes((octet,)))
        await asyncio.sleep(fault.seconds)
    if request.transport is not None:
        request.transport.close()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
