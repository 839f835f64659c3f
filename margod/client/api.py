"""The local API as Python calls: blocking HTTP over a Unix socket, one connection a call."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, cast

from margod.client import sockets
from margod.client.documents import (
    CapabilitiesDocument,
    ChosenDocument,
    DeploymentsDocument,
    GitTokenDocument,
    HealthDocument,
    IdentityDocument,
    MessageDocument,
    ReloadDocument,
    ReportedDocument,
    ReportsDocument,
    RetryDocument,
    StatusDocument,
)
from margod.client.events import next_event
from margod.model.errors import DaemonUnreachable, MargodError
from margod.model.reasons import DAEMON_UNREACHABLE, NOT_PERMITTED, REASONS, Reason, Side

DEFAULT_DIRECTORY: Final = "/run/margod"
"""Where the daemon's unit puts its sockets."""
ANSWER_LIMIT: Final = 1_048_576
"""Bytes of an answer, or of one line of a stream."""
TIMEOUT: Final = 10.0
"""Seconds for connecting and for each read, unless told otherwise."""
POST_TIMEOUT: Final = 40.0
"""Seconds at least for what the daemon is asked to do: it answers within 30."""
_LINE_LIMIT: Final = 8192
"""Bytes of one line of an answer's head."""
_LINES_LIMIT: Final = 64
"""Lines of an answer's head."""


class RequestRefused(MargodError):
    """The daemon answered with an error. `status` is the HTTP status."""

    def __init__(self, status: int, reason: Reason, message: str, hint: str) -> None:
        """Take the daemon's words."""
        self.status = status
        super().__init__(reason, message, hint=hint)


