"""Certificate authorities for the tests of this room: trustme's, and odd ones made by the openssl command line."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from tests.identity.openssl import make_certificate, make_key, openssl


def now() -> float:
    """Return the present in Unix seconds."""
    return datetime.now(UTC).timestamp()


def root_pem(ca: trustme.CA) -> bytes:
    """Return the CA's certificate as PEM."""
    return ca.cert_pem.bytes()


def root_der(ca: trustme.CA) -> bytes:
    """Return the CA's certificate as DER, by openssl."""
    return openssl("x509", "-outform", "DER", data=root_pem(ca))


def leaf_pem(ca: trustme.CA, host: str = "localhost") -> bytes:
    """Return a server's certificate that the CA issued."""
    return ca.issue_cert(host).cert_chain_pems[0].bytes()


def v1_root(directory: Path, name: str = "old") -> tuple[Path, Path]:
    """Make a self-issued X.509 v1 root without extensions by openssl: certificate and key files."""
    key = make_key(directory / f"{name}.key", "RSA-2048")
    request = directory / f"{name}.csr"
    openssl("req", "-new", "-key", key, "-subj", f"/CN={name} root", "-out", request)
    certificate = directory / f"{name}.crt"
    openssl("x509", "-req", "-in", request, "-signkey", key, "-days", "3650", "-out", certificate)
    assert b"Version: 1 (0x0)" in openssl("x509", "-text", "-noout", "-in", certificate)
    return certificate, key


def issue(directory: Path, ca: tuple[Path, Path], name: str, extensions: str | None) -> tuple[Path, Path]:
    """Have `ca` (certificate, key) issue a certificate by openssl, v1 if `extensions` is None: certificate, key."""
    key = make_key(directory / f"{name}.key", "P-256")
    request, certificate, config = (directory / f"{name}.{end}" for end in ("csr", "crt", "ext"))
    openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
    how: list[str | Path] = []
    if extensions is not None:
        config.write_text(extensions)
        how = ["-extfile", config]
    serial = os.urandom(8).hex()
    openssl(
        *("x509", "-req", "-in", request, "-CA", ca[0], "-CAkey", ca[1], "-set_serial", f"0x{serial}"),
        *("-days", "365", "-out", certificate, *how),
    )
    return certificate, key


def own_root(directory: Path, name: str, *arguments: str, kind: str = "P-256") -> tuple[Path, Path]:
    """Make a v3 self-signed certificate with only the extensions asked for: certificate, key."""
    key = make_key(directory / f"{name}.key", kind)
    config = directory / f"{name}.cnf"
    config.write_text("[req]\ndistinguished_name=dn\n[dn]\n")
    subject = f"/CN={name}"
    return make_certificate(directory / f"{name}.crt", key, "-config", str(config), *arguments, subject=subject), key


def dated_root(directory: Path, name: str, first: timedelta, last: timedelta) -> tuple[Path, Path]:
    """Make a CA that is valid from now + `first` to now + `last`, by `openssl ca`: certificate, key."""
    key = make_key(directory / f"{name}.key", "P-256")
    request, certificate, config = (directory / f"{name}.{end}" for end in ("csr", "crt", "cnf"))
    work = directory / f"{name}.d"
    work.mkdir()
    (work / "index.txt").touch()
    config.write_text(
        f"[ca]\ndefault_ca=c\n[c]\ndatabase={work}/index.txt\nrand_serial=yes\nnew_certs_dir={work}\n"
        "default_md=sha256\npolicy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n"
        "[e]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n"
    )
    openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
    start, end = ((datetime.now(UTC) + delta).strftime("%Y%m%d%H%M%SZ") for delta in (first, last))
    openssl(
        *("ca", "-batch", "-notext", "-selfsign", "-config", config, "-in", request, "-keyfile", key),
        *("-startdate", start, "-enddate", end, "-out", certificate),
    )
    return certificate, key


def fingerprint(pem: bytes) -> str:
    """Return the SHA-256 of a certificate, lower-case hex, as openssl has it."""
    said = openssl("x509", "-fingerprint", "-sha256", "-noout", data=pem).decode()
    return re.sub(r"[^0-9a-f]", "", said.split("=")[1].lower())
