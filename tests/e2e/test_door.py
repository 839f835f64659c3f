"""The door, through a running daemon: what other programs on the device may ask the WFM, and how it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from margod.model.door import ANSWER_LIMIT
from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm
from tests.support.local_api import exchange
from tests.support.rawserver import Certificates, RawServer, Turn

pytestmark = pytest.mark.e2e

DEPLOYMENTS = "/api/v1/clients/{clientId}/deployments"
CLIENT = "client-7"


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    """One CA for the module: nothing here depends on which."""
    return Certificates()


async def ask(
    daemon: Daemon, path: str, method: str = "GET", headers: str = "", body: bytes = b"", *, socket: str = "agent"
) -> tuple[int, dict[str, str], bytes]:
    """Ask through the door; return status, lower-case headers and body."""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    head = f"{method} /v1/wfm{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{length}{headers}\r\n"
    answer = await exchange(daemon.runtime / f"{socket}/{socket}.sock", head.encode("latin-1") + body, timeout=30)
    first, _, rest = answer.partition(b"\r\n")
    lines, _, content = rest.partition(b"\r\n\r\n")
    found = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines.decode().split("\r\n"))}
    if found.get("transfer-encoding") == "chunked":
        content = _joined(content)
    return int(first.split()[1]), found, content


def _joined(content: bytes) -> bytes:
    whole, rest = b"", content
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return whole
        whole, rest = whole + rest[:length], rest[length + 2 :]
    raise AssertionError("the answer ends early")


def code(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str]:
    """Return status and code of an answer that is margod's own."""
    status, headers, body = answer
    assert headers["margod-error"] == json.loads(body)["error"]["code"]
    return status, headers["margod-error"]


@asynccontextmanager
async def enrolled(directory: Path, yaml: str = "", *options: str) -> AsyncIterator[tuple[Daemon, DevWfm, str]]:
    """A device, enrolled with a development WFM that verifies, and its client id."""
    async with DevWfm(directory / "wfm", *options, prefix="/v1alpha2/margo") as wfm:
        daemon = Daemon(directory, url=wfm.url, ca_file=wfm.ca_file, yaml=yaml)
        async with daemon:
            status = await daemon.until("enrolled")
            yield daemon, wfm, status["client_id"]


class Wfm:
    """A server that onboards everybody and answers other requests as a test says."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.lost = asyncio.Event()
        self.body = b"{}"
        self.under_way = 0
        self.most = 0

    async def __call__(self, turn: Turn) -> None:
        line = turn.request.line
        if line.startswith("POST"):
            await turn.answer(201, json.dumps({"clientId": CLIENT}).encode())
        elif "/bundles/stall" in line:
            await turn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            await turn.hold()
        elif "/bundles/hang" in line:
            self.begun.set()
            await turn.hold()
        elif "/bundles/slow" in line:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            self.begun.set()
            await self.go_on.wait()
            self.under_way -= 1
            await turn.answer(200, b"slow")
        elif "/bundles/trickle" in line:
            await turn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            self.begun.set()
            await self.go_on.wait()
            await turn.send(b"4\r\nlast\r\n0\r\n\r\n")
        elif "/bundles/large" in line:
            await turn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nx" % (ANSWER_LIMIT + 1))
            await turn.hold()
        elif "/bundles/closes" in line:
            await turn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            turn.vanish()
        else:
            await turn.answer(200, self.body, "Set-Cookie: a=b", "X-Own: 1", 'ETag: "e"', "Content-Type: text/x")


@asynccontextmanager
async def scripted(
    directory: Path, certificates: Certificates, yaml: str = ""
) -> AsyncIterator[tuple[Daemon, Wfm, RawServer]]:
    """A device that is enrolled with `Wfm`."""
    ca_file = directory / "ca.pem"
    certificates.ca.cert_pem.write_to_path(str(ca_file))
    wfm = Wfm()
    async with RawServer(wfm, context=certificates.server()) as server:
        daemon = Daemon(directory, url=server.url, ca_file=ca_file, yaml=yaml)
        async with daemon:
            await daemon.until("enrolled")
            yield daemon, wfm, server


async def test_reading_the_desired_state(tmp_path: Path) -> None:
    """A program without key or client id reads the manifest: signed, verified by the WFM, ETag and 304 included."""
    async with enrolled(tmp_path) as (daemon, wfm, client_id):
        status, headers, body = await ask(daemon, DEPLOYMENTS)
        assert (status, json.loads(body)["deployments"]) == (200, [])
        assert headers["content-type"].startswith("application/vnd.margo.manifest.v1+json")
        assert headers["etag"].startswith('"')
        assert "margod-error" not in headers
        status, _, _ = await ask(daemon, DEPLOYMENTS.replace("{clientId}", client_id), socket="admin")
        assert status == 200
        (one, two) = await wfm.requests("deployments")
        assert one["target"] == two["target"] == f"/v1alpha2/margo/api/v1/clients/{client_id}/deployments"
        line = await daemon.journal_line("door", having="route=")
        assert all(part in line for part in ("method=GET", DEPLOYMENTS, "count=1", "uid=0", "pid=", "gid="))


async def test_what_a_program_may_not_say(tmp_path: Path) -> None:
    """Headers that say or prove who asks do not reach the WFM; margod's own signature does."""
    lies = "Signature: sig1=:AA==:\r\nSignature-Input: sig1=()\r\nAuthorization: Bearer x\r\nCookie: a=b\r\n"
    lies += 'Content-Digest: sha-256=:AA==:\r\nX-Forwarded-For: 1\r\nIf-None-Match: "x"\r\n'
    async with enrolled(tmp_path) as (daemon, wfm, _):
        assert (await ask(daemon, DEPLOYMENTS, headers=lies))[0] == 200
        (request,) = await wfm.requests("deployments")
        fields = dict(request["fields"])
        assert fields["if-none-match"] == '"x"'
        assert fields["host"] in wfm.url
        assert {"authorization", "cookie", "content-digest", "x-forwarded-for"}.isdisjoint(fields)
        assert [name for name, _ in request["fields"]].count("signature") == 1
        assert "sig1=:AA==:" not in fields["signature"]