class Client:
    """The API behind one socket.

    Every call raises DaemonUnreachable if no margod answers there (reason `not-permitted` if this user may not use the
    socket) and RequestRefused if it answers with an error.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = TIMEOUT) -> None:
        """Talk to the socket at `path`, waiting at most `timeout` seconds for each read."""
        self._path = os.fspath(path)
        self._timeout = timeout

    def status(self) -> StatusDocument:
        """Return the status document."""
        return cast("StatusDocument", self._ask("GET", "/v1/status"))

    def health(self) -> HealthDocument:
        """Return whether the daemon itself works; an unhealthy one answers too."""
        return cast("HealthDocument", self._ask("GET", "/v1/health", also=503))

    def identity(self, *, following: bool = False) -> IdentityDocument | None:
        """Return the device's identity, or that which is to follow it; None if there is none."""
        try:
            return cast("IdentityDocument", self._ask("GET", "/v1/identity/next" if following else "/v1/identity"))
        except RequestRefused as error:
            if error.status == 404:
                return None
            raise

    def capabilities(self) -> CapabilitiesDocument:
        """Return what the device would report now, where it comes from, and what the WFM took last."""
        return cast("CapabilitiesDocument", self._ask("GET", "/v1/capabilities"))

    def deployments(self) -> DeploymentsDocument:
        """Return what the WFM wants to run here (agent socket); refused with 404 while nothing is known."""
        return cast("DeploymentsDocument", self._ask("GET", "/v1/deployments"))

    def deployment(self, deployment_id: str) -> bytes:
        """Return the YAML of one deployment as the WFM gave it (agent socket)."""
        return self._whole("GET", f"/v1/deployments/{quoted(deployment_id)}")

    def adopted(self, version: int) -> DeploymentsDocument:
        """Say that the agent works by the desired state of this version (agent socket)."""
        body = json.dumps({"manifestVersion": version}).encode()
        return cast("DeploymentsDocument", self._ask("POST", "/v1/deployments/adopted", body=body))

    def accept_deployments(self) -> MessageDocument:
        """Have the next desired state taken whatever its version is, once (admin socket)."""
        return cast("MessageDocument", self._ask("POST", "/v1/deployments/accept"))

    def hand_git_token(self, body: bytes) -> GitTokenDocument:
        """Hand over an access token for the Git repository: JSON as openapi.yaml has it (admin socket)."""
        return cast("GitTokenDocument", self._ask("PUT", "/v1/git-token", body=body))

    def retry(self) -> RetryDocument:
        """Bring the next attempt forward (admin socket)."""
        return cast("RetryDocument", self._ask("POST", "/v1/retry"))

    def reload(self) -> ReloadDocument:
        """Have the configuration read anew (admin socket)."""
        return cast("ReloadDocument", self._ask("POST", "/v1/reload"))

    def adopt_hardware(self) -> MessageDocument:
        """Have the stored identity bound to the hardware that it is on (admin socket)."""
        return cast("MessageDocument", self._ask("POST", "/v1/identity/adopt-hardware"))

    def rotate(self) -> MessageDocument:
        """Have another identity onboarded, to take the place of the one in force (admin socket)."""
        return cast("MessageDocument", self._ask("POST", "/v1/identity/rotate"))

    def abort_rotation(self) -> MessageDocument:
        """Have that given up (admin socket)."""
        return cast("MessageDocument", self._ask("POST", "/v1/identity/rotate/abort"))

    def report(self, deployment_id: str, body: bytes) -> ReportedDocument:
        """Report a deployment in the specification's form, as JSON; it is durable when this returns (agent socket)."""
        target = f"/v1/deployments/{quoted(deployment_id)}/status"
        return cast("ReportedDocument", self._ask("PUT", target, body=body))

    def reports(self, after: int = 0) -> ReportsDocument:
        """Return a page of the reports that the WFM has not accepted, behind the number `after` (agent socket)."""
        return cast("ReportsDocument", self._ask("GET", f"/v1/outbox?after={after}"))

    def retry_reports(self, number: int | None = None) -> MessageDocument:
        """Have a parked report, or all, sent again (admin socket)."""
        return cast("MessageDocument", self._ask("POST", _numbered("/v1/outbox/retry", number)))

    def drop_reports(self, number: int | None = None) -> MessageDocument:
        """Have a report, or all that are parked, removed (admin socket)."""
        return cast("MessageDocument", self._ask("POST", _numbered("/v1/outbox/drop", number)))

    def use(self, instance: str) -> ChosenDocument:
        """Take the discovered WFM of this instance name (admin socket)."""
        return cast("ChosenDocument", self._ask("POST", f"/v1/discovery/use?instance={quoted(instance)}"))

    def accept_trust(self, fingerprint: str) -> MessageDocument:
        """Have the offered root CA with this fingerprint (64 hex digits) taken (admin socket)."""
        return cast("MessageDocument", self._ask("POST", f"/v1/trust/accept?fingerprint={fingerprint}"))

    def forget_trust(self) -> MessageDocument:
        """Have the root CA dropped and downloaded anew (admin socket)."""
        return cast("MessageDocument", self._ask("POST", "/v1/trust/forget"))

    def reset(self, *, unregister: bool = False, new_identity: bool = False, wipe: bool = False) -> MessageDocument:
        """Have the enrolment archived and the device started again, or everything cleared (admin socket)."""
        wanted = {"unregister": unregister, "new_identity": new_identity, "wipe": wipe}
        query = "&".join(f"{name}=true" for name, is_wanted in wanted.items() if is_wanted)
        return cast("MessageDocument", self._ask("POST", f"/v1/reset?{query}" if query else "/v1/reset"))

    def reset_clock(self) -> MessageDocument:
        """Have the stored floor of the clock forgotten (admin socket)."""
        return cast("MessageDocument", self._ask("POST", "/v1/clock/reset"))

    def start_downtime(self, seconds: int) -> MessageDocument:
        """Have nothing leave the device for so many seconds, 60 to 2,592,000 (admin socket)."""
        return cast("MessageDocument", self._ask("POST", f"/v1/downtime/start?seconds={seconds}"))

    def stop_downtime(self) -> MessageDocument:
        """End the downtime that was begun by hand (admin socket)."""
        return cast("MessageDocument", self._ask("POST", "/v1/downtime/stop"))

    def events(self, timeout: float | None = None) -> Iterator[StatusDocument]:
        """Yield the status document now and at every change.

        Ends after `timeout` seconds (None: never). Raises DaemonUnreachable when the daemon goes away.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        exchange = _Exchange(self._path, self._bounded(deadline))
        try:
            self._send(exchange, "GET", "/v1/events")
            if exchange.status != 200:
                raise self._refusal(exchange.status, self._read(exchange))
            while True:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return
                exchange.wait_for(left)
                try:
                    data = next_event(exchange.line, ANSWER_LIMIT)
                except TimeoutError:
                    return
                except (OSError, ValueError) as error:
                    raise self._unreachable(error) from error
                if data is None:
                    message = f"The margod behind {self._path} went away."
                    raise DaemonUnreachable(DAEMON_UNREACHABLE, message)
                yield cast("StatusDocument", self._parse(data))
        finally:
            exchange.close()

    def _ask(self, method: str, target: str, *, also: int = 0, body: bytes = b"") -> dict[str, Any]:
        return self._parse(self._whole(method, target, also=also, body=body))

    def _whole(self, method: str, target: str, *, also: int = 0, body: bytes = b"") -> bytes:
        timeout = self._timeout if method == "GET" else max(self._timeout, POST_TIMEOUT)
        exchange = _Exchange(self._path, timeout)
        try:
            self._send(exchange, method, target, body)
            answer = self._read(exchange)
            if exchange.status >= 300 and exchange.status != also:
                raise self._refusal(exchange.status, answer)
            return answer
        finally:
            exchange.close()

    def _send(self, exchange: _Exchange, method: str, target: str, body: bytes = b"") -> None:
        try:
            exchange.send(method, target, body)
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from error

    def _read(self, exchange: _Exchange) -> bytes:
        try:
            return exchange.body()
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from error

    def _parse(self, body: bytes) -> dict[str, Any]:
        return parsed(self._path, body)

    def _refusal(self, status: int, body: bytes) -> RequestRefused:
        return refusal(self._path, status, body)

    def _unreachable(self, error: Exception) -> DaemonUnreachable:
        return unreachable(self._path, error)

    def _bounded(self, deadline: float | None) -> float:
        if deadline is None:
            return self._timeout
        return max(0.01, min(self._timeout, deadline - time.monotonic()))


def parsed(path: str, body: bytes) -> dict[str, Any]:
    """Return the JSON object that the socket at `path` answered with. Raises DaemonUnreachable if it is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise unreachable(path, ValueError("its answer is not JSON")) from error
    if not isinstance(found, dict):
        raise unreachable(path, ValueError("its answer is not a JSON object"))
    return found


