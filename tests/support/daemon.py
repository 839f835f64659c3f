"""margod as a real process, for the end-to-end tests.

async with Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
    await daemon.until("enrolled")
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.support.zygote import Child, margod

TIMEOUT: Final = 60.0
"""Seconds that anything may take on a busy machine, a few waits for a next attempt included."""

QUIET: Final = "discovery: {enabled: false}"
"""In the configuration: without a URL nothing is looked for, whatever else announces itself on this machine."""


@dataclass(frozen=True)
class Reply:
    """An answer of a local socket, as it came."""

    status: int
    headers: dict[str, str]
    body: str

    def json(self) -> Any:
        """Return the document in it."""
        return json.loads(self.body)


class Daemon:
    """One margod in `directory`: `m.yaml`, `state/`, `run/`, and what it wrote in `journal`."""

    fresh = False
    """Whether it begins with an interpreter of its own: see `FreshDaemon`."""

    def __init__(
        self,
        directory: Path,
        *,
        url: str | None = None,
        ca_file: Path | None = None,
        yaml: str = "",
        protocol: str = "signed",
    ) -> None:
        """Write the configuration; nothing is started before `start`. `yaml` is added to it as it is."""
        self.protocol = protocol
        """What `configure` writes as wfm.protocol."""
        self.directory = directory
        self.state = directory / "state"
        self.runtime = directory / "run"
        self.config = directory / "m.yaml"
        self.options = ["--config", str(self.config), "--state-dir", str(self.state)]
        self.configure(url=url, ca_file=ca_file, yaml=yaml)
        self.prefix: list[str] = []
        """A command that runs the one given after it: another namespace, another clock."""
        self.process: asyncio.subprocess.Process | Child | None = None
        self.journal: list[str] = []
        self._reading: asyncio.Task[None] | None = None
        self._new_line = asyncio.Event()

    def configure(self, *, url: str | None = None, ca_file: Path | None = None, yaml: str = "") -> None:
        """Write the configuration; a running daemon learns of it by `reload`."""
        lines = ["log: {level: debug}"]
        lines += [] if "state:" in yaml else ["state: {allow_volatile: true}"]  # wherever the tests' files are
        # Nobody asks for the desired state unless a test wants it: what the server sees is the enrolment alone.
        lines += [] if "schedule:" in yaml else ["schedule: {polling: {rate: off}}"]
        lines += [f'wfm: {{url: "{url}", protocol: {self.protocol}, timeout: 5s}}'] if url else []
        lines += [f"trust: {{ca_file: {ca_file}}}"] if ca_file else []
        self.config.write_text("\n".join([*lines, yaml, ""]))

    async def __aenter__(self) -> Self:
        """Start it and wait for its socket."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, and see that it never showed a traceback."""
        await self.stop()
        if error is None:
            faults = [line for line in self.journal if "Traceback" in line or "internal-error" in line]
            assert not faults, faults

    async def start(self, *arguments: str, env: dict[str, str] | None = None, wait: bool = True) -> None:
        """Start the process; with `wait` until it says that it has started."""
        self.process = await margod(
            *("run", *self.options, "--runtime-dir", str(self.runtime), *arguments),
            prefix=self.prefix,
            fresh=self.fresh,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **(env or {})},
        )
        self._reading = asyncio.ensure_future(self._read(self.process))
        if wait:
            try:
                await self.journal_line("started", since=len(self.journal))
            except AssertionError:
                await self.stop(signal.SIGKILL)  # nobody else would: the test has not begun
                raise

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, return the exit code (negative: the signal)."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for the process to end by itself and return its exit code."""
        assert self.process is not None
        assert self._reading is not None
        try:
            async with asyncio.timeout(TIMEOUT):
                code = await self.process.wait()
                await self._reading
        except TimeoutError:
            if self.process.returncode is None:
                self.process.kill()  # it would be in the way of all the tests after this one
            raise
        return code

    async def command(self, *arguments: str) -> tuple[int, str, str]:
        """Run `margod ARGUMENTS` against this daemon; return exit code, output and error output."""
        process = await asyncio.create_subprocess_exec(
            *(*self.prefix, sys.executable, "-m", "margod", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "MARGOD_RUNTIME_DIR": str(self.runtime), "MARGOD_CONFIG": str(self.config)},
        )
        async with asyncio.timeout(TIMEOUT):
            out, error = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), error.decode()

    async def status(self) -> dict[str, Any]:
        """Return the status document, over the real socket."""
        return await self.get("/v1/status")

    async def get(self, path: str) -> dict[str, Any]:
        """GET a document from the status socket."""
        return await self._call("GET", path, "status.sock")

    async def reload(self) -> dict[str, Any]:
        """Have it read its configuration again; return `result` and `problems`."""
        return await self._call("POST", "/v1/reload", "admin/admin.sock")

    async def retry(self) -> dict[str, Any]:
        """Have it make the next attempt now."""
        return await self.post("/v1/retry")

    async def report(self, deployment_id: str, document: object) -> dict[str, Any]:
        """Report a deployment as a local agent does; return the answer."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return await self._call("PUT", f"/v1/deployments/{deployment_id}/status", "agent/agent.sock", body)

    async def outbox(self) -> list[dict[str, Any]]:
        """Return the reports that the WFM has not taken."""
        return list((await self._call("GET", "/v1/outbox", "agent/agent.sock"))["reports"])

    async def post(self, path: str) -> dict[str, Any]:
        """Ask the admin socket for something."""
        return await self._call("POST", path, "admin/admin.sock")

    async def answer(self, method: str, path: str, body: str = "", *, socket: str = "agent/agent.sock") -> Reply:
        """Ask the agent socket, or another one."""
        reader, writer = await asyncio.open_unix_connection(self.runtime / socket)
        head = f"{method} {path} HTTP/1.1\r\nHost: margod\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body.encode())
        async with asyncio.timeout(TIMEOUT):
            answer = await reader.read()
        writer.close()
        head, _, rest = answer.decode().partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return Reply(int(first.split()[1]), headers, rest)

    async def _call(self, method: str, path: str, name: str, body: bytes = b"") -> dict[str, Any]:
        reader, writer = await asyncio.open_unix_connection(self.runtime / name)
        length = f"Content-Length: {len(body)}\r\n" if method != "GET" else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: margod\r\nConnection: close\r\n{length}\r\n"
        writer.write(head.encode() + body)
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await reader.read()
        finally:
            writer.close()
        document = json.loads(answer.split(b"\r\n\r\n", 1)[1])
        assert isinstance(document, dict)
        return document

    async def answer_kept(self) -> None:
        """Wait until it has written down what an onboarding request was answered, which it does while it says so."""
        file = self.state / "answer.log"
        async with asyncio.timeout(TIMEOUT):
            while b'"kind":"answer"' not in file.read_bytes():
                await asyncio.sleep(0.02)  # a file tells nobody

    async def remembered(self) -> None:
        """Wait until it has written down that it is enrolled, which it does once it says so."""
        file = self.state / "runtime.json"
        async with asyncio.timeout(TIMEOUT):
            while not file.exists() or b'"enrolled"' not in file.read_bytes():
                await asyncio.sleep(0.02)  # a file tells nobody

    async def until(self, state: str, reason: str | None = None) -> dict[str, Any]:
        """Wait until the daemon is in this state (for this reason) and return the status document."""

        def reached(status: dict[str, Any]) -> bool:
            return status["state"] == state and reason in (None, status["reason"])

        return await self.until_status(reached, f"{state} {reason or ''}")

    async def until_status(self, reached: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Wait on /v1/events until a status document is as wanted, and return it."""
        reader, writer = await asyncio.open_unix_connection(self.runtime / "status.sock", limit=1 << 20)
        writer.write(b"GET /v1/events HTTP/1.1\r\nHost: margod\r\n\r\n")
        seen: dict[str, Any] = {}
        try:
            async with asyncio.timeout(TIMEOUT):
                while line := await reader.readline():
                    if line.startswith(b"data:"):
                        seen = json.loads(line[5:])
                        if reached(seen):
                            return seen
        except TimeoutError:
            pass
        finally:
            writer.close()
        raise AssertionError(f"never {what}; last: {seen}; journal:\n" + "\n".join(self.journal[-20:]))

    async def journal_line(self, event: str, since: int = 0, *, having: str = "") -> str:
        """Wait until the journal has a line of this event, with `having` in it, after line `since`; return it."""
        assert self.process is not None
        try:
            async with asyncio.timeout(TIMEOUT):
                while True:
                    for line in self.journal[since:]:
                        if line.split(">", 1)[-1].split(" ", 1)[0] == event and having in line:
                            return line
                    if self._reading is None or self._reading.done():
                        break
                    self._new_line.clear()
                    await self._new_line.wait()
        except TimeoutError:
            pass
        raise AssertionError(f"no {event!r} in the journal:\n" + "\n".join(self.journal))

    async def _read(self, process: asyncio.subprocess.Process | Child) -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            self.journal.append(line.decode("utf-8", "replace").rstrip("\n"))
            self._new_line.set()
        self._new_line.set()


class FreshDaemon(Daemon):
    """One whose start itself is looked at, or what the process is like: nobody has made its imports for it."""

    fresh = True
