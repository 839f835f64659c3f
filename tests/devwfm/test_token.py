"""The development WFM in the `token` generation: a real endpoint, a real repository, margod's own requests at them."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from margod.devwfm.server import DevServer
from margod.devwfm.token_git import TokenRepository
from margod.devwfm.token_routes import Lifetimes
from margod.gitfetch import Failed, Fetched, Job, fetch
from margod.identity import Identity, load, mint
from margod.model.bearer import Grant
from margod.model.capabilities import Capabilities, Cpu
from margod.model.deployment import DeploymentState, DeploymentStatus
from margod.model.outcome import Kind, Outcome, Step
from margod.model.wire import Answer, Request, SignedRequest
from margod.protocols import Context
from margod.protocols.token import Token
from margod.protocols.token.credentials import GitAccess, stored_access, stored_credentials
from margod.protocols.token.deployment_status import status_request, write_status
from margod.protocols.token.generation import bearing, git_request, read_git_answer
from margod.protocols.token.oauth import read_grant, token_request
from margod.protocols.token.origins import Origins
from tests.devwfm.running import running
from tests.support.devwfm import DevWfm, command, environment

DEVICE = Capabilities(None, "Vendor", "Model", "SN", (Cpu(4, "amd64"),), 8 << 30, 64 << 30)
YAML = b"kind: ApplicationDeployment\n"


@dataclass
class Gateway:
    """A device that makes margod's own requests, over a plain client."""

    url: str
    ca_file: Path
    session: aiohttp.ClientSession
    identity: Identity
    records: dict[str, bytes] = field(default_factory=dict)

    def context(self) -> Context:
        """Return what its requests are built from."""
        return Context(self.identity.certificate, self.records, DEVICE)

    async def send(self, request: SignedRequest) -> Answer:
        """Send it as it is."""
        async with self.session.request(
            request.method, request.url, headers=request.headers, data=request.body, allow_redirects=False
        ) as answer:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, headers, await answer.read(), 0.0)

    def ready(self, request: Request, grant: Grant | None = None) -> SignedRequest:
        """Return a request with its signature and, where one is given, the token."""
        sent = Token().authenticate(request, self.url, self.identity.signer, 0)
        return sent if grant is None else bearing(sent, grant, self.url)

    async def step(self, step: Step, grant: Grant | None = None, form: str = "spec") -> Outcome:
        """Make a step; what an accepted one leaves is kept."""
        answer = await self.send(self.ready(Token().request(step, form, self.context()), grant))
        outcome = Token().outcome(step, form, self.context(), answer)
        self.records.update(outcome.records)
        return outcome

    async def grant(self) -> Grant | Outcome:
        """Ask the token endpoint that the onboarding named."""
        credentials = stored_credentials(self.records)
        assert credentials is not None
        endpoint = credentials.endpoint(Origins.of(self.url))
        return read_grant(credentials, await self.send(token_request(endpoint, credentials)))

    async def bearer(self) -> Grant:
        """Return a token."""
        granted = await self.grant()
        assert isinstance(granted, Grant)
        return granted

    async def fetch(self, access: GitAccess | None = None, known: str = "") -> Fetched | Failed:
        """Fetch the repository with the access that the vault has, or another."""
        access = access or stored_access(self.records)
        assert access is not None
        place = access.place(Origins.of(self.url))
        return await fetch(Job(place.url, "main", self.ca_file.read_text(), "oauth2", access.token, known))


@asynccontextmanager
async def gateway(url: str, ca_file: Path) -> AsyncIterator[Gateway]:
    """Return one with a fresh identity that trusts this WFM alone."""
    context = ssl.create_default_context(cafile=str(ca_file))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        yield Gateway(url, ca_file, session, load(mint("SN", None, 86_400.0, time.time())))


@asynccontextmanager
async def meeting(directory: Path, **settings: Any) -> AsyncIterator[tuple[DevServer, Gateway]]:
    """Run a WFM and a device that was onboarded by it."""
    async with (
        running(directory, protocol="token", prefix="/v0", **settings) as wfm,
        gateway(wfm.url, wfm.ca_file) as device,
    ):
        assert (await device.step(Step.ENROL)).kind is Kind.ACCEPTED
        yield wfm, device


