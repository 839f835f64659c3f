"""A WFM of the `token` generation that says exactly what a test wants it to say, over real TLS.

    async with TokenServer(certificates) as wfm:
        wfm.onboarding["tokenEndpointUrl"] = "http://nowhere"
        wfm.grant = Said(400, {"error": "invalid_client"})
        ... wfm.url, wfm.count("/oauth/token")

What is not changed goes well: one device, one secret, bearer tokens `bearer-1`, `bearer-2` and so on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias
from urllib.parse import parse_qs

from tests.support.rawserver import Certificates, RawRequest, RawServer, Turn

CLIENT: Final = "client-7"
SECRET: Final = "s3cret-that-no-journal-may-show"
GIT_TOKEN: Final = "git-token-that-no-journal-may-show"


@dataclass(frozen=True)
class Said:
    """An answer: a body as JSON unless it is bytes."""

    status: int
    body: object = field(default_factory=dict)
    headers: tuple[str, ...] = ()

    async def give(self, turn: Turn) -> None:
        """Answer so."""
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        await turn.answer(self.status, body, *self.headers)


Reply: TypeAlias = Said | Callable[[Turn], Awaitable[None]]


def write_ca(certificates: Certificates, file: Path) -> Path:
    """Write the root CA where a configuration can name it."""
    certificates.ca.cert_pem.write_to_path(str(file))
    return file


def bearer(request: RawRequest) -> str:
    """Return the bearer token that a request came with, "" without one."""
    values = [value for name, value in request.headers if name.lower() == "authorization"]
    return values[0].removeprefix("Bearer ") if values else ""


def form(request: RawRequest) -> dict[str, str]:
    """Return the members of a form."""
    return {name: values[0] for name, values in parse_qs(request.body.decode()).items()}


class TokenServer:
    """The WFM and its token endpoint; as an endpoint alone it is another host's."""

    def __init__(self, certificates: Certificates, name: str = "127.0.0.1") -> None:
        """Listen at `async with`; `name` is what the certificate bears."""
        self._server = RawServer(self._serve, context=certificates.server(name))
        self.onboarding: dict[str, Any] = {}
        """What the 201 says."""
        self.onboard: Reply | None = None
        self.grant: Reply | None = None
        """What the token endpoint answers instead of a token."""
        self.lifetime: object = 3600
        self.report: Reply | None = None
        self.confirm: Reply | None = None
        self.other: Reply | None = None
        self.given = 0
        """Bearer tokens that were given."""
        self.good: set[str] | None = None
        """The bearer tokens that hold; None: every one that was given."""
        self.news = asyncio.Event()

    @property
    def url(self) -> str:
        """The root URL."""
        return self._server.url

    @property
    def authority(self) -> str:
        """Host and port."""
        return self.url.removeprefix("https://")

    @property
    def requests(self) -> list[RawRequest]:
        """All that was asked."""
        return self._server.requests

    @property
    def connections(self) -> int:
        """Connections whose handshake succeeded."""
        return self._server.connections

    def asked(self, path: str) -> list[RawRequest]:
        """Return the requests whose path begins so."""
        return [each for each in self.requests if each.line.split(" ")[1].startswith(path)]

    def count(self, path: str = "/oauth/token") -> int:
        """Return how many there were."""
        return len(self.asked(path))

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until the requests so far are as wanted."""
        async with asyncio.timeout(60):
            while not reached():
                self.news.clear()
                await self.news.wait()

    async def __aenter__(self) -> Self:
        """Start to listen."""
        await self._server.__aenter__()
        self.onboarding = {
            "clientId": CLIENT,
            "clientSecret": SECRET,
            "tokenEndpointUrl": f"{self.url}/oauth/token",
            "gitRepository": {"url": f"{self.url}/git/desired.git", "accessToken": GIT_TOKEN},
        }
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        await self._server.__aexit__(kind, error, trace)

    async def _serve(self, turn: Turn) -> None:
        self.news.set()
        path = turn.request.line.split(" ")[1]
        if path == "/onboarding/":
            await self._say(turn, self.onboard, Said(201, self.onboarding))
        elif path.startswith("/oauth/token"):
            await self._grant(turn)
        elif self.good is not None and bearer(turn.request) not in self.good:
            await turn.answer(401, b'{"error": "invalid_token"}', "WWW-Authenticate: Bearer")
        elif path == "/onboarding/git":
            await self._say(turn, self.confirm, Said(200, self.onboarding["gitRepository"]))
        elif path.endswith("/capabilities"):
            await self._say(turn, self.report, Said(201))
        else:
            await self._say(turn, self.other, Said(201))
        self.news.set()

    async def _grant(self, turn: Turn) -> None:
        if self.grant is not None:
            await self._say(turn, self.grant, Said(500))
            return
        self.given += 1
        token = {"access_token": f"bearer-{self.given}", "token_type": "Bearer", "expires_in": self.lifetime}
        await Said(200, token).give(turn)

    async def _say(self, turn: Turn, chosen: Reply | None, otherwise: Said) -> None:
        reply = otherwise if chosen is None else chosen
        if isinstance(reply, Said):
            await reply.give(turn)
        else:
            await reply(turn)