@pytest.mark.parametrize(
    ("path", "method", "expected"),
    [
        ("/api/v1/onboarding", "POST", (403, "door-closed")),
        ("/api/v1/onboarding/certificate", "GET", (403, "door-closed")),
        (f"{DEPLOYMENTS}/d/status", "POST", (403, "door-closed")),
        ("/api/v1/clients/{clientId}/capabilities/{clientId}", "PUT", (403, "door-closed")),
        ("/api/v1/clients/{clientId}/bundles/x%2Fy", "GET", (400, "door-closed")),
        ("/api/v1/clients/{clientId}/bundles/../x", "GET", (400, "door-closed")),
        ("/api/v1/clients/{clientId}//bundles", "GET", (400, "door-closed")),
        (f"{DEPLOYMENTS}?a=b", "GET", (400, "door-closed")),
        ("/api/v1/clients/another/deployments", "GET", (403, "door-closed")),
        (DEPLOYMENTS, "PUT", (403, "door-closed")),
        (DEPLOYMENTS, "HEAD", (403, "")),
    ],
)
async def test_what_is_closed(tmp_path: Path, path: str, method: str, expected: tuple[int, str]) -> None:
    """Nothing of it reaches the WFM, though configuration opens whatever can be opened; the journal says who tried."""
    rules = ["GET /{a}/{b}/{c}", "POST /{a}/{b}/{c}", "POST /{a}/{b}/{c}/{d}/{e}/{f}/{g}", "PUT /a/{b}/{c}/{d}/{e}/{f}"]
    async with enrolled(tmp_path, f"door: {{allow: {json.dumps(rules)}}}") as (daemon, wfm, _):
        before = len(await wfm.requests())
        answer = await ask(daemon, path, method)
        assert (answer[0], "") == expected if method == "HEAD" else code(answer) == expected
        assert len(await wfm.requests()) == before
        await daemon.journal_line("door-refused", having="uid=0")


async def test_routes_by_configuration(tmp_path: Path) -> None:
    """door.allow opens a route at a reload, for a user by number and by name, and for nobody else."""
    async with enrolled(tmp_path) as (daemon, wfm, _):
        path, body = "/api/v1/clients/{clientId}/logs", b"x" * 1_000_000
        assert code(await ask(daemon, path, "POST", body=body)) == (403, "door-closed")
        for users, status in (("1", 403), ("0", 404), ("nobody", 403), ("root", 404)):
            rule = f"POST {path} for {users}"
            daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml=f'door: {{allow: "{rule}"}}')
            assert (await daemon.reload())["result"] == "reloaded"
            got, headers, _ = await ask(daemon, path, "POST", "Content-Type: text/x\r\n", body)
            assert (got, "margod-error" in headers) == (status, status == 403)
        requests = [r for r in await wfm.requests() if r["target"].endswith("/logs")]
        assert [(r["method"], len(r["body"])) for r in requests] == [("POST", len(body))] * 2
        fields = dict(requests[0]["fields"])
        assert fields["content-type"] == "text/x"
        assert "content-digest" in fields["signature-input"]


