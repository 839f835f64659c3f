"""Servers that misbehave on the wire: each failure has its reason, its `sent`, and an end in time."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from margod.wfm import WfmClient
from tests.support.patience import within
from tests.support.rawserver import Certificates, RawServer, Script, Turn, handshakes_only
from tests.wfm.common import OK, a_client, answered, failed, get, post, says


async def drips(turn: Turn) -> None:
    """One byte at a time, for ever."""
    for byte in OK + b"Content-Length: 500\r\n\r\n" + b"x" * 500:
        await turn.send(bytes([byte]))
        await asyncio.sleep(0.02)


def endless(start: bytes, repeated: bytes) -> Script:
    """Send `start`, then `repeated` for ever."""

    async def script(turn: Turn) -> None:
        await turn.send(start)
        while True:
            await turn.send(repeated)

    return script


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
TEN = OK + b"Content-Length: 10\r\n\r\nhi"
BAD_ANSWERS: dict[str, tuple[Script, str]] = {
    "says nothing": (says(b""), "timed-out"),
    "drips": (drips, "timed-out"),
    "100-continue flood": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), "answer-too-large"),
    "flood of chunk extensions": (endless(CHUNKED, (b"1;x=" + b"a" * 300 + b"\r\nb\r\n") * 100), "answer-too-large"),
    "endless chunk extension": (endless(CHUNKED + b"1;x=", b"a" * 10_000), "answer-too-large"),
    "endless trailers": (endless(CHUNKED + b"0\r\n", b"X: y\r\n" * 1000), "answer-malformed"),
    "one 102 and nothing more": (says(b"HTTP/1.1 102 Processing\r\n\r\n"), "timed-out"),
    "endless header": (endless(OK, b"X: " + b"a" * 500 + b"\r\n"), "answer-malformed"),
    "endless header line": (endless(OK + b"X: ", b"a" * 1000), "answer-malformed"),
    "endless status line": (endless(b"HTTP/1.1 200 ", b"a" * 1000), "answer-malformed"),
    "endless body": (endless(OK + b"\r\n", b"a" * 65536), "answer-too-large"),
    "endless chunks": (endless(CHUNKED, b"64\r\n" + b"a" * 100 + b"\r\n"), "answer-too-large"),
    "1 GB announced": (says(OK + b"Content-Length: 1000000000\r\n\r\nhi"), "answer-too-large"),
    "chunk size is nonsense": (says(CHUNKED + b"zz\r\nabc\r\n"), "answer-malformed"),
    "chunk size overflows": (says(CHUNKED + b"f" * 20 + b"\r\nabc\r\n"), "answer-malformed"),
    "garbage": (says(b"\x00\xff\x1b[31m garbage\r\n\r\n"), "answer-malformed"),
    "HTTP/0.9": (says(b"<html>hello</html>", "close"), "answer-malformed"),
    "SSH": (says(b"SSH-2.0-OpenSSH\r\n"), "answer-malformed"),
    "HTTP/2": (says(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"), "answer-malformed"),
    "101": (says(b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), "answer-malformed"),
    "status 000": (says(b"HTTP/1.1 000 E\r\nContent-Length: 0\r\n\r\n"), "answer-malformed"),
    "two lengths": (says(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nhi"), "answer-malformed"),
    "negative length": (says(OK + b"Content-Length: -1\r\n\r\nhi"), "answer-malformed"),
    "close at once": (says(b"", "close"), "connection-lost"),
    "close without close_notify": (says(b"", "vanish"), "connection-lost"),
    "RST at once": (says(b"", "reset"), "connection-lost"),
    "close in the header": (says(OK + b"Conte", "close"), "connection-lost"),
    "close in the body": (says(TEN, "close"), "connection-lost"),
    "TLS truncation in the body": (says(TEN, "vanish"), "connection-lost"),
    "RST in the body": (says(TEN, "reset"), "connection-lost"),
    "close in a chunk": (says(CHUNKED + b"5\r\nab", "close"), "connection-lost"),
    "close before the last chunk": (says(CHUNKED + b"2\r\nab\r\n", "close"), "connection-lost"),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_bad_answers(certificates: Certificates, name: str) -> None:
    """After the request went out: the right reason, sent, exactly one request, within the timeout, cleaned detail."""
    script, code = BAD_ANSWERS[name]
    timeout = 2.0 if code == "timed-out" else 20.0  # the request has to be out before it is over
    async with (
        RawServer(script, context=certificates.server()) as server,
        a_client(certificates, timeout=timeout) as client,
    ):
        async with within(4):
            result = await client.send(post(server.url + "/x"))
        assert failed(result) == (code, True)
        assert len(server.requests) == 1
        detail = getattr(result, "detail", "")
        assert 0 < len(detail) <= 200
        assert detail.isprintable()


V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
BAD_SERVERS: dict[str, tuple[Callable[[Certificates], ssl.SSLContext], str]] = {
    "another host": (lambda c: c.server("wfm.example"), "tls-wrong-host"),
    "another address": (lambda c: c.server("127.0.0.2"), "tls-wrong-host"),
    "expired": (lambda c: c.server(days=(-9, -1)), "tls-expired"),
    "not yet valid": (lambda c: c.server(days=(1, 9)), "tls-not-yet-valid"),
    "another CA": (lambda _: Certificates().server(), "tls-unknown-issuer"),
    "self-signed": (lambda _: self_signed(), "tls-unknown-issuer"),
}


def self_signed() -> ssl.SSLContext:
    """A server whose certificate nobody issued but itself."""
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with ca.private_key_pem.tempfile() as key, ca.cert_pem.tempfile() as certificate:
        context.load_cert_chain(certificate, key)
    return context


@pytest.mark.parametrize("name", BAD_SERVERS)
async def test_bad_certificates(certificates: Certificates, name: str) -> None:
    """A certificate that does not fit has its own reason, and not a byte of HTTP reaches the server."""
    context, code = BAD_SERVERS[name]
    async with RawServer(says(b""), context=context(certificates)) as server, a_client(certificates) as client:
        assert failed(await client.send(post(server.url + "/x"))) == (code, False)
        assert server.requests == []


async def test_certificate_for_another_name(certificates: Certificates) -> None:
    """The name of the URL is checked, not the address that it resolves to."""
    async with RawServer(says(b""), context=certificates.server("wfm.example")) as server:
        async with a_client(certificates) as client:
            assert failed(await client.send(post(f"https://localhost:{server.port}/x"))) == ("tls-wrong-host", False)
        assert server.requests == []


@pytest.mark.parametrize("identifiers", [False, True])
async def test_remade_ca_of_the_same_name(tmp_path: Path, *, identifiers: bool) -> None:
    """A CA made anew with the same name and another key is an unknown issuer, with and without key identifiers."""
    ours, _ = bare_chain(tmp_path, identifiers=identifiers)
    _, theirs = bare_chain(tmp_path, identifiers=identifiers)
    client = WfmClient(ours, timeout=20)
    async with RawServer(says(b""), context=theirs) as server:
        assert failed(await client.send(get(server.url + "/"))) == ("tls-unknown-issuer", False)
    await client.close()


def bare_chain(directory: Path, *, identifiers: bool) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Client's and server's context of a new CA named `Plant CA`; field CAs often have no key identifiers."""
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Plant CA")])
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    start = x509.CertificateBuilder().issuer_name(ca_name).not_valid_before(now - day).not_valid_after(now + day)
    ca = start.subject_name(ca_name).public_key(ca_key.public_key()).serial_number(1)
    ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    leaf = start.subject_name(x509.Name([])).public_key(key.public_key()).serial_number(2)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = leaf.add_extension(names, critical=True)
    if identifiers:
        public = ca_key.public_key()
        ca = ca.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        leaf = leaf.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    pem = serialization.Encoding.PEM
    root = ca.sign(ca_key, hashes.SHA256()).public_bytes(pem)
    file = directory / "server.pem"
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + leaf.sign(ca_key, hashes.SHA256()).public_bytes(pem)
    )
    client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client.load_verify_locations(cadata=root.decode())
    server.load_cert_chain(file)
    return client, server


