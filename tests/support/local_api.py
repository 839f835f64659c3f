"""A daemon as the local sockets see it, steered by a test, behind the real server on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from margod.local import LocalServer
from margod.model.door import Asked
from margod.model.errors import MargodError
from margod.model.wire import Answer, Sink

FINGERPRINT = "ab" * 32
IDENTITY: dict[str, object] = {
    "fingerprint": FINGERPRINT,
    "key_id": "cd" * 32,
    "algorithm": "ecdsa-p256-sha256",
    "subject": "CN=gateway-7",
    "not_before": "2026-01-01T00:00:00Z",
    "not_after": "2046-01-01T00:00:00Z",
    "source": "minted",
}
DIGEST = f"sha256:{'ef' * 32}"
DEPLOYMENTS: dict[str, object] = {
    "manifestVersion": 7,
    "commit": None,
    "fetched_at": "2026-11-21T18:00:00Z",
    "adopted": None,
    "complete": True,
    "deployments": [{"deploymentId": "pump", "digest": DIGEST}],
}
TIMEOUT = 60  # seconds after which what should have happened has not, on a busy machine too
PEM = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n"
STATUS: dict[str, object] = {
    "schema": 1,
    "version": "0.1.0",
    "state": "onboarding",
    "reason": "dns-failed",
    "message": "The WFM's host name cannot be resolved.",
    "hint": "Check the host in wfm.url, the network cable and the name servers (`resolvectl status`).",
    "detail": "Name or service not known",
    "side": "network",
    "since": "2026-11-21T18:00:00Z",
    "attempt": 3,
    "next_attempt_at": "2026-11-21T18:05:00Z",
    "last_error": {
        "code": "timed-out",
        "message": "The WFM did not answer in time.",
        "hint": "Check the network.",
        "detail": "",
        "at": "2026-11-21T18:01:00Z",
    },
    "connection": "offline",
    "connection_since": "2026-11-21T18:00:00Z",
    "wfm": {"url": "https://wfm.example/prefix", "protocol": "signed", "proxy": None},
    "discovery": {"browsing": False, "instance": None, "seen": []},
    "client_id": None,
    "device_id": None,
    "identity": IDENTITY,
    "trust": {
        "source": "ca_file",
        "anchors": [
            {
                "subject": "CN=Plant Root",
                "fingerprint": "ef" * 32,
                "spki": "cd" * 32,
                "not_before": "2020-01-01T00:00:00Z",
                "not_after": "2040-01-01T00:00:00Z",
            }
        ],
        "offered": [],
        "staged": [],
        "retired": [],
        "presented": None,
    },
    "clock": {
        "plausible": True,
        "synchronised": None,
        "source": "system",
        "floor": "2026-11-21T00:00:00Z",
        "offset_seconds": 0.4,
        "offset_used": False,
    },
    "downtime": {"active": False, "until": None, "operator_until": None, "next_at": None},
    "rotation": None,
    "capabilities": {"accepted": False, "settling": False, "children": 0},
    "desired_state": {
        "manifest_version": 7,
        "commit": None,
        "deployments": 1,
        "adopted": None,
        "complete": True,
        "fetched_at": "2026-11-21T18:00:00Z",
        "checked_at": "2026-11-21T18:01:00Z",
        "next_poll_at": "2026-11-21T18:06:00Z",
        "error": None,
    },
    "outbox": {"waiting": 0, "parked": 0, "oldest": None, "next_attempt_at": None, "last_error": None},
    "warnings": [{"code": "config-last-good", "message": "The configuration has errors.", "hint": "Mend it."}],
    "started_at": "2026-11-21T17:59:00Z",
}

ROTATION: dict[str, object] = {
    "why": "rotated",
    "state": "pending-approval",
    "reason": "pending-approval",
    "message": "The WFM has the request and waits for a person to approve this device.",
    "hint": "Approve the device in the WFM.",
    "detail": "",
    "since": "2026-11-21T18:00:00Z",
    "next_attempt_at": "2026-11-21T18:05:00Z",
    "fingerprint": "12" * 32,
}


REPORT: dict[str, object] = {
    "number": 1,
    "deployment_id": "web",
    "state": "installed",
    "at": "2026-11-21T18:00:00Z",
    "parked": None,
    "detail": "",
    "overtaken": False,
    "uid": 1000,
}


class SteeredController:
    """A Controller whose answers a test sets; `set` is a change that subscribers hear of."""

    def __init__(self) -> None:
        self.document = copy.deepcopy(STATUS)
        self.is_healthy = True
        self.certificate: dict[str, object] | None = {
            **IDENTITY,
            "certificate": PEM,
            "client_id": "client-7",
            "wfm_url": "https://wfm.example/prefix",
            "root_ca": PEM,
        }
        self.reloaded: dict[str, object] = {"result": "reloaded", "problems": []}
        self.failure: Exception | None = None
        self.retries = 0
        self.resets: list[dict[str, bool]] = []
        self.git_tokens: list[tuple[str, str, float | None]] = []
        self.reported: list[tuple[str, bytes]] = []
        self.reporters: list[int] = []
        self.downtimes: list[float] = []
        self.listeners = 0
        self.asked: list[tuple[Asked, bytes]] = []
        self.answer = Answer(404, {"content-type": "application/json"}, b"{}", 0.0)
        self.passes: Callable[[Sink], Awaitable[None]] = self._nothing
        self._changed = asyncio.Condition()

    async def set(self, **changes: object) -> None:
        async with self._changed:
            self.document |= changes
            self._changed.notify_all()

    async def until_listeners(self, count: int) -> None:
        async with asyncio.timeout(TIMEOUT), self._changed:
            await self._changed.wait_for(lambda: self.listeners == count)

    def status(self) -> dict[str, object]:
        if self.failure is not None:
            raise self.failure
        return dict(self.document)

    def healthy(self) -> bool:
        return self.is_healthy

    def identity(self) -> dict[str, object] | None:
        return self.certificate

    def next_identity(self) -> dict[str, object] | None:
        return self.certificate if self.document["rotation"] else None

    async def capabilities(self) -> dict[str, object]:
        return {
            "schema": 1,
            "manifest": {"properties": {"vendor": "V"}},
            "values": [{"name": "vendor", "value": "V", "source": "dmi", "by": []}],
            "children": [{"device_id": "gw/a", "state": "new"}],
            "problems": [],
            "notes": ["runtimes: this generation has no word for them"],
            "accepted": None,
            "settling": False,
            "due_at": None,
        }

    async def retry(self) -> dict[str, object]:
        if isinstance(self.failure, MargodError):
            raise self.failure
        self.retries += 1
        return {"next_attempt_at": "2026-11-21T18:00:30Z", "message": "The next attempt is brought forward."}

    async def reload(self) -> dict[str, object]:
        return self.reloaded

    async def accept_trust(self, fingerprint: str) -> dict[str, object]:
        if isinstance(self.failure, MargodError):
            raise self.failure
        return {"message": f"Taken: {fingerprint}"}

    async def forget_trust(self) -> dict[str, object]:
        return {"message": "Forgotten."}

    async def adopt_hardware(self) -> dict[str, object]:
        if isinstance(self.failure, MargodError):
            raise self.failure
        return {"message": "Adopted."}

    async def rotate(self) -> dict[str, object]:
        if isinstance(self.failure, MargodError):
            raise self.failure
        return {"message": "Begun."}

    async def abort_rotation(self) -> dict[str, object]:
        if isinstance(self.failure, MargodError):
            raise self.failure
        return {"message": "Given up."}

    async def reset(self, **wanted: bool) -> dict[str, object]:
        if isinstance(self.failure, MargodError):
            raise self.failure
        self.resets.append(wanted)
        return {"message": "Reset."}

    async def start_downtime(self, seconds: float) -> dict[str, object]:
        if isinstance(self.failure, MargodError):
            raise self.failure
        self.downtimes.append(seconds)
        return {"message": "Begun."}

    async def stop_downtime(self) -> dict[str, object]:
        if isinstance(self.failure, MargodError):
            raise self.failure
        self.downtimes.append(0.0)
        return {"message": "The downtime is over."}

    async def reset_clock(self) -> dict[str, object]:
        if isinstance(self.failure, MargodError):
            raise self.failure
        return {"message": "Forgotten."}

    async def report(self, deployment_id: str, body: bytes, uid: int) -> dict[str, object]:
        if isinstance(self.failure, MargodError):
            raise self.failure
        self.reported.append((deployment_id, body))
        self.reporters.append(uid)
        return {"number": len(self.reported)}

    async def reports(self, after: int) -> dict[str, object]:
        held = [{**REPORT, "number": number + 1} for number in range(after, len(self.reported))]
        return {"waiting": len(self.reported), "parked": 0, "reports": held}

    async def retry_reports(self, number: int | None) -> dict[str, object]:
        if isinstance(self.failure, MargodError):
            raise self.failure
        return {"message": f"Taken up again: {number}."}

    async def drop_reports(self, number: int | None) -> dict[str, object]:
        if isinstance(self.failure, MargodError):
            raise self.failure
        return {"message": f"Dropped: {number}."}

    def deployments(self) -> dict[str, object]:
        if isinstance(self.failure, MargodError):
            raise self.failure
        return DEPLOYMENTS

    async def deployment(self, deployment_id: str) -> tuple[str, bytes]:
        if isinstance(self.failure, MargodError):
            raise self.failure
        return DIGEST, f"kind: ApplicationDeployment # {deployment_id}\n".encode()

    async def accept_deployments(self) -> dict[str, object]:
        if isinstance(self.failure, MargodError):
            raise self.failure
        return {"message": "Any version."}

    async def hand_git_token(self, url: str, token: str, expires_at: float | None) -> dict[str, object]:
        if isinstance(self.failure, MargodError):
            raise self.failure
        self.git_tokens.append((url, token, expires_at))
        return {"taken": True, "message": "Taken."}

    async def adopt_deployments(self, version: int) -> dict[str, object]:
        if isinstance(self.failure, MargodError):
            raise self.failure
        return {**DEPLOYMENTS, "adopted": version}

    async def choose(self, instance: str) -> dict[str, object]:
        if isinstance(self.failure, MargodError):
            raise self.failure
        return {"instance": instance, "message": f"From now on {instance} is the WFM of this device."}

    async def forward(self, asked: Asked, body: Callable[[], Awaitable[bytes]], into: Sink) -> Answer:
        self.asked.append((asked, await body()))
        if isinstance(self.failure, MargodError):
            raise self.failure
        await self.passes(into)
        return self.answer

    async def _nothing(self, into: Sink) -> None:
        """The answer is not passed on in pieces."""

    async def changes(self) -> AsyncIterator[dict[str, object]]:
        await self._count(1)
        try:
            seen: dict[str, object] = {}
            while True:
                async with self._changed:
                    await self._changed.wait_for(lambda seen=seen: self.document != seen)  # type: ignore[misc]  # mypy cannot infer a default's type
                    seen = dict(self.document)
                yield seen
        finally:
            await self._count(-1)

    async def _count(self, by: int) -> None:
        async with self._changed:
            self.listeners += by
            self._changed.notify_all()


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """A directory whose sockets' paths fit into 107 bytes, whatever the test is called."""
    path = Path(tempfile.mkdtemp(prefix="margod-", dir="/tmp"))
    try:
        yield path / "run"
    finally:
        shutil.rmtree(path)