async def test_configuration_that_opens_what_stays_closed(tmp_path: Path) -> None:
    """A rule for margod's own routes is a problem of the configuration, in so many words."""
    async with enrolled(tmp_path) as (daemon, wfm, _):
        for route in ("/api/v1/onboarding", "/x/status", "/x/capabilities"):
            daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml=f'door: {{allow: ["GET {route}"]}}')
            result = await daemon.reload()
            assert result["result"] == "kept"
            assert any("cannot be opened" in problem for problem in result["problems"]), result


async def test_bodies_are_bounded(tmp_path: Path) -> None:
    """More than 1 MiB is refused before it is sent on."""
    rule = "POST /logs"
    async with enrolled(tmp_path, f'door: {{allow: "{rule}"}}') as (daemon, wfm, _):
        assert code(await ask(daemon, "/logs", "POST", body=b"x" * 1_048_577)) == (413, "request-too-large")
        assert not [r for r in await wfm.requests() if r["target"].endswith("/logs")]


async def test_not_enrolled(tmp_path: Path) -> None:
    """Before enrolment nothing is forwarded: 503 with the reason."""
    async with Daemon(tmp_path, yaml="discovery: {enabled: false}") as daemon:
        await daemon.until("discovering")
        assert code(await ask(daemon, DEPLOYMENTS)) == (503, "not-enrolled")


async def test_downtime(tmp_path: Path) -> None:
    """In a downtime nothing is forwarded: 503 with the reason and for how long."""
    async with enrolled(tmp_path) as (daemon, wfm, _):
        assert (await daemon.command("downtime", "start", "1h"))[0] == 0
        answer = await ask(daemon, DEPLOYMENTS)
        assert code(answer) == (503, "downtime")
        assert 3000 < int(answer[1]["retry-after"]) <= 3600
        assert not await wfm.requests("deployments")
        assert (await daemon.command("downtime", "stop"))[0] == 0
        assert (await ask(daemon, DEPLOYMENTS))[0] == 200


async def test_http_1_0(tmp_path: Path) -> None:
    """Who could not tell half an answer from a whole one is told to speak HTTP/1.1."""
    async with Daemon(tmp_path, yaml="discovery: {enabled: false}") as daemon:
        request = f"GET /v1/wfm{DEPLOYMENTS} HTTP/1.0\r\n\r\n".encode()
        assert b" 505 " in await exchange(daemon.runtime / "agent/agent.sock", request)


async def test_the_status_socket_has_no_door(tmp_path: Path) -> None:
    """Who may read may not ask the WFM."""
    async with Daemon(tmp_path, yaml="discovery: {enabled: false}") as daemon:
        request = f"GET /v1/wfm{DEPLOYMENTS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        assert b" 404 " in await exchange(daemon.runtime / "status.sock", request)


async def test_the_wfms_own_answers(tmp_path: Path) -> None:
    """Its refusals come through as they are; a redirect is not followed; a WFM that is away is margod's 502."""
    async with enrolled(tmp_path) as (daemon, wfm, _):
        await wfm.fault("answer", route="deployments", status=503, headers={"Retry-After": "7"}, body='{"error": "x"}')
        status, headers, body = await ask(daemon, DEPLOYMENTS)
        assert (status, headers["retry-after"], body) == (503, "7", b'{"error": "x"}')
        assert "margod-error" not in headers
        await wfm.fault("redirect", route="deployments", location="https://elsewhere.example/")
        status, headers, _ = await ask(daemon, DEPLOYMENTS)
        assert 300 <= status < 400
        assert "location" not in headers
        await wfm.stop()
        assert code(await ask(daemon, DEPLOYMENTS)) == (502, "connect-refused")
        await wfm.start()
        assert (await ask(daemon, DEPLOYMENTS))[0] == 200


async def test_an_unknown_client_is_heard_of(tmp_path: Path) -> None:
    """What the WFM says through the door about this device counts: the daemon asks for itself, and says what it is."""
    async with enrolled(tmp_path) as (daemon, wfm, _):
        await wfm.forget(1)
        status, _, body = await ask(daemon, DEPLOYMENTS)
        assert (status, json.loads(body)) == (404, {"error": "no such client"})
        found = await daemon.until_status(lambda s: bool(s["last_error"]), "an error")
        assert (found["state"], found["last_error"]["code"]) == ("enrolled", "client-unknown")


