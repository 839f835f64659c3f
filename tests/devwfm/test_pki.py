"""The development WFM's CA: kept, exported, and a chain that OpenSSL and strict verification accept."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509

from margod.devwfm.pki import KINDS, Pki
from margod.devwfm.problems import DevWfmError
from tests.devwfm.running import running


async def handshake(url: str, ca_file: Path, name: str) -> None:
    """Do a strictly verified handshake under the name `name`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    port = urlsplit(url).port
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    writer.close()
    await writer.wait_closed()


async def test_names_and_chain(tmp_path: Path) -> None:
    """The chain holds under localhost, both loopback addresses and every --host, strictly, and under no other name."""
    async with running(tmp_path, hosts=("wfm.plant.example", "192.0.2.7")) as server:
        assert urlsplit(server.url).hostname == "wfm.plant.example"
        for name in ("localhost", "127.0.0.1", "::1", "wfm.plant.example", "192.0.2.7"):
            await handshake(server.url, server.ca_file, name)
        with pytest.raises(ssl.SSLCertVerificationError):
            await handshake(server.url, server.ca_file, "other.example")


async def test_ca_is_kept(tmp_path: Path) -> None:
    """A second start has the same root; another host is added without a new CA."""
    async with running(tmp_path) as server:
        first = server.ca_file.read_bytes()
    async with running(tmp_path, hosts=("new.example",)) as server:
        assert server.ca_file.read_bytes() == first
        await handshake(server.url, server.ca_file, "new.example")


def test_openssl_agrees(tmp_path: Path) -> None:
    """`openssl verify -x509_strict` accepts root, intermediate and server certificate."""
    pki = Pki.open(tmp_path, ())
    pki.ssl_context()
    home = tmp_path / "pki"
    chain = x509.load_pem_x509_certificates((home / "server-good.pem").read_bytes())
    assert len(chain) == 2
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", str(pki.ca_file),
         "-untrusted", str(home / "intermediate.crt"), str(home / "server-good.pem")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_keys_are_private(tmp_path: Path) -> None:
    """Files that hold a key are 0600, their directory 0700."""
    pki = Pki.open(tmp_path, ())
    for kind in KINDS:
        pki.ssl_context(kind)
    assert (tmp_path / "pki").stat().st_mode & 0o777 == 0o700
    for file in (tmp_path / "pki").iterdir():
        if b"PRIVATE KEY" in file.read_bytes():
            assert file.stat().st_mode & 0o777 == 0o600, file


@pytest.mark.parametrize("damage", ["root.key", "intermediate.crt"])
def test_damaged(tmp_path: Path, damage: str) -> None:
    """A CA that cannot be read is reported with what to remove, not replaced."""
    Pki.open(tmp_path, ())
    (tmp_path / "pki" / damage).write_bytes(b"garbage")
    with pytest.raises(DevWfmError, match=r"remove .*pki"):
        Pki.open(tmp_path, ())
    (tmp_path / "pki" / damage).unlink()
    with pytest.raises(DevWfmError, match=r"remove .*pki"):
        Pki.open(tmp_path, ())
