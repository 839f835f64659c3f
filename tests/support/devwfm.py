"""A development WFM as a real process, for the tests of everything that talks to one.

async with DevWfm(tmp_path / "wfm", "--approval", "manual", prefix="/v1alpha2/margo") as wfm:
    ... wfm.url, wfm.ca_file ...
    await wfm.approve(1)
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

from margod.devwfm.control import call
from tests.support.zygote import Child, margod

READY_TIMEOUT: Final = 60.0
"""Seconds a start may take on a busy machine; it takes one."""

STOP_TIMEOUT: Final = 60.0

_FOREIGN: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")


def command(*arguments: str) -> list[str]:
    """Return the command line of `margod devwfm ARGUMENTS`."""
    return [sys.executable, "-m", "margod", "devwfm", *arguments]


def environment() -> dict[str, str]:
    """Return this process's environment without what would change whom TLS trusts."""
    return {name: value for name, value in os.environ.items() if name not in _FOREIGN}


class DevWfm:
    """One development WFM in `directory`. Usable as `async with`, or by `start`, `stop` and `kill`.

    `options` are those of `margod devwfm serve`. A second `start` listens on the port of the first.
    """

    def __init__(self, directory: Path, *options: str, prefix: str = "", within: Sequence[str] = ()) -> None:
        """Nothing is started before `start`. `within` goes before the command line: `ip netns exec NAME`."""
        self._within = within
        self.directory = directory
        self.url = ""
        self.ca_file = directory / "ca.pem"
        self.protocol = options[options.index("--protocol") + 1] if "--protocol" in options else "signed"
        self._options = [*options, "--prefix", prefix] if prefix else list(options)
        self._listen = "127.0.0.1:0"
        self._process: asyncio.subprocess.Process | Child | None = None

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        await self.stop()

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What it said on standard error, over all its starts."""
        file = self._log_file
        return file.read_text(errors="replace") if file.exists() else ""

    async def start(self) -> None:
        """Start the process and wait until devices can connect."""
        assert self._process is None, "already started"
        listen = [] if "--listen" in self._options else ["--listen", self._listen]
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("ab") as log:
            self._process = await margod(
                *("devwfm", "serve", "--directory", str(self.directory), *listen, *self._options),
                prefix=self._within,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=environment(),
            )
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), READY_TIMEOUT)
        except TimeoutError:
            await self.kill()
            raise AssertionError(f"devwfm was not ready in {READY_TIMEOUT} s: {self.log}") from None
        if not line.startswith(b"ready "):
            await self.stop()
            raise AssertionError(f"devwfm did not start: {self.log}")
        ready = json.loads((self.directory / "ready.json").read_bytes())
        self.url, self.ca_file = ready["url"], Path(ready["ca_file"])
        self._listen = f"127.0.0.1:{urlsplit(self.url).port}"

    async def stop(self) -> None:
        """Stop it by SIGTERM; nothing happens if it is not running."""
        await self._end(terminate=True)

    async def kill(self) -> None:
        """Stop it by SIGKILL; nothing happens if it is not running."""
        await self._end(terminate=False)

    async def control(self, method: str, path: str, payload: object = None) -> Any:
        """Make a call on the control socket; raises `DevWfmError` with what it answered."""
        return await asyncio.to_thread(call, self.directory, method, path, payload)

    async def clients(self) -> list[dict[str, Any]]:
        """Return the devices that asked: number, fingerprint, subject, state, client_id, since."""
        return list((await self.control("GET", "/v1/clients"))["clients"])

    async def approve(self, client: int | str = 1) -> dict[str, Any]:
        """Let a device in, by request number, fingerprint prefix or client id."""
        return await self._act(client, "approve")

    async def reject(self, client: int | str = 1) -> dict[str, Any]:
        """Refuse a device, or revoke it."""
        return await self._act(client, "reject")

    async def forget(self, client: int | str = 1) -> dict[str, Any]:
        """Forget a device and all that it reported."""
        return await self._act(client, "forget")

    async def upload(self, certificate: bytes) -> dict[str, Any]:
        """Approve a certificate (PEM or DER) before the device asks."""
        return dict(await self.control("POST", "/v1/upload", certificate))

    async def devices(self) -> list[dict[str, Any]]:
        """Return what was reported: client_id, device_id, manifest, since."""
        return list((await self.control("GET", "/v1/devices"))["devices"])

    async def statuses(self, deployment_id: str | None = None) -> list[dict[str, Any]]:
        """Return every deployment status taken, oldest first, of one deployment or of all.

        Each has number, client_id, deployment_id, state, came (first, forward, again, back), manifest, at.
        """
        found = (await self.control("GET", "/v1/statuses"))["statuses"]
        return [one for one in found if deployment_id in {None, one["deployment_id"]}]

    async def requests(self, route: str | None = None) -> list[dict[str, Any]]:
        """Return every request so far, oldest first, of one route or of all.

        Each has number, at, route, method, target, fields (list of pairs), body (bytes), status (None: a fault came
        first), verdict, fingerprint, client_id. They survive a restart.
        """
        found = (await self.control("GET", "/v1/requests"))["requests"]
        return [{**r, "body": base64.b64decode(r["body"])} for r in found if route in {None, r["route"]}]

    async def stats(self, *, reset: bool = False) -> dict[str, Any]:
        """Return connections, handshakes, handshakes_failed, requests (by route), requests_total; zeroed by `reset`."""
        return dict(await self.control("POST", "/v1/stats/reset") if reset else await self.control("GET", "/v1/stats"))

    async def fault(self, action: str, **members: Any) -> None:
        """Arm a fault: `fault("answer", route="onboarding", times=3, status=503, headers={"Retry-After": "1"})`."""
        await self.control("POST", "/v1/faults", {"action": action, **members})

    async def clear_faults(self) -> None:
        """Disarm every fault."""
        await self.control("DELETE", "/v1/faults")

    async def deploy(self, deployment_id: str, text: str | bytes) -> dict[str, Any]:
        """Want a deployment on every device; returns version and deployments."""
        data = text if isinstance(text, bytes) else text.encode()
        return dict(await self.control("PUT", f"/v1/deployments/{deployment_id}", data))

    async def undeploy(self, deployment_id: str) -> dict[str, Any]:
        """Want it no more."""
        return dict(await self.control("DELETE", f"/v1/deployments/{deployment_id}"))

    async def spoil(self, *names: str) -> None:
        """Make these things wrong with the desired state, and these alone (`margod devwfm spoil list`)."""
        await self.control("PUT", "/v1/spoils", list(names))

    async def rotate(self, act: str) -> dict[str, Any]:
        """Offer or present another CA (its root is `other-ca/ca.pem`): offer, present, swap, back."""
        return dict(await self.control("POST", f"/v1/ca/{act}"))

    async def close_connections(self) -> None:
        """Close every connection of a device."""
        await self.control("POST", "/v1/connections/close")

    @property
    def _log_file(self) -> Path:
        return self.directory.with_name(f"{self.directory.name}.log")

    async def _act(self, client: int | str, act: str) -> dict[str, Any]:
        return dict(await self.control("POST", f"/v1/clients/{quote(str(client), safe='')}/{act}"))

    async def _end(self, *, terminate: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.terminate() if terminate else process.kill()
        try:
            await asyncio.wait_for(process.communicate(), STOP_TIMEOUT)
        except TimeoutError:
            process.kill()
            await process.communicate()
            raise AssertionError(f"devwfm did not stop in {STOP_TIMEOUT} s") from None
