"""Everything that a server can answer, over real TLS, against engine, shell, vault and client in one process.

Each row: what the server does, then state, reason and connection. After each the server mends its ways, and the next
attempt has to end in `enrolled`: nothing that a server says is the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.checked import failed
from tests.support.rawserver import Certificates, RawServer, Script, Turn
from tests.support.shell import Shell

pytestmark = pytest.mark.e2e

ENROL, REPORT = "POST /api/v1/onboarding ", "/capabilities"
ACCEPTED = b'{"clientId": "client-1"}'
HTML = b"<!doctype html><html><head><title>Sign in to\nthe \x1b[31mplant</title></head><body>x</body></html>"


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    """One CA for the module: nothing here depends on which."""
    return Certificates()


@pytest.fixture(scope="module")
def ca_file(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CA as a file."""
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    certificates.ca.cert_pem.write_to_path(str(file))
    return file


def says(status: int, body: bytes = b"", *headers: str) -> Script:
    """A server that gives one answer, well-formed."""

    async def script(turn: Turn) -> None:
        await turn.answer(status, body, *headers)

    return script


def raw(data: bytes, end: Callable[[Turn], None] = Turn.close) -> Script:
    """A server that sends these bytes and closes."""

    async def script(turn: Turn) -> None:
        await turn.send(data)
        end(turn)

    return script


def endless(head: bytes, piece: bytes) -> Script:
    """A server that does not stop."""

    async def script(turn: Turn) -> None:
        await turn.send(head)
        while True:
            await turn.send(piece)

    return script


def accepts(body: object, status: int = 201) -> Script:
    """A server that accepts with this JSON document."""
    return says(status, json.dumps(body).encode())


async def silence(turn: Turn) -> None:
    """Say nothing."""
    await turn.hold()


async def drip(turn: Turn) -> None:
    """Send one byte a second at best."""
    await turn.send(b"H")
    await turn.hold()


def patience(script: Script) -> str:
    """Return wfm.timeout: short where it is to run out, and long where a machine that stands still must not end it."""
    return "3s" if script in (silence, drip) else "60s"


