"""The server side of the control socket (0600, in the directory): what a person or a test can make the WFM do.

GET  /v1/info /v1/clients /v1/devices /v1/statuses /v1/requests /v1/stats /v1/faults /v1/deployments /v1/spoils
POST /v1/clients/{id}/approve|reject|forget     id: request number, fingerprint prefix, client id
POST /v1/upload (body: a certificate)  /v1/faults  /v1/stats/reset  /v1/connections/close
POST /v1/ca/offer|present|swap|back  /v1/tokens/revoke|rotate|rewind
PUT /v1/deployments/{id} (body: YAML)  /v1/spoils (body: a list of names)
DELETE /v1/faults /v1/deployments/{id}
"""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from aiohttp import web

from margod.devwfm import certificates
from margod.devwfm.app import Stats
from margod.devwfm.control import SOCKET, address
from margod.devwfm.desired import Desired
from margod.devwfm.faults import CONNECTION_ACTIONS, Fault, FaultBox
from margod.devwfm.problems import Ambiguous, DevWfmError, NotFound, NotPossible
from margod.devwfm.registry import Client, Registry


class Controlled(Protocol):
    """What the control socket needs of the server besides registry, faults and counts."""

    desired: Desired

    def info(self) -> dict[str, object]:
        """Return where it listens and how it was started."""

    def turn_ca(self, act: str) -> dict[str, object]:
        """Offer or present another CA, or the first again."""

    def turn_tokens(self, act: str) -> dict[str, object]:
        """Revoke bearer tokens, rotate Git tokens, rewrite the repository's history."""

    def close_connections(self) -> int:
        """Close every connection of a device; returns how many there were."""