@pytest.mark.parametrize(
    ("ours", "theirs"), [((V12, V12), (V12, V12)), ((V13, V13), (V13, V13)), ((V12, V13), (V12, V12))]
)
async def test_tls_versions_in_common(
    certificates: Certificates,
    ours: tuple[ssl.TLSVersion, ssl.TLSVersion],
    theirs: tuple[ssl.TLSVersion, ssl.TLSVersion],
) -> None:
    """1.2-only and 1.3-only servers are spoken to if the settings allow it."""
    context = certificates.server(minimum=theirs[0], maximum=theirs[1])
    client = WfmClient(certificates.client(minimum=ours[0], maximum=ours[1]), timeout=20)
    async with RawServer(says(OK + b"Content-Length: 0\r\n\r\n"), context=context) as server:
        answered(await client.send(get(server.url + "/")))
        await client.close()


@pytest.mark.parametrize(("ours", "theirs"), [(V13, V12), (V12, V13)])
async def test_no_tls_version_in_common(
    certificates: Certificates, ours: ssl.TLSVersion, theirs: ssl.TLSVersion
) -> None:
    """A server that says so by an alert is named as such; one that just hangs up is a failed handshake."""
    context = certificates.server(minimum=theirs, maximum=theirs)
    client = WfmClient(certificates.client(minimum=ours, maximum=ours), timeout=20)
    with handshakes_only(context) as port:
        assert failed(await client.send(post(f"https://127.0.0.1:{port}/x"))) == ("tls-version", False)
    async with RawServer(says(b""), context=context) as server:  # asyncio on 3.11 drops its alert
        code, sent = failed(await client.send(post(server.url + "/x")))
        assert code in {"tls-version", "tls-failed"}
        assert not sent
    await client.close()


