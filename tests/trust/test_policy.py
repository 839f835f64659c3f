"""The trust policy, by real TLS handshakes on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from margod.model import reasons
from margod.model.errors import SettingError, TrustError
from margod.trust import Anchor, TlsSettings, TrustPolicy, decode_certificates
from tests.trust import material

DAY = timedelta(days=1)


def anchors(*pems: bytes) -> tuple[Anchor, ...]:
    """Return the certificates as anchors."""
    return decode_certificates(b"".join(pems), material.now())


def serving(*issued: trustme.LeafCert | tuple[Path, Path]) -> ssl.SSLContext:
    """Return a server's context for a certificate of trustme's or for files (certificate chain, key)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for one in issued:
        if isinstance(one, tuple):
            context.load_cert_chain(*one)
        else:
            one.configure_cert(context)
    return context


async def handshake(server_side: ssl.SSLContext, client_side: ssl.SSLContext, host: str = "localhost") -> str:
    """Exchange a line with a server on loopback and return the TLS version; raises what the client's side raises.

    Asserts that a client that refuses the server has sent it nothing.
    """
    received: list[bytes] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            received.append(await reader.readline())
            writer.write(received[-1])
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_side)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # the server's own view of a refused handshake
    async with server, asyncio.timeout(10):
        port = server.sockets[0].getsockname()[1]
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_side, server_hostname=host)
        except ssl.SSLError:
            assert not any(received)
            raise
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
        version: str = writer.get_extra_info("ssl_object").version()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return version


def trusting(*pems: bytes, tls: TlsSettings | None = None) -> ssl.SSLContext:
    """Return the context that trusts these roots alone."""
    return TrustPolicy(anchors(*pems), tls or TlsSettings()).ssl_context()


async def refusal(server_side: ssl.SSLContext, client_side: ssl.SSLContext, host: str = "localhost") -> str:
    """Return OpenSSL's words for why the certificate is refused."""
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        await handshake(server_side, client_side, host)
    return caught.value.verify_message


async def test_the_right_root_passes_with_tls_1_3() -> None:
    """A server certified by the anchor is talked to, by TLS 1.3 where both speak it."""
    ca = trustme.CA()
    assert await handshake(serving(ca.issue_cert("localhost")), trusting(material.root_pem(ca))) == "TLSv1.3"


async def test_one_of_several_roots_passes() -> None:
    """Each of several anchors counts."""
    one, two = trustme.CA(), trustme.CA()
    client = trusting(material.root_pem(one), material.root_pem(two))
    for ca in (one, two):
        assert await handshake(serving(ca.issue_cert("localhost")), client)


async def test_a_chain_through_an_intermediate_passes() -> None:
    """The server sends its intermediate; the root alone is the anchor."""
    root = trustme.CA()
    middle = root.create_child_ca()
    assert await handshake(serving(middle.issue_cert("localhost")), trusting(material.root_pem(root)))


async def test_an_intermediate_that_only_we_hold_completes_the_chain(tmp_path: Path) -> None:
    """A server that forgets its intermediate is verified if the CA file holds it beside the root."""
    root = material.v1_root(tmp_path)
    signs = "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n"
    middle = material.issue(tmp_path, root, "middle", signs)
    leaf = material.issue(tmp_path, middle, "leaf", "subjectAltName=DNS:localhost\n")
    both = trusting(root[0].read_bytes(), middle[0].read_bytes())
    assert await handshake(serving(leaf), both)
    assert "unable to get local issuer" in await refusal(serving(leaf), trusting(root[0].read_bytes()))


async def test_a_v1_root_and_old_leaves_pass_unless_strict(tmp_path: Path) -> None:
    """The WFM certificates of the field pass by default and are refused by tls.strict_x509 (wire, 1.1)."""
    root = material.v1_root(tmp_path)
    leaf = material.issue(tmp_path, root, "leaf", "subjectAltName=DNS:localhost\nbasicConstraints=CA:TRUE\n")
    pem = root[0].read_bytes()
    assert await handshake(serving(leaf), trusting(pem))
    assert await refusal(serving(leaf), trusting(pem, tls=TlsSettings(strict_x509=True)))


async def test_strict_takes_what_is_right() -> None:
    """tls.strict_x509 does not refuse certificates that follow RFC 5280."""
    ca = trustme.CA()
    strict = trusting(material.root_pem(ca), tls=TlsSettings(strict_x509=True))
    assert await handshake(serving(ca.issue_cert("localhost")), strict)


async def test_another_root_is_refused() -> None:
    """A server of another CA is refused, also one whose CA bears the same name."""
    ours, theirs = (trustme.CA(organization_name="Plant", organization_unit_name="WFM") for _ in range(2))
    said = await refusal(serving(theirs.issue_cert("localhost")), trusting(material.root_pem(ours)))
    assert "issuer" in said or "signature" in said or "self-signed" in said


async def test_a_self_signed_server_is_refused(tmp_path: Path) -> None:
    """A server that vouches for itself is refused."""
    own = material.own_root(tmp_path, "own", "-addext", "subjectAltName=DNS:localhost")
    assert "self-signed" in await refusal(serving(own), trusting(material.root_pem(trustme.CA())))


@pytest.mark.parametrize("host", ["wfm.example", "127.0.0.1", "localhost.example"])
async def test_the_wrong_host_is_refused(host: str) -> None:
    """A certificate for another name or address is refused."""
    ca = trustme.CA()
    said = await refusal(serving(ca.issue_cert("localhost")), trusting(material.root_pem(ca)), host)
    assert "mismatch" in said


async def test_an_address_is_checked_as_an_address() -> None:
    """A certificate for an IP address is taken for that address."""
    ca = trustme.CA()
    assert await handshake(serving(ca.issue_cert("127.0.0.1")), trusting(material.root_pem(ca)), "127.0.0.1")