async def test_the_whole_sequence(tmp_path: Path) -> None:
    """Onboarding, bearer token, report, fetch, a rotation in the middle, a status."""
    async with meeting(tmp_path) as (wfm, device):
        assert (await device.step(Step.REPORT)).kind is Kind.UNAUTHORIZED
        grant = await device.bearer()
        assert grant.lifetime == 3600.0
        assert (await device.step(Step.REPORT, grant)).kind is Kind.ACCEPTED
        assert Token().request(Step.REPORT, "spec", device.context()).method == "PUT"
        assert (await device.step(Step.REPORT, grant)).kind is Kind.ACCEPTED

        first = await device.fetch()
        assert isinstance(first, Fetched), first
        assert first.files == {}
        wfm.desired.deploy("d-1", YAML)
        second = await device.fetch(known=first.commit)
        assert isinstance(second, Fetched), second
        assert second == Fetched(second.commit, {"d-1.yaml": YAML})
        assert await device.fetch(known=second.commit) == Fetched(second.commit, None)

        wfm.turn_tokens("rotate")
        refused = await device.fetch()
        assert isinstance(refused, Failed)
        assert refused.code == "unauthorized"
        access = read_git_answer(await device.send(device.ready(git_request(), grant)))
        third = await device.fetch(access, known=second.commit)
        assert isinstance(third, Fetched)

        body, _ = write_status(DeploymentStatus("d-1", DeploymentState.INSTALLED, None, ()))
        assert body is not None
        client_id = Token().client_id(device.records) or ""
        sent = await device.send(device.ready(status_request(client_id, "d-1", body), grant))
        assert sent.status == 201
        earlier, _ = write_status(DeploymentStatus("d-1", DeploymentState.INSTALLING, None, ()))
        assert earlier is not None
        for said in (body, earlier):
            assert (await device.send(device.ready(status_request(client_id, "d-1", said), grant))).status == 201
        wrong = [(client_id, "d-1", b"{}", 422), (client_id, "d-2", body, 422), ("another", "d-1", body, 404)]
        for device_id, name, said, status in wrong:
            assert (await device.send(device.ready(status_request(device_id, name, said), grant))).status == status
        from margod.devwfm.control import call

        taken: Any = await asyncio.to_thread(call, tmp_path, "GET", "/v1/statuses", None)
        came = [(one["client_id"], one["deployment_id"], one["state"], one["came"]) for one in taken["statuses"]]
        states = [("installed", "first"), ("installed", "again"), ("installing", "back")]
        assert came == [(client_id, "d-1", state, how) for state, how in states]
        assert taken["statuses"][0]["manifest"] == json.loads(body)


async def test_rewritten_history_is_seen(tmp_path: Path) -> None:
    """`rewind` gives the branch a history of its own, which the fetch tells from one that goes on."""
    async with meeting(tmp_path) as (wfm, device):
        first = await device.fetch()
        assert isinstance(first, Fetched)
        wfm.desired.deploy("d-1", YAML)
        second = await device.fetch(known=first.commit)
        assert isinstance(second, Fetched)
        assert not second.rewound
        wfm.turn_tokens("rewind")
        third = await device.fetch(known=second.commit)
        assert isinstance(third, Fetched)
        assert (third.rewound, third.files) == (True, {"d-1.yaml": YAML})


async def test_tokens_end(tmp_path: Path) -> None:
    """By time and by revocation, and the next one is had by the same secret."""
    async with meeting(tmp_path, lifetimes=Lifetimes(bearer=1, git=1)) as (wfm, device):
        grant = await device.bearer()
        assert grant.lifetime == 1.0
        await asyncio.sleep(1.2)  # what ends is the server's time, which is no event here
        assert (await device.step(Step.CONFIRM, grant)).kind is Kind.UNAUTHORIZED
        ended = await device.fetch()
        assert isinstance(ended, Failed)
        assert ended.code == "unauthorized"
    async with meeting(tmp_path / "other") as (wfm, device):
        grant = await device.bearer()
        assert (await device.step(Step.CONFIRM, grant)).kind is Kind.ACCEPTED
        assert wfm.turn_tokens("revoke") == {"ended": 1}
        assert (await device.step(Step.CONFIRM, grant)).kind is Kind.UNAUTHORIZED
        assert (await device.step(Step.CONFIRM, await device.bearer())).kind is Kind.ACCEPTED


async def test_a_wrong_secret_and_a_revoked_client(tmp_path: Path) -> None:
    """invalid_client either way; and no token that was given before is of use to a client that was rejected."""
    async with running(tmp_path, protocol="token") as wfm, gateway(wfm.url, wfm.ca_file) as device:
        assert (await device.step(Step.ENROL)).kind is Kind.ACCEPTED
        credentials = stored_credentials(device.records)
        assert credentials is not None
        grant = await device.bearer()
        wrong = replace(credentials, secret="wrong")
        endpoint = wrong.endpoint(Origins.of(device.url))
        refused = read_grant(wrong, await device.send(token_request(endpoint, wrong)))
        assert isinstance(refused, Outcome)
        assert (refused.kind, "invalid_client" in refused.detail) == (Kind.FORBIDDEN, True)
        from margod.devwfm.control import call

        await asyncio.to_thread(call, tmp_path, "POST", "/v1/clients/1/reject", None)
        assert isinstance(await device.grant(), Outcome)
        assert (await device.step(Step.CONFIRM, grant)).kind is Kind.FORBIDDEN
        assert isinstance(await device.fetch(), Failed)


async def test_approval_is_as_in_signed(tmp_path: Path) -> None:
    """202 until a person approved it, 201 then, 409 after that; a body that another key signed is refused."""
    started = DevWfm(tmp_path, "--protocol", "token", "--approval", "manual", "--git-later")
    async with started as wfm, gateway(wfm.url, wfm.ca_file) as device:
        assert (await device.step(Step.ENROL)).kind is Kind.PENDING
        await wfm.approve()
        stranger = load(mint("SN", None, 86_400.0, time.time()))
        request = Token().request(Step.ENROL, "spec", device.context())
        forged = await device.send(Token().authenticate(request, device.url, stranger.signer, 0))
        assert forged.status == 401
        assert (await device.step(Step.ENROL)).kind is Kind.ACCEPTED
        assert stored_access(device.records) is None
        kept = dict(device.records)
        assert (await device.step(Step.ENROL)).kind is Kind.CONFLICT
        await wfm.kill()
        await wfm.start()
        device.records = kept
        grant = await device.bearer()
        assert read_git_answer(await device.send(device.ready(git_request(), grant))) is not None