async def test_an_answer_comes_as_it_is_sent(tmp_path: Path, certificates: Certificates) -> None:
    """A caller reads the first piece before the WFM has sent the last: nothing is collected on the way."""
    async with scripted(tmp_path, certificates) as (daemon, wfm, _):
        path = "/api/v1/clients/{clientId}/bundles/trickle"
        reader, writer = await asyncio.open_unix_connection(daemon.runtime / "agent/agent.sock")
        writer.write(f"GET /v1/wfm{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        async with asyncio.timeout(20):
            assert b" 200 " in await reader.readline()
            await reader.readuntil(b"first")
            wfm.go_on.set()
            await reader.readuntil(b"last")
            await reader.readuntil(b"0\r\n\r\n")
        writer.close()


async def test_headers_of_the_answer(tmp_path: Path, certificates: Certificates) -> None:
    """By allowlist: the WFM's cookies and own headers stay here, and it cannot claim to be margod."""
    async with scripted(tmp_path, certificates) as (daemon, wfm, _):
        wfm.body = bytes(range(256)) * 20_000
        status, headers, body = await ask(daemon, "/api/v1/clients/{clientId}/bundles/sha256:x")
        assert (status, body) == (200, wfm.body)
        assert (headers["content-type"], headers["etag"]) == ("text/x", '"e"')
        assert {"set-cookie", "x-own", "margod-error"}.isdisjoint(headers)


async def test_answers_that_end_early(tmp_path: Path, certificates: Certificates) -> None:
    """A stall, a cut and too much: the caller can tell, and the next request goes through."""
    async with scripted(tmp_path, certificates) as (daemon, wfm, server):
        daemon.config.write_text(daemon.config.read_text().replace("timeout: 5s", "timeout: 3s"))
        await daemon.reload()
        for name in ("stall", "closes"):
            status, headers, body = await ask(daemon, f"/api/v1/clients/{{clientId}}/bundles/{name}")
            assert (status, headers["content-length"], body) == (200, "100", b"half")
        assert code(await ask(daemon, "/api/v1/clients/{clientId}/bundles/hang")) == (504, "timed-out")
        daemon.config.write_text(daemon.config.read_text().replace("timeout: 3s", "timeout: 60s"))
        await daemon.reload()
        large = await ask(daemon, "/api/v1/clients/{clientId}/bundles/large")
        assert code(large) == (502, "answer-too-large")
        wfm.body = b"x" * ANSWER_LIMIT
        assert len((await ask(daemon, "/api/v1/clients/{clientId}/bundles/full"))[2]) == ANSWER_LIMIT
        asked = [r.line for r in server.requests if "hang" in r.line]
        assert len(asked) == 1, "never asked twice"


async def test_a_caller_that_goes_away_cancels(tmp_path: Path, certificates: Certificates) -> None:
    """Nobody waits for the WFM any more: the exchange is cut, and the user's turn is free at once."""
    async with scripted(tmp_path, certificates, "") as (daemon, wfm, server):
        path = "/api/v1/clients/{clientId}/bundles"
        _, writer = await asyncio.open_unix_connection(daemon.runtime / "agent/agent.sock")
        writer.write(f"GET /v1/wfm{path}/slow HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        async with asyncio.timeout(20):
            await wfm.begun.wait()
            writer.close()
            assert (await ask(daemon, f"{path}/x"))[0] == 200
        assert server.connections >= 3, "the connection under the lost request is not used again"


async def test_one_at_a_time(tmp_path: Path, certificates: Certificates) -> None:
    """A user's requests wait for each other, a few of them; more are refused with 429."""
    async with scripted(tmp_path, certificates) as (daemon, wfm, _):
        path = "/api/v1/clients/{clientId}/bundles/slow"
        asking = [asyncio.ensure_future(ask(daemon, path)) for _ in range(12)]
        async with asyncio.timeout(60):
            ended = asyncio.as_completed(asking)
            refused = [await next(ended) for _ in range(3)]  # before that, some may not have got as far as the queue
            assert {code(answer) for answer in refused} == {(429, "door-busy")}
            wfm.go_on.set()
            answers = await asyncio.gather(*asking)
        assert sorted(status for status, _, _ in answers) == [200] * 9 + [429] * 3
        assert wfm.most == 1
