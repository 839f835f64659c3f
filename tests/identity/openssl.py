"""The `openssl` command line: the other implementation that keys, certificates and signatures are held against."""

from __future__ import annotations

import subprocess
from pathlib import Path

CURVES = {"P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1", "secp256k1": "secp256k1"}


def openssl(*arguments: str | Path, data: bytes | None = None) -> bytes:
    """Run openssl and return what it printed; an AssertionError with its complaint if it fails."""
    done = subprocess.run(["openssl", *map(str, arguments)], input=data, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def make_key(path: Path, kind: str) -> Path:
    """Write a fresh PKCS#8 PEM key, mode 0600: a curve's name, `Ed25519`, or `RSA-<bits>`."""
    if kind in CURVES:
        what = ["-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{CURVES[kind]}"]
    elif kind.startswith("RSA-"):
        what = ["-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{kind[4:]}"]
    else:
        what = ["-algorithm", kind]
    openssl("genpkey", *what, "-out", path)
    path.chmod(0o600)
    return path


def make_certificate(path: Path, key: Path, *arguments: str, subject: str = "/CN=device") -> Path:
    """Write a self-signed PEM certificate over `key` as `openssl req -x509` makes it."""
    openssl("req", "-x509", "-new", "-key", key, "-subj", subject, "-out", path, *arguments)
    return path