OK = b"HTTP/1.1 201 Created\r\n"
JSON_100_000_DEEP = b'{"a":' * 100_000
ROUTES = ("onboarding", "answer-invalid", "online")
ENROLMENT: dict[str, tuple[Script, tuple[str, str, str]]] = {
    # statuses
    "100, then the end": (raw(b"HTTP/1.1 100 Continue\r\n\r\n"), ("onboarding", "connection-lost", "offline")),
    "101": (raw(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), ("onboarding", "answer-malformed", "offline")),
    "103, then the end": (raw(b"HTTP/1.1 103 Early Hints\r\n\r\n"), ("onboarding", "connection-lost", "offline")),
    **{f"{s} empty": (says(s), ("onboarding", "answer-invalid", "online")) for s in (200, 201, 203, 205, 206, 299)},
    "204": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), ("onboarding", "answer-invalid", "online")),
    **{
        f"{s}": (says(s, b"", "Location: https://127.0.0.1:9/"), ("onboarding", "redirected", "online"))
        for s in (300, 301, 302, 303, 307, 308)
    },
    "304": (raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"), ("onboarding", "redirected", "online")),
    **{f"{s}": (says(s), ("blocked", "certificate-refused", "online")) for s in (400, 415, 422)},
    "401": (says(401), ("blocked", "signature-refused", "online")),
    "403": (says(403), ("rejected", "rejected", "online")),
    **{f"{s}": (says(s), ("blocked", "wrong-address", "online")) for s in (404, 405, 410)},
    "409": (says(409), ("blocked", "registered-by-other", "online")),
    **{f"{s}": (says(s), ("onboarding", "wfm-busy", "online")) for s in (408, 425, 429, 503)},
    **{f"{s}": (says(s), ("onboarding", "wfm-error", "online")) for s in (500, 501, 502, 505, 507, 511, 520, 599)},
    "504": (says(504), ("onboarding", "timed-out", "online")),
    **{
        f"{s}": (says(s), ("onboarding", "answer-unexpected", "online"))
        for s in (402, 406, 407, 411, 412, 413, 414, 416, 417, 418, 421, 423, 424, 426, 428, 431, 451, 499)
    },
    "no status": (raw(b"HTTP/1.1 OK\r\n\r\n"), ("onboarding", "answer-malformed", "offline")),
    "status 99": (raw(b"HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n"), ("onboarding", "answer-malformed", "offline")),
    # bodies of an acceptance
    "HTML as success": (says(200, HTML, "Content-Type: text/html"), ROUTES),
    "not JSON": (says(201, b"client-1"), ROUTES),
    "JSON cut short": (says(201, b'{"clientId": "client-1"'), ROUTES),
    "not UTF-8": (says(201, b'{"clientId": "\xff\xfe"}'), ROUTES),
    "a list": (accepts(["client-1"]), ROUTES),
    "null": (accepts(None), ROUTES),
    "60,000 deep": (says(201, b"[" * 60_000), ROUTES),
    "10,000 objects deep": (says(201, JSON_100_000_DEEP[:60_000]), ROUTES),
    "100,000 deep": (says(201, JSON_100_000_DEEP), ("onboarding", "answer-too-large", "offline")),
    "a number of 60,000 digits": (says(201, b'{"clientId": ' + b"9" * 60_000 + b"}"), ROUTES),
    **{
        f"client id {value!r:.20}": (accepts({"clientId": value}), ROUTES)
        for value in (
            *("", "x" * 10_240, "a/b", "../../etc", ".", "..", "a\nb", "a\r\nX: y", "a b", "a\x00", "%2e%2e", "é"),
            *(7, 1.5, True, None, ["a"], {"id": "a"}),
        )
    },
    # bodies of a refusal
    "HTML as refusal": (says(404, HTML, "Content-Type: text/html"), ("blocked", "wrong-address", "online")),
    "a title without end": (says(404, b"<title" * 10_900), ("blocked", "wrong-address", "online")),
    "terminal codes": (
        says(403, json.dumps({"error": "\x1b]0;x\x07no\u202e\n\r\u2028" + "a" * 900}).encode()),
        ("rejected", "rejected", "online"),
    ),
    "refusal 60,000 deep": (says(403, b"[" * 60_000), ("rejected", "rejected", "online")),
    # sizes
    "1 GB announced": (
        raw(OK + b"Content-Length: 1000000000\r\n\r\n" + b"{" * 70_000),
        ("onboarding", "answer-too-large", "offline"),
    ),
    "endless body": (
        endless(OK + b"Connection: close\r\n\r\n", b"[" * 65_536),
        ("onboarding", "answer-too-large", "offline"),
    ),
    "endless chunks": (
        endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"[" * 4096 + b"\r\n"),
        ("onboarding", "answer-too-large", "offline"),
    ),
    "endless refusal": (
        endless(b"HTTP/1.1 403 Forbidden\r\n\r\n", b"a" * 65_536),
        ("onboarding", "answer-too-large", "offline"),
    ),
    "endless chunk extension": (
        endless(OK + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a" * 65_536),
        ("onboarding", "answer-too-large", "offline"),
    ),
    "endless trailer": (
        endless(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 1000),
        ("onboarding", "answer-malformed", "offline"),
    ),
    "endless header": (endless(OK + b"X: ", b"a" * 65_536), ("onboarding", "answer-malformed", "offline")),
    "endless headers": (endless(OK, b"X: y\r\n" * 1000), ("onboarding", "answer-malformed", "offline")),
    # bytes
    "closed at once": (raw(b""), ("onboarding", "connection-lost", "offline")),
    "vanished": (raw(b"", Turn.vanish), ("onboarding", "connection-lost", "offline")),
    "reset": (raw(b"", Turn.reset), ("onboarding", "connection-lost", "offline")),
    "cut in the body": (
        raw(OK + b"Content-Length: 24\r\n\r\n" + ACCEPTED[:9]),
        ("onboarding", "connection-lost", "offline"),
    ),
    "garbage": (raw(b"\x00\xffSSH-2.0-no\x1b[2J\r\n\r\n"), ("onboarding", "answer-malformed", "offline")),
    "two lengths": (
        raw(OK + b"Content-Length: 24\r\nContent-Length: 25\r\n\r\n" + ACCEPTED),
        ("onboarding", "answer-malformed", "offline"),
    ),
    "a negative length": (raw(OK + b"Content-Length: -1\r\n\r\n"), ("onboarding", "answer-malformed", "offline")),
    "no chunks": (
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\nnothing\r\n"),
        ("onboarding", "answer-malformed", "offline"),
    ),
    # time
    "silence": (silence, ("onboarding", "timed-out", "offline")),
    "a byte and silence": (drip, ("onboarding", "timed-out", "offline")),
    "1xx without end": (
        endless(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 100),
        ("onboarding", "answer-too-large", "offline"),
    ),
}