async def test_the_commands(tmp_path: Path) -> None:
    """`margod devwfm tokens` at a running one, and what it says where there are none."""

    async def tokens(act: str) -> tuple[int, str]:
        return await told("tokens", act)

    async def told(name: str, *arguments: str) -> tuple[int, str]:
        line = command(name, "--directory", str(tmp_path), *arguments)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*line, stdout=pipe, stderr=pipe, env=environment())
        out, err = await process.communicate()
        return process.returncode or 0, (out + err).decode()

    started = DevWfm(tmp_path, "--protocol", "token", "--token-lifetime", "5", "--git-lifetime", "7")
    async with started as wfm, gateway(wfm.url, wfm.ca_file) as device:
        assert (await device.step(Step.ENROL)).kind is Kind.ACCEPTED
        assert (await device.bearer()).lifetime == 5.0
        assert await tokens("revoke") == (0, "1 bearer token ended.\n")
        assert await tokens("revoke") == (0, "0 bearer tokens ended.\n")
        assert await tokens("rotate") == (0, "1 Git token ended.\n")
        code, said = await tokens("rewind")
        assert (code, said.startswith("The branch has another history now, at commit ")) == (0, True)
        assert (await told("tokens"))[1].endswith("required: {revoke,rotate,rewind}\n")
        code, said = await told("spoil", "symlink")
        assert (code, "of the generation signed" in said) == (1, True)
        assert await told("spoil") == (0, "spoilt: nothing\n")
        assert "--protocol token" in (await told("spoil", "list"))[1].splitlines()[-1]
        for route in ("token", "git-access", "repository"):
            code, said = await told("fault", "answer", "--route", route)
            assert (code, f"answer on {route}, before, left: 1" in said) == (0, True)
    async with DevWfm(tmp_path):
        code, said = await tokens("revoke")
        assert (code, "--protocol token" in said) == (1, True)


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 400, "invalid_request"),
        (b"grant_type=password&client_id=a&client_secret=b", 400, "unsupported_grant_type"),
        (b"client_id=a&client_secret=b", 400, "invalid_request"),
        (b"grant_type=client_credentials&grant_type=client_credentials", 400, "invalid_request"),
        (b"grant_type=client_credentials&client_id=a&client_secret=b", 401, "invalid_client"),
        (b"\xff", 400, "invalid_request"),
    ],
)
async def test_the_endpoint_answers_as_the_rfc_has_it(tmp_path: Path, body: bytes, status: int, error: str) -> None:
    """RFC 6749 5.2, for what is no request for a token."""
    async with running(tmp_path, protocol="token") as wfm, gateway(wfm.url, wfm.ca_file) as device:
        answer = await device.send(SignedRequest("POST", f"{wfm.url}/oauth/token", {}, body, 1_000))
        assert (answer.status, json.loads(answer.body)) == (status, {"error": error})
        assert answer.headers["cache-control"] == "no-store"


async def test_nobody_pushes_and_nobody_reads_without_a_token(tmp_path: Path) -> None:
    """The repository is fetched by who has a token, and changed by nobody."""
    async with meeting(tmp_path) as (_, device):
        access = stored_access(device.records)
        assert access is not None
        for password, expected in (("", 401), ("x", 401), (access.token, 403)):
            request = f"{access.url}/info/refs?service=git-receive-pack"
            auth = aiohttp.encode_basic_auth("oauth2", password) if hasattr(aiohttp, "encode_basic_auth") else None
            value = auth or aiohttp.BasicAuth("oauth2", password).encode()
            answer = await device.send(SignedRequest("GET", request, {"Authorization": value}, b"", 1_000))
            assert answer.status == expected


@pytest.mark.parametrize("broken", ["cut", "damaged", "no gzip"])
def test_a_compressed_request_that_cannot_be_read(tmp_path: Path, broken: str) -> None:
    """What a device says that it has compressed, and what is not, is answered with 400, as all that is not Git."""
    repository = TokenRepository(tmp_path / "repository")
    fields = {"content-type": "application/x-git-upload-pack-request", "content-encoding": "gzip"}
    want = f"want {repository.bring({'a': b'x: 1'})} side-band-64k ofs-delta\n"
    whole = gzip.compress(f"{len(want) + 4:04x}{want}00000009done\n".encode(), mtime=0)
    body = {"cut": whole[:20], "damaged": whole[:10] + b"\xff" * 20 + whole[30:], "no gzip": b"0000"}[broken]
    for sent, expected in ((whole, 200), (body, 400)):
        assert repository.answer("POST", "/git-upload-pack", "", fields, sent)[0] == expected
    repository.close()
