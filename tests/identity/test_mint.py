"""The certificate that margod makes, as openssl and a strict TLS server see it."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import pytest
import trustme

from margod.identity import Identity, load, mint, reissue
from margod.model import reasons
from margod.model.errors import IdentityError
from tests.identity.openssl import openssl

DAY = 86_400.0
NOW = 1_790_000_000.0
TWENTY_YEARS = 7300 * DAY


def text_of(records: dict[str, bytes]) -> str:
    """Return `openssl x509 -text` of the certificate, white space folded."""
    return " ".join(openssl("x509", "-text", "-noout", data=records["identity.crt"]).decode().split())


def identity(common_name: str = "GW-1", organization: str | None = None, now: float = NOW) -> Identity:
    """Return a minted identity, loaded."""
    return load(mint(common_name, organization, TWENTY_YEARS, now))


def test_openssl_reads_what_rfc_5280_asks() -> None:
    """Version, serial, extensions and their criticality are as RFC 5280 and the contract ask, read by openssl."""
    text = text_of(mint("GW-1", "Plant & Söhne", TWENTY_YEARS, NOW))
    assert "Version: 3 (0x2)" in text
    assert "X509v3 Basic Constraints: critical CA:FALSE" in text
    assert "X509v3 Key Usage: critical Digital Signature X509v3" in text
    assert "X509v3 Extended Key Usage: TLS Web Client Authentication X509v3" in text
    assert "Signature Algorithm: ecdsa-with-SHA256" in text
    assert "ASN1 OID: prime256v1" in text
    assert "X509v3 Subject Key Identifier" in text
    assert "X509v3 Authority Key Identifier" in text
    assert "CN = GW-1" in text


def test_serial_numbers_are_positive_short_and_random() -> None:
    """A serial number is positive, at most 20 octets, and not used twice (RFC 5280, 4.1.2.2)."""
    serials = set()
    for _ in range(20):
        said = openssl("x509", "-serial", "-noout", data=mint("GW-1", None, DAY, NOW)["identity.crt"])
        serials.add(said.decode().strip().removeprefix("serial="))
    assert len(serials) == 20
    assert all(not s.startswith("-") and len(s) <= 40 and int(s, 16).bit_length() < 160 for s in serials)


@pytest.mark.parametrize("strict", [(), ("-x509_strict",)])
def test_openssl_verifies_it(tmp_path: Path, strict: tuple[str, ...]) -> None:
    """openssl verifies the certificate for a TLS client against itself, also by RFC 5280 to the letter."""
    path = tmp_path / "identity.crt"
    path.write_bytes(mint("GW-1", "Plant", TWENTY_YEARS, time.time())["identity.crt"])
    assert b"OK" in openssl("verify", *strict, "-check_ss_sig", "-purpose", "sslclient", "-CAfile", path, path)


async def test_a_strict_tls_server_takes_it(tmp_path: Path) -> None:
    """A TLS server that demands client certificates with VERIFY_X509_STRICT, as Python >= 3.13 does, takes it."""
    records = mint("GW-1", "Plant", TWENTY_YEARS, time.time())
    for name in ("identity.key", "identity.crt"):
        (tmp_path / name).write_bytes(records[name])
    ca = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(server_side)
    server_side.verify_mode = ssl.CERT_REQUIRED
    server_side.verify_flags |= ssl.VERIFY_X509_STRICT
    server_side.load_verify_locations(tmp_path / "identity.crt")
    seen: list[object] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peercert")["subject"])
        writer.write(await reader.readline())
        writer.close()

    client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca.configure_trust(client_side)
    client_side.load_cert_chain(tmp_path / "identity.crt", tmp_path / "identity.key")
    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=server_side)
    async with server, asyncio.timeout(10):
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_side, server_hostname="localhost")
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
        writer.close()
        await writer.wait_closed()
    assert seen == [((("organizationName", "Plant"),), (("commonName", "GW-1"),))]


@pytest.mark.parametrize(
    ("now", "lifetime", "not_before", "not_after", "forms"),
    [
        (1_790_000_000, 10 * DAY, "Sep 20 14:13:20 2026", "Oct  1 14:13:20 2026", ("UTCTIME", "UTCTIME")),
        (1_790_000_000, 36500 * DAY, "Sep 20 14:13:20 2026", "Aug 28 14:13:20 2126", ("UTCTIME", "GENERALIZEDTIME")),
        (2_524_608_000, DAY, "Dec 31 00:00:00 2049", "Jan  2 00:00:00 2050", ("UTCTIME", "GENERALIZEDTIME")),
        (2_524_694_400, DAY, "Jan  1 00:00:00 2050", "Jan  3 00:00:00 2050", ("GENERALIZEDTIME", "GENERALIZEDTIME")),
        (0, DAY, "Dec 31 00:00:00 1969", "Jan  2 00:00:00 1970", ("UTCTIME", "UTCTIME")),
        (-1e12, DAY, "Jan  1 00:00:00 1950", "Jan  3 00:00:00 1950", ("UTCTIME", "UTCTIME")),
        (250_000_000_000, 1e15, "Mar  7 12:26:40 9892", "Dec 31 23:59:59 9999", ("GENERALIZEDTIME",) * 2),
        (1e15, DAY, "Dec 30 23:59:58 9999", "Dec 31 23:59:59 9999", ("GENERALIZEDTIME",) * 2),
    ],
)
def test_validity_at_the_edges(
    now: float, lifetime: float, not_before: str, not_after: str, forms: tuple[str, str]
) -> None:
    """Back-dated by a day; UTCTime before 2050 and GeneralizedTime after; never outside 1950 to 9999 (4.1.2.5)."""
    records = mint("GW-1", None, lifetime, now)
    said = openssl("x509", "-startdate", "-enddate", "-noout", data=records["identity.crt"]).decode()
    assert said.split("\n")[:2] == [f"notBefore={not_before} GMT", f"notAfter={not_after} GMT"]
    parsed = openssl("asn1parse", data=records["identity.crt"]).decode()
    assert tuple(line.split("prim:")[1].split()[0] for line in parsed.splitlines() if "TIME" in line) == forms


def test_loaded_values_are_those_of_openssl() -> None:
    """Fingerprint, times and subject of the loaded identity are what openssl says of the certificate."""
    records = mint("GW-1", "Plant", TWENTY_YEARS, NOW)
    loaded = load(records)
    said = openssl("x509", "-fingerprint", "-sha256", "-noout", data=records["identity.crt"]).decode()
    assert said.strip().split("=")[1].replace(":", "").lower() == loaded.fingerprint
    assert loaded.certificate == openssl("x509", "-outform", "DER", data=records["identity.crt"])
    assert loaded.chain_pem == records["identity.crt"]
    assert (loaded.not_before, loaded.not_after) == (NOW - DAY, NOW + TWENTY_YEARS)
    assert loaded.subject == "CN=GW-1,O=Plant"
    assert loaded.source == "minted"


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("  GW\n1\x1b[31m ", "CN=GW 1 [31m"),
        ("x" * 65, f"CN={'x' * 64}"),
        ("ä" * 5000, f"CN={'ä' * 32}"),
        ("x" + "€" * 99, f"CN=x{'€' * 21}"),
        ("CN=evil,O=x", "CN=CN=evil\\,O=x"),
        ("a" * 63 + " b", f"CN={'a' * 63}"),
    ],
)
def test_awkward_names_become_a_legal_subject(name: str, subject: str) -> None:
    """A serial number from firmware becomes one line of at most 64 octets, whatever it holds."""
    assert identity(name).subject == subject


@pytest.mark.parametrize("name", ["", "  \n", "\u202e\x00"])
def test_an_empty_name_is_refused(name: str) -> None:
    """No certificate without a subject: WFMs refuse it."""
    with pytest.raises(IdentityError, match="common name") as caught:
        mint(name, "Plant", DAY, NOW)
    assert caught.value.reason is reasons.IDENTITY_INVALID


def test_reissue_keeps_key_and_subject() -> None:
    """A re-issued certificate is another one over the same key, subject and lifetime, and the count goes up."""
    records = mint("GW-1", "Plant", TWENTY_YEARS, NOW)
    later = NOW + 100 * DAY
    again = reissue(records, later)
    assert again["identity.key"] == records["identity.key"]
    assert again["identity.json"] == b'{"source": "minted", "reissued": 1}'
    old, new = load(records), load(again)
    assert new.fingerprint != old.fingerprint
    assert (new.signer.key_id, new.subject) == (old.signer.key_id, old.subject)
    assert (new.not_before, new.not_after) == (later - DAY, later + TWENTY_YEARS)
    assert reissue(again, later)["identity.json"] == b'{"source": "minted", "reissued": 2}'


def test_reissue_at_the_same_instant_differs() -> None:
    """Even within one second the new certificate is another string: WFMs compare strings."""
    records = mint("GW-1", None, DAY, NOW)
    assert reissue(records, NOW)["identity.crt"] != records["identity.crt"]