def refusal(path: str, status: int, body: bytes) -> RequestRefused:
    """Return the error that the socket at `path` answered with."""
    error = parsed(path, body).get("error")
    said = error if isinstance(error, dict) else {}
    code, message, hint = (str(said.get(key) or "") for key in ("code", "message", "hint"))
    message = message or f"The daemon answered with HTTP status {status}."
    if code == "not-found":  # the socket has no such route, and perhaps another one has
        hint = hint or sockets.OTHERS.get(path.rpartition("/")[2], "")
    reason = REASONS.get(code) or Reason(code or "request-refused", Side.DEVICE, message)
    return RequestRefused(status, reason, message, hint)


def unreachable(path: str, error: Exception) -> DaemonUnreachable:
    """Return what it means that the socket at `path` did not answer."""
    if isinstance(error, PermissionError):
        said = f"This user may not use the socket {path}."
        return DaemonUnreachable(NOT_PERMITTED, said, hint=sockets.WHO_MAY.get(path.rpartition("/")[2], ""))
    what = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return DaemonUnreachable(DAEMON_UNREACHABLE, f"No margod answers on {path}: {what}.")


def connect(caller: socket.socket, path: str) -> None:
    """Connect; a queue that is full (EAGAIN on a Unix socket) means that a daemon is there, and is waited for."""
    deadline = time.monotonic() + (caller.gettimeout() or TIMEOUT)
    while True:
        try:
            return caller.connect(path)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError("its queue of callers is full") from None
            time.sleep(0.02)