@contextlib.asynccontextmanager
async def serving(directory: Path, controller: SteeredController) -> AsyncIterator[LocalServer]:
    server = LocalServer(directory, controller, group=None, agents=None)
    await server.start()
    try:
        yield server
    finally:
        async with asyncio.timeout(TIMEOUT):
            await server.stop()


async def run_margod(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Run the command line in a process of its own; return exit code, output and errors."""
    process = await start_margod(*arguments, env=env)
    async with asyncio.timeout(TIMEOUT):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def start_margod(*arguments: str, env: dict[str, str] | None = None) -> asyncio.subprocess.Process:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MARGOD_", "STATE_", "SSL_"))}
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "margod", *arguments, stdout=pipe, stderr=pipe, env=clean | (env or {})
    )


async def exchange(path: Path, data: bytes, *, half_close: bool = False, timeout: float = TIMEOUT) -> bytes:
    """Send bytes as they are and return everything that comes back until the other side hangs up."""
    received = b""
    async with asyncio.timeout(timeout), connected(path) as (reader, writer):
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            await writer.drain()
            if half_close:
                writer.write_eof()
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65_536):
                received += chunk
    return received


@contextlib.asynccontextmanager
async def connected(path: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a socket, closed at the end whatever the other side has done."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def get(target: str, method: str = "GET", headers: str = "Connection: close\r\n") -> bytes:
    """A plain request that asks for the connection to be closed after it."""
    return f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode()


def head_and_json(answer: bytes) -> tuple[int, dict[str, str], Any]:
    """Status, lower-case headers and parsed body of a raw answer with a Content-Length."""
    import json

    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), headers, json.loads(body) if body else None