class ControlServer:
    """Serves the control socket of one directory from `start` to `stop`."""

    def __init__(self, directory: Path, registry: Registry, faults: FaultBox, stats: Stats, server: Controlled) -> None:
        """Nothing is opened before `start`."""
        self._directory = directory
        self._registry = registry
        self._faults = faults
        self._stats = stats
        self._server = server
        self._desired = server.desired
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Bind the socket (a stale one is removed: the directory is locked by us) and serve."""
        app = web.Application(middlewares=[_errors], client_max_size=2 << 20)
        app.add_routes(
            [
                web.get("/v1/info", self._info),
                web.get("/v1/clients", self._clients),
                web.get("/v1/devices", self._devices),
                web.get("/v1/statuses", self._statuses),
                web.get("/v1/requests", self._requests),
                web.get("/v1/stats", self._show_stats),
                web.get("/v1/faults", self._show_faults),
                web.post("/v1/clients/{id}/{act:approve|reject|forget}", self._act),
                web.post("/v1/upload", self._upload),
                web.post("/v1/faults", self._arm),
                web.delete("/v1/faults", self._disarm),
                web.post("/v1/stats/reset", self._reset),
                web.post("/v1/connections/close", self._close),
                web.post("/v1/ca/{act}", self._turn_ca),
                web.post("/v1/tokens/{act:revoke|rotate|rewind}", self._turn_tokens),
                web.get("/v1/deployments", self._deployments),
                web.put("/v1/deployments/{id}", self._deploy),
                web.delete("/v1/deployments/{id}", self._remove),
                web.get("/v1/spoils", self._show_spoils),
                web.put("/v1/spoils", self._spoil),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        await web.SockSite(self._runner, self._bind()).start()

    async def stop(self) -> None:
        """Close and remove the socket."""
        if self._runner is not None:
            (self._directory / SOCKET).unlink(missing_ok=True)
            await self._runner.cleanup()

    def _bind(self) -> socket.socket:
        (self._directory / SOCKET).unlink(missing_ok=True)
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        before = os.umask(0o177)
        try:
            bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            bound.bind(address(descriptor))
        finally:
            os.umask(before)
            os.close(descriptor)
        bound.setblocking(False)
        return bound

    async def _info(self, _request: web.Request) -> web.Response:
        return web.json_response(self._server.info())

    async def _clients(self, _request: web.Request) -> web.Response:
        return web.json_response({"clients": [client.public() for client in self._registry.clients()]})

    async def _devices(self, _request: web.Request) -> web.Response:
        devices = self._registry.devices()
        return web.json_response({"devices": [{**d, "manifest": json.loads(str(d["manifest"]))} for d in devices]})

    async def _statuses(self, _request: web.Request) -> web.Response:
        return web.json_response({"statuses": self._registry.statuses.all()})

    async def _requests(self, _request: web.Request) -> web.Response:
        shown = []
        for record in self._registry.requests():
            body = record["body"]
            text = base64.b64encode(body).decode() if isinstance(body, bytes) else ""
            shown.append({**record, "fields": json.loads(str(record["fields"])), "body": text})
        return web.json_response({"requests": shown})

    async def _show_stats(self, _request: web.Request) -> web.Response:
        return web.json_response(self._stats.public())

    async def _reset(self, _request: web.Request) -> web.Response:
        self._stats.reset()
        return web.json_response(self._stats.public())

    async def _show_faults(self, _request: web.Request) -> web.Response:
        return web.json_response({"faults": self._faults.armed()})

    async def _arm(self, request: web.Request) -> web.Response:
        try:
            document = json.loads(await request.read())
        except ValueError:
            raise DevWfmError("the body is not JSON") from None
        fault = Fault.from_json(document)
        self._faults.add(fault)
        if fault.action in CONNECTION_ACTIONS:
            self._server.close_connections()
        return web.json_response({"faults": self._faults.armed()})

    async def _disarm(self, _request: web.Request) -> web.Response:
        self._faults.clear()
        return web.json_response({"faults": []})

    async def _close(self, _request: web.Request) -> web.Response:
        return web.json_response({"closed": self._server.close_connections()})

    async def _turn_ca(self, request: web.Request) -> web.Response:
        return web.json_response(self._server.turn_ca(request.match_info["act"]))

    async def _deployments(self, _request: web.Request) -> web.Response:
        return web.json_response(self._desired.public())

    async def _deploy(self, request: web.Request) -> web.Response:
        return web.json_response(self._desired.deploy(request.match_info["id"], await request.read()))

    async def _remove(self, request: web.Request) -> web.Response:
        return web.json_response(self._desired.remove(request.match_info["id"]))

    async def _show_spoils(self, _request: web.Request) -> web.Response:
        return web.json_response({"spoils": self._desired.spoils})

    async def _spoil(self, request: web.Request) -> web.Response:
        try:
            names = json.loads(await request.read())
        except ValueError:
            raise DevWfmError("the body is not JSON") from None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DevWfmError("the body is not a list of names")
        self._desired.spoil(names)
        return web.json_response({"spoils": self._desired.spoils})

    async def _turn_tokens(self, request: web.Request) -> web.Response:
        return web.json_response(self._server.turn_tokens(request.match_info["act"]))

    async def _act(self, request: web.Request) -> web.Response:
        client = self._registry.find(request.match_info["id"])
        match request.match_info["act"]:
            case "approve":
                client = self._registry.approve(client)
            case "reject":
                client = self._registry.reject(client)
            case _:
                self._registry.forget(client)
        return web.json_response(client.public())

    async def _upload(self, request: web.Request) -> web.Response:
        try:
            certificate = certificates.parse(await request.read())
        except certificates.CertificateInvalid as error:
            raise DevWfmError(str(error)) from None
        return web.json_response(self._pre_approve(certificate).public())

    def _pre_approve(self, certificate: certificates.DeviceCertificate) -> Client:
        client = self._registry.by_identity(certificate.fingerprint)
        if client is not None:
            return self._registry.approve(client)
        return self._registry.add(
            certificate.fingerprint, certificate.fingerprint, certificate.der, certificate.subject, "approved"
        )


@web.middleware
async def _errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except NotFound as error:
        return web.json_response({"error": str(error)}, status=404)
    except (Ambiguous, NotPossible) as error:
        return web.json_response({"error": str(error)}, status=409)
    except DevWfmError as error:
        return web.json_response({"error": str(error)}, status=400)
    except web.HTTPException as error:
        return web.json_response({"error": error.reason}, status=error.status)