def runtime_directory(option: str | None = None) -> str:
    """Return where the sockets are: `option`, MARGOD_RUNTIME_DIR, or /run/margod."""
    return option or os.environ.get("MARGOD_RUNTIME_DIR") or DEFAULT_DIRECTORY


def status_socket(directory: str) -> str:
    """Return the path of the socket for reading."""
    return f"{directory.rstrip('/')}/status.sock"


def agent_socket(directory: str) -> str:
    """Return the path of the socket for the programs that do the device's work."""
    return f"{directory.rstrip('/')}/agent/agent.sock"


def admin_socket(directory: str) -> str:
    """Return the path of the socket for administering."""
    return f"{directory.rstrip('/')}/admin/admin.sock"


class _Exchange:
    """One request and its answer in HTTP/1.0: a head, then a body up to its length or to the end, never in chunks.

    Written out because http.client would be half of what `margod status` costs. Raises OSError, and ValueError for what
    is not such an answer.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self.status = 0
        self._path = path
        self._length: int | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._file = self._socket.makefile("rb")

    def send(self, method: str, target: str, body: bytes = b"") -> None:
        """Send the request and read the answer's head."""
        connect(self._socket, self._path)
        head = f"{method} {target} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        with suppress(BrokenPipeError):  # refused for its size: the answer says so
            self._socket.sendall(head.encode() + body)
        version, _, rest = self._head_line().partition(b" ")
        if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
            raise ValueError("it does not speak HTTP")
        self.status = int(rest[:3])
        for _ in range(_LINES_LIMIT):
            if not (line := self._head_line()):
                return
            name, _, value = line.partition(b":")
            if name.lower() == b"transfer-encoding":
                raise ValueError("its answer comes in chunks, which was not asked for")
            if name.lower() == b"content-length":
                if not value.strip().isdigit():
                    raise ValueError("its answer has no length that can be read")
                self._length = int(value)
        raise ValueError("its answer's head is too long")

    def body(self) -> bytes:
        """Return the whole body."""
        if self._length is not None and self._length > ANSWER_LIMIT:
            raise ValueError("its answer is too large")
        body = self._file.read(ANSWER_LIMIT + 1 if self._length is None else self._length)
        if len(body) > ANSWER_LIMIT:
            raise ValueError("its answer is too large")
        if self._length is not None and len(body) < self._length:
            raise ValueError("its answer ends early")
        return body

    def line(self) -> bytes:
        """Return the next line of the body, nothing at its end."""
        return self._file.readline(ANSWER_LIMIT + 1)

    def wait_for(self, seconds: float | None) -> None:
        """Let later reads wait for `seconds` (None: for ever)."""
        self._socket.settimeout(seconds)

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()

    def _head_line(self) -> bytes:
        line = self._file.readline(_LINE_LIMIT)
        if not line.endswith(b"\n"):
            raise ValueError("its answer's head is cut or too long")
        return line.rstrip(b"\r\n")


def _numbered(target: str, number: int | None) -> str:
    return target if number is None else f"{target}?number={number}"


def quoted(text: str) -> str:
    """Percent-encode all but what is unreserved (RFC 3986, 2.3); urllib.parse costs more than the whole command."""

    return "".join(
        chr(b) if b < 128 and (chr(b).isalnum() or chr(b) in "-._~") else f"%{b:02X}"
        for b in text.encode("utf-8", "surrogateescape")
    )
