"""The development WFM's own CA: root -> intermediate -> server certificate, made once and kept in its directory.

`Pki.open` makes or loads it; `ssl_context` gives the server's side of TLS, with the right certificate or with one that
is wrong in a chosen way. ECDSA P-256 throughout.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from margod.devwfm.problems import DevWfmError

ALWAYS: Final = ("localhost", "127.0.0.1", "::1")
"""Names that the server certificate always holds."""

KINDS: Final = ("good", "expired", "not-yet-valid", "wrong-host", "self-signed", "other-ca")

_CA_LIFE: Final = timedelta(days=7300)
_SERVER_LIFE: Final = timedelta(days=800)
_BACKDATED: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _Pair:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


class Pki:
    """The CA of one directory. `ca_file` is the root certificate for the devices; `root_der` the same as DER."""

    def __init__(self, directory: Path, hosts: tuple[str, ...], root: _Pair, intermediate: _Pair) -> None:
        """Take what `open` loaded or made."""
        self.ca_file = directory / "ca.pem"
        self.root_der = root.certificate.public_bytes(Encoding.DER)
        self.root_pem = root.pem()
        self._directory = directory / "pki"
        self._hosts = tuple(dict.fromkeys((*ALWAYS, *hosts)))
        self._intermediate = intermediate
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}

    @classmethod
    def open(cls, directory: Path, hosts: tuple[str, ...]) -> Pki:
        """Load the CA of `directory` or make it. Raises `DevWfmError` if what is there cannot be read."""
        home = directory / "pki"
        if not home.exists():
            _create(home)
        try:
            pki = cls(directory, hosts, _load(home, "root"), _load(home, "intermediate"))
        except (OSError, ValueError, TypeError) as error:
            raise DevWfmError(f"{home}: the CA cannot be read ({error}); remove {home} to make a new one") from None
        _write(pki.ca_file, pki.root_pem, 0o644)
        return pki

    def ssl_context(self, kind: str = "good", *, only_tls12: bool = False) -> ssl.SSLContext:
        """Return the server's context with a certificate of `kind` (one of `KINDS`). Contexts are kept."""
        wanted = (kind, only_tls12)
        if wanted not in self._contexts:
            self._contexts[wanted] = self._make_context(kind, only_tls12)
        return self._contexts[wanted]

    def _make_context(self, kind: str, only_tls12: bool) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if only_tls12:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        chain, key = self._server_certificate(kind)
        file = self._directory / f"server-{kind}.pem"
        _write(file, key + chain, 0o600)
        context.load_cert_chain(file)
        return context

    def _server_certificate(self, kind: str) -> tuple[bytes, bytes]:
        now = datetime.now(UTC)
        begin, end = now - _BACKDATED, now + _SERVER_LIFE
        if kind == "expired":
            begin, end = now - timedelta(days=30), now - _BACKDATED
        elif kind == "not-yet-valid":
            begin, end = now + timedelta(days=30), now + _SERVER_LIFE
        hosts = ("other.invalid",) if kind == "wrong-host" else self._hosts
        issuer: _Pair | None = self._intermediate
        between = self._intermediate.pem()
        if kind == "self-signed":
            issuer, between = None, b""
        elif kind == "other-ca":
            other = _authority("another development root CA", None, 1)
            issuer = _authority("another development intermediate CA", other, 0)
            between = issuer.pem()
        server = _server(hosts, issuer, begin, end)
        return server.pem() + between, server.key_pem()


def _create(home: Path) -> None:
    new = home.with_name("pki.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    root = _authority("margod development root CA", None, 1)
    intermediate = _authority("margod development intermediate CA", root, 0)
    for name, pair in (("root", root), ("intermediate", intermediate)):
        _write(new / f"{name}.key", pair.key_pem(), 0o600)
        _write(new / f"{name}.crt", pair.pem(), 0o644)
    new.rename(home)


def _load(home: Path, name: str) -> _Pair:
    key = load_pem_private_key((home / f"{name}.key").read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{name}.key is not an EC key")
    return _Pair(key, x509.load_pem_x509_certificate((home / f"{name}.crt").read_bytes()))


def _write(file: Path, data: bytes, mode: int) -> None:
    new = file.with_name(f"{file.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(descriptor, mode)
        stream.write(data)
    new.replace(file)


def _authority(name: str, issuer: _Pair | None, path_length: int) -> _Pair:
    now = datetime.now(UTC)
    usage = _usage(key_cert_sign=True, crl_sign=True)

    def extend(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
        constraints = x509.BasicConstraints(ca=True, path_length=path_length)
        return builder.add_extension(constraints, critical=True).add_extension(usage, critical=True)

    return _issue(name, issuer, now - _BACKDATED, now + _CA_LIFE, extend)


def _server(hosts: tuple[str, ...], issuer: _Pair | None, begin: datetime, end: datetime) -> _Pair:
    names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])

    def extend(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
        return (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(names, critical=False)
        )

    return _issue("margod development WFM", issuer, begin, end, extend)


def _issue(
    name: str,
    issuer: _Pair | None,
    begin: datetime,
    end: datetime,
    extend: Callable[[x509.CertificateBuilder], x509.CertificateBuilder],
) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signing = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
    )
    return _Pair(key, extend(builder).sign(signing, hashes.SHA256()))


def _usage(**bits: bool) -> x509.KeyUsage:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: bits.get(name, False) for name in names})


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