async def test_no_cipher_in_common(certificates: Certificates) -> None:
    """A handshake refused by alert for another cause than the version is a failed handshake, with the alert's name."""
    context = certificates.server(maximum=V12)
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    ours = certificates.client(maximum=V12)
    ours.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    client = WfmClient(ours, timeout=20)
    with handshakes_only(context) as port:
        result = await client.send(post(f"https://127.0.0.1:{port}/x"))
    await client.close()
    assert failed(result) == ("tls-failed", False)
    assert "handshake failure" in getattr(result, "detail", "")


async def test_client_certificate_wanted(certificates: Certificates) -> None:
    """With TLS 1.3 a server refuses us after the handshake; the request may have been read, so it counts as sent."""
    context = certificates.server()
    context.verify_mode = ssl.CERT_REQUIRED
    certificates.ca.configure_trust(context)
    async with RawServer(says(b""), context=context) as server, a_client(certificates) as client:
        assert failed(await client.send(post(server.url + "/x"))) == ("connection-lost", True)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (says(b""), "timed-out"),
        (says(b"HTTP/1.1 400 Bad Request\r\n\r\n", "close"), "tls-failed"),
        (says(b"SSH-2.0-OpenSSH\r\n"), "tls-failed"),
        (says(b"", "close"), "tls-failed"),
        (says(b"", "reset"), "tls-failed"),
    ],
)
async def test_no_tls_there(certificates: Certificates, script: Script, code: str) -> None:
    """A port that accepts and then says nothing, plain HTTP or goodbye: nothing was sent."""
    async with (
        RawServer(script, context=None, wild=True) as server,
        a_client(certificates, connect_timeout=0.5 if code == "timed-out" else None) as client,
    ):
        assert failed(await client.send(post(server.url + "/x"))) == (code, False)


async def test_nobody_listens(certificates: Certificates) -> None:
    """A closed port is a refusal; an address without a route cannot be reached."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        async with a_client(certificates) as client:
            assert failed(await client.send(post(f"https://127.0.0.1:{port}/x"))) == ("connect-refused", False)
            assert failed(await client.send(post(f"https://255.255.255.255:{port}/x"))) == ("connect-failed", False)


async def test_accept_queue_full(certificates: Certificates) -> None:
    """A SYN that nobody answers ends by the connect timeout, long before the whole one."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        listening.setblocking(False)
        fillers = [socket.socket() for _ in range(4)]
        for each in fillers:
            each.setblocking(False)
            each.connect_ex(listening.getsockname())
        async with a_client(certificates, timeout=60, connect_timeout=0.3) as client, within(5):
            result = await client.send(post(f"https://127.0.0.1:{listening.getsockname()[1]}/x"))
        for each in fillers:
            each.close()
        assert failed(result) == ("timed-out", False)