async def test_an_expired_server_is_refused() -> None:
    """A certificate that has expired is refused, and OpenSSL says so."""
    ca = trustme.CA()
    past = datetime.now(UTC)
    cert = ca.issue_cert("localhost", not_before=past - 9 * DAY, not_after=past - DAY)
    assert "expired" in await refusal(serving(cert), trusting(material.root_pem(ca)))


async def test_a_server_not_yet_valid_is_refused() -> None:
    """A certificate that is not valid yet is refused, and OpenSSL says so."""
    ca = trustme.CA()
    today = datetime.now(UTC)
    cert = ca.issue_cert("localhost", not_before=today + DAY, not_after=today + 9 * DAY)
    assert "not yet valid" in await refusal(serving(cert), trusting(material.root_pem(ca)))


async def test_an_expired_root_beside_a_valid_one_counts_no_more(tmp_path: Path) -> None:
    """Keeping an expired root in the file does not make OpenSSL trust it."""
    old = material.dated_root(tmp_path, "old", -20 * DAY, -10 * DAY)
    leaf = material.issue(tmp_path, old, "leaf", "subjectAltName=DNS:localhost\n")
    client = trusting(old[0].read_bytes(), material.root_pem(trustme.CA()))
    assert "expired" in await refusal(serving(leaf), client)


@pytest.mark.parametrize(
    ("ours", "theirs", "spoken"),
    [
        (("1.2", "1.3"), ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        (("1.2", "1.2"), ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        (("1.3", "1.3"), ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
    ],
)
async def test_versions_in_common(ours: tuple[str, str], theirs: ssl.TLSVersion, spoken: str) -> None:
    """A server of one version only is talked to in it where the settings allow it."""
    ca = trustme.CA()
    server = serving(ca.issue_cert("localhost"))
    server.minimum_version = server.maximum_version = theirs
    assert await handshake(server, trusting(material.root_pem(ca), tls=TlsSettings(*ours))) == spoken


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("1.3", ssl.TLSVersion.TLSv1_2), ("1.2", ssl.TLSVersion.TLSv1_3)],
)
async def test_no_version_in_common(ours: str, theirs: ssl.TLSVersion) -> None:
    """A server that speaks TLS 1.2 only is refused with minimum 1.3, one that speaks 1.3 only with maximum 1.2."""
    ca = trustme.CA()
    server = serving(ca.issue_cert("localhost"))
    server.minimum_version = server.maximum_version = theirs
    client = trusting(material.root_pem(ca), tls=TlsSettings(ours, ours))

    def serve_once(listener: socket.socket) -> None:
        plain, _ = listener.accept()
        plain.settimeout(10)
        with plain, contextlib.suppress(OSError):  # unlike asyncio's, a blocking server gets its TLS alert out
            server.wrap_socket(plain, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        serving_once = asyncio.create_task(asyncio.to_thread(serve_once, listener))
        with pytest.raises(ssl.SSLError, match=r"(?i)version"):
            await asyncio.open_connection(*listener.getsockname(), ssl=client, server_hostname="localhost")
        await serving_once


async def test_system_trust_is_the_systems_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without anchors the store that OpenSSL finds is used, and only that."""
    ca = trustme.CA()
    (tmp_path / "store.pem").write_bytes(material.root_pem(ca))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "store.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    context = TrustPolicy(None, TlsSettings()).ssl_context()
    assert await handshake(serving(ca.issue_cert("localhost")), context)
    assert await refusal(serving(trustme.CA().issue_cert("localhost")), context)


async def test_given_anchors_replace_the_systems_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With anchors the system's store vouches for nobody."""
    ca = trustme.CA()
    (tmp_path / "store.pem").write_bytes(material.root_pem(ca))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "store.pem"))
    assert await refusal(serving(ca.issue_cert("localhost")), trusting(material.root_pem(trustme.CA())))


def test_nothing_to_verify_with_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No anchors, or an empty system store, is `no-anchor` and not a context that refuses everybody."""
    with pytest.raises(TrustError) as caught:
        TrustPolicy((), TlsSettings()).ssl_context()
    assert caught.value.reason is reasons.NO_ANCHOR
    (tmp_path / "store.pem").touch()
    (tmp_path / "store").mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "store.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "store"))
    with pytest.raises(TrustError, match="empty") as caught:
        TrustPolicy(None, TlsSettings()).ssl_context()
    assert caught.value.reason is reasons.NO_ANCHOR
    assert "ca-certificates" in caught.value.hint


def test_an_anchor_that_openssl_refuses_is_a_trust_error() -> None:
    """A damaged anchor is translated at this boundary."""
    bad = Anchor(der=b"\x30\x03\x02\x01\x01", subject="x", fingerprint="00", not_before=0.0, not_after=1.0)
    with pytest.raises(TrustError, match="OpenSSL"):
        TrustPolicy((bad,), TlsSettings()).ssl_context()


@pytest.mark.parametrize("versions", [("1.1", "1.3"), ("1.2", "2"), ("", ""), ("1.3", "1.2")])
def test_impossible_versions_are_refused(versions: tuple[str, str]) -> None:
    """Versions outside 1.2 and 1.3, and a minimum above the maximum, are setting errors."""
    with pytest.raises(SettingError, match=r"tls\."):
        TlsSettings(*versions)


def test_context_is_explicit_about_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Host name check and verification are on, strictness and partial chains off, and no key log is written."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    context = trusting(material.root_pem(trustme.CA()))
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert not context.verify_flags & (ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN)
    assert not context.keylog_filename
    strict = trusting(material.root_pem(trustme.CA()), tls=TlsSettings(strict_x509=True))
    assert strict.verify_flags & ssl.VERIFY_X509_STRICT