@pytest.mark.parametrize("row", ENROLMENT)
async def test_answers_to_the_enrolment(row: str, tmp_path: Path, certificates: Certificates, ca_file: Path) -> None:
    """Whatever comes, state, reason and connection say so, the next attempt has a time, and a mended server enrols."""
    behave, expected = ENROLMENT[row]
    mended = False

    async def script(turn: Turn) -> None:
        if not mended:
            await behave(turn)
        elif turn.request.line.startswith(ENROL):
            await turn.answer(201, ACCEPTED)
        else:
            await turn.answer(201)

    async with (
        RawServer(script, context=certificates.server()) as server,
        Shell(tmp_path, url=server.url, ca_file=ca_file, timeout=patience(behave)) as device,
    ):
        failed(device.status(), *expected)
        assert device.status()["client_id"] is None
        mended = True
        status = await device.attempt()
        assert (status["state"], status["client_id"], status["connection"]) == ("enrolled", "client-1", "online")
        assert status["last_error"] is None
        assert [line for line in _lines(server) if not line.startswith(ENROL)] == [
            "POST /api/v1/clients/client-1/capabilities/client-1 HTTP/1.1"
        ]


ACCEPTANCES: dict[str, Script] = {
    "201": says(201, ACCEPTED),
    "200": says(200, ACCEPTED),
    "another media type": says(201, ACCEPTED, "Content-Type: text/html; charset=latin1"),
    "the older name": says(201, b'{"client_id": "client-1", "endpoint_list": []}'),
    "a byte order mark": says(201, b"\xef\xbb\xbf" + ACCEPTED),
    "after early hints": raw(
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK + b"Content-Length: 24\r\n\r\n" + ACCEPTED, lambda turn: None
    ),
    "without a length": raw(OK + b"Connection: close\r\n\r\n" + ACCEPTED),
    "in chunks": raw(OK + b"Transfer-Encoding: chunked\r\n\r\n18\r\n" + ACCEPTED + b"\r\n0\r\n\r\n", lambda turn: None),
}


@pytest.mark.parametrize("row", ACCEPTANCES)
async def test_acceptances(row: str, tmp_path: Path, certificates: Certificates, ca_file: Path) -> None:
    """An acceptance in any of its forms is taken at the first attempt."""

    async def script(turn: Turn) -> None:
        await (ACCEPTANCES[row](turn) if turn.request.line.startswith(ENROL) else turn.answer(201))

    async with (
        RawServer(script, context=certificates.server()) as server,
        Shell(tmp_path, url=server.url, ca_file=ca_file, timeout="60s") as device,
    ):
        assert device.status()["state"] == "enrolled"
        assert len(server.requests) == 2


REPORTING: dict[str, tuple[Script, tuple[str, str]]] = {
    "202": (says(202), ("pending-approval", "online")),
    "206": (says(206), ("answer-invalid", "online")),
    "301": (says(301, b"", "Location: /elsewhere"), ("redirected", "online")),
    "400": (says(400), ("capabilities-refused", "online")),
    "401": (says(401), ("signature-refused", "online")),
    "403": (says(403), ("client-refused", "online")),
    "404": (says(404), ("client-unknown", "online")),
    "405": (says(405), ("client-unknown", "online")),
    "409": (says(409), ("capabilities-refused", "online")),
    "415": (says(415), ("capabilities-refused", "online")),
    "422": (says(422, b'{"error": "properties.vendor"}'), ("capabilities-refused", "online")),
    "429": (says(429), ("wfm-busy", "online")),
    "500": (says(500), ("wfm-error", "online")),
    "garbage": (raw(b"\x00\x01\r\n\r\n"), ("answer-malformed", "offline")),
    "endless": (endless(OK + b"\r\n", b"[" * 65_536), ("answer-too-large", "offline")),
    "reset": (raw(b"", Turn.reset), ("connection-lost", "offline")),
    "silence": (silence, ("timed-out", "offline")),
}


@pytest.mark.parametrize("route", ["device", "client"])
@pytest.mark.parametrize("row", REPORTING)
async def test_answers_to_the_report(
    row: str, route: str, tmp_path: Path, certificates: Certificates, ca_file: Path
) -> None:
    """No answer to the capabilities takes the enrolment back, and a mended server of either route ends in enrolled."""
    behave, (reason, connection) = REPORTING[row]
    mended = False

    async def script(turn: Turn) -> None:
        line = turn.request.line
        if line.startswith(ENROL):
            await turn.answer(201, ACCEPTED)
        elif not mended:
            await behave(turn)
        else:
            known = f"{REPORT} HTTP" if route == "client" else f"{REPORT}/client-1 HTTP"
            await turn.answer(201 if known in line else 404)

    async with (
        RawServer(script, context=certificates.server()) as server,
        Shell(tmp_path, url=server.url, ca_file=ca_file, timeout=patience(behave)) as device,
    ):
        failed(device.status(), "onboarded", reason, connection)
        assert device.status()["client_id"] == "client-1"
        mended = True
        assert (await device.attempt())["state"] == "enrolled"
        assert len([line for line in _lines(server) if line.startswith(ENROL)]) == 1


def _lines(server: RawServer) -> list[str]:
    return [request.line for request in server.requests]
