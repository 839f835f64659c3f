"""The device's identity: the operator's files, good and bad, and the certificate as people export it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from tests.e2e.faketime import OtherTime, needs_faketime
from tests.identity.openssl import make_certificate, make_key, openssl
from tests.support.daemon import QUIET, Daemon, FreshDaemon
from tests.support.device import new_certificate, new_key
from tests.support.devwfm import DevWfm, command
from tests.support.rawserver import Certificates, RawServer, Turn

pytestmark = pytest.mark.e2e


class Files:
    """`device.key` and `device.crt` in a directory, as the configuration names them."""

    def __init__(self, directory: Path) -> None:
        self.key = directory / "device.key"
        self.certificate = directory / "device.crt"
        self.yaml = f"identity: {{key_file: {self.key}, certificate_file: {self.certificate}}}"

    def make(self, kind: str = "P-256") -> None:
        """Write a new identity that fits."""
        make_certificate(self.certificate, make_key(self.key, kind))

    @property
    def fingerprint(self) -> str:
        """Of the certificate in the file."""
        certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        return certificate.fingerprint(hashes.SHA256()).hex()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Identity files that are not there yet."""
    return Files(tmp_path)


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("P-256", "ecdsa-p256-sha256"),
        ("P-384", "ecdsa-p384-sha384"),
        ("Ed25519", "ed25519"),
        ("RSA-2048", "rsa-v1_5-sha256"),
    ],
)
async def test_given_identity_enrols(tmp_path: Path, files: Files, kind: str, algorithm: str) -> None:
    """Every kind of key that is taken enrols with a WFM that verifies it."""
    files.make(kind)
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=files.yaml) as daemon,
    ):
        identity = (await daemon.until("enrolled"))["identity"]
        assert [identity[name] for name in ("algorithm", "source", "fingerprint")] == [
            algorithm,
            "files",
            files.fingerprint,
        ]
        assert [client["fingerprint"] for client in await wfm.clients()] == [files.fingerprint]


async def test_files_gone_once_enrolled(tmp_path: Path, files: Files) -> None:
    """The files are copied in: without them it is enrolled all the same, over a restart, with a warning."""
    files.make("P-384")
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=files.yaml)
        await daemon.start()
        before = await daemon.until("enrolled")
        files.key.unlink()
        files.certificate.unlink()
        await daemon.reload()
        assert warned(await daemon.status()) == ["identity-file-unreadable"]
        await daemon.stop()
        async with daemon:
            status = await daemon.until("enrolled")
            assert status["identity"] == before["identity"]
            assert warned(status) == ["identity-file-unreadable"]
            assert str(files.key) in status["warnings"][0]["message"]
            assert (await wfm.stats())["requests_total"] == 2


async def test_bad_files_block_until_mended(tmp_path: Path, files: Files) -> None:
    """Each fault of the files blocks with its own reason and names the file; nothing is sent or made instead."""
    other = make_key(tmp_path / "other.key", "P-256")
    files.make()
    good = (files.key.read_bytes(), files.certificate.read_bytes())

    def mismatch() -> None:
        shutil.copy(other, files.key)

    def encrypted() -> None:
        openssl("pkey", "-in", other, "-aes256", "-passout", "pass:x", "-out", files.key)

    def readable() -> None:
        files.key.chmod(0o644)

    def expired() -> None:
        key = load_pem_private_key(good[0], None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        files.certificate.write_bytes(new_certificate(key, begin=-20, end=-10).public_bytes(Encoding.PEM))

    def small() -> None:
        files.make("RSA-1024")

    def curve() -> None:
        files.make("P-521")

    def missing() -> None:
        files.certificate.unlink()

    def directory() -> None:
        files.key.unlink()
        files.key.mkdir()

    def empty() -> None:
        files.key.write_bytes(b"")

    def certificate_as_key() -> None:
        files.key.write_bytes(good[1])

    cases = [
        (mismatch, "key-mismatch", "does not belong to the certificate"),
        (encrypted, "identity-invalid", "is encrypted"),
        (readable, "key-exposed", "has mode 0644"),
        (small, "identity-invalid", "RSA of 1024 bits"),
        (curve, "identity-invalid", "P-521"),
        (missing, "identity-file-unreadable", "No such file"),
        (empty, "identity-invalid", "is empty"),
        (certificate_as_key, "identity-invalid", "holds no private key"),
        (directory, "identity-file-unreadable", "is not a regular file"),
    ]

    def mend() -> None:
        if files.key.is_dir():
            files.key.rmdir()
        files.key.write_bytes(good[0])
        files.key.chmod(0o600)
        files.certificate.write_bytes(good[1])

    mismatch()
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=files.yaml) as daemon,
    ):
        await daemon.until("blocked", "key-mismatch")
        assert (await daemon.command("status"))[0] == 5
        code, _, error = await daemon.command("identity", "show")
        assert (code, "no certificate yet" in error) == (1, True)
        for spoil, reason, words in cases:
            mend()
            spoil()
            await daemon.reload()
            status = await daemon.status()
            assert (status["state"], status["reason"], status["identity"]) == ("blocked", reason, None), words
            assert str(tmp_path) in status["detail"]
            assert words in status["detail"]
        mend()
        expired()
        await daemon.reload()
        status = await daemon.until("blocked", "certificate-expired")
        assert "expired at" in status["detail"]
        assert (await wfm.stats())["connections"] == 0
        mend()
        await daemon.reload()
        status = await daemon.until("enrolled")
        assert status["identity"]["fingerprint"] == files.fingerprint
        assert [client["fingerprint"] for client in await wfm.clients()] == [files.fingerprint]


@needs_faketime
async def test_expired_once_enrolled(tmp_path: Path, files: Files) -> None:
    """A certificate that runs out does not end an enrolment: it is a warning, and the device stays what it is."""
    lifetime = 3600.0
    files.make()
    key = load_pem_private_key(files.key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    certificate = new_certificate(key, end=lifetime / 86_400)
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        OtherTime(tmp_path, ahead=0.0, url=wfm.url, ca_file=wfm.ca_file, yaml=files.yaml) as daemon,
    ):
        before = await daemon.until("enrolled")
        assert before["warnings"] == []
        daemon.set_clock(2 * lifetime)
        await daemon.reload()
        status = await daemon.status()
        assert [status[key] for key in ("state", "identity")] == ["enrolled", before["identity"]]
        assert warned(status) == ["certificate-expired"]


async def test_given_over_minted(tmp_path: Path, files: Files) -> None:
    """A device that has made an identity takes a given one while it is not enrolled, and never falls back to its own.

    Once enrolled, files of another identity are a warning only.
    """
    async with DevWfm(tmp_path / "wfm") as wfm, Daemon(tmp_path, yaml=QUIET) as daemon:
        minted = (await daemon.until("discovering"))["identity"]
        assert minted["source"] == "minted"
        daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml=files.yaml)
        await daemon.reload()
        status = await daemon.until("blocked", "identity-file-unreadable")
        assert str(files.key) in status["detail"]
        assert (await wfm.stats())["connections"] == 0
        files.make()
        assert (await daemon.retry())["message"] == "trying now"
        status = await daemon.until("enrolled")
        assert status["identity"]["fingerprint"] == files.fingerprint != minted["fingerprint"]
        files.make()
        await daemon.reload()
        after = await daemon.status()
        assert [after[key] for key in ("state", "identity")] == ["enrolled", status["identity"]]
        assert warned(after) == ["identity-files-ignored"]
        assert len(await wfm.clients()) == 1


async def test_export(tmp_path: Path) -> None:
    """`identity show` and `export` give the certificate that the WFM saw, in every form, daemon up or down."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        await daemon.start()
        identity = (await daemon.until("enrolled"))["identity"]
        assert [client["fingerprint"] for client in await wfm.clients()] == [identity["fingerprint"]]
        state = ("--state-dir", str(daemon.state))
        for _ in ("up", "down"):
            for form in ("pem", "der", "base64"):
                out = tmp_path / f"exported.{form}"
                assert await daemon.command("identity", "export", "--format", form, "--out", str(out), *state) == (
                    0,
                    "",
                    "",
                )
                data = out.read_bytes()
                if form == "pem":
                    der = x509.load_pem_x509_certificate(data).public_bytes(Encoding.DER)
                else:
                    der = data if form == "der" else base64.b64decode(data.strip(), validate=True)
                assert hashlib.sha256(der).hexdigest() == identity["fingerprint"]
                assert b"PRIVATE" not in data
            code, said, _ = await daemon.command("identity", "show", *state)
            assert (code, identity["fingerprint"] in said, identity["subject"] in said) == (0, True, True)
            await daemon.stop()


async def test_uploaded_before_it_asks(tmp_path: Path) -> None:
    """The exported certificate, uploaded to the WFM by hand, makes the first request an accepted one."""
    async with DevWfm(tmp_path / "wfm", "--approval", "manual") as wfm, Daemon(tmp_path, yaml=QUIET) as daemon:
        await daemon.until("discovering")
        out = tmp_path / "device.pem"
        assert (await daemon.command("identity", "export", "--out", str(out)))[0] == 0
        assert command("upload")[-2:] == ["devwfm", "upload"]
        code, said, error = await daemon.command("devwfm", "upload", "--directory", str(wfm.directory), str(out))
        assert (code, "approved" in said) == (0, True), error
        daemon.configure(url=wfm.url, ca_file=wfm.ca_file)
        await daemon.reload()
        await daemon.until("enrolled")
        assert [request["status"] for request in await wfm.requests()] == [201, 201]
        assert not [line for line in daemon.journal if "pending-approval" in line]


@pytest.mark.parametrize("given", [False, True])
async def test_the_key_stays_inside(tmp_path: Path, files: Files, given: bool) -> None:
    """The private key is in no line of the journal, no document, no argument and no file but its own record."""
    if given:
        files.make("RSA-2048")
    async with DevWfm(tmp_path / "wfm") as wfm:
        yaml = files.yaml if given else ""
        async with FreshDaemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=yaml) as daemon:
            await daemon.until("enrolled")
            records = list(daemon.state.glob("gen-*/identity.key"))
            assert records
            secrets = spelled(records[-1].read_bytes())
            assert daemon.process is not None
            proc = Path("/proc") / str(daemon.process.pid)
            seen = [(proc / name).read_bytes() for name in ("cmdline", "environ")]
            seen += [str(await daemon.get(f"/v1/{name}")).encode() for name in ("status", "identity")]
            seen += [part.encode() for part in (await daemon.command("config", "show"))[1:]]
            await daemon.stop()
            seen += ["\n".join(daemon.journal).encode(), wfm.log.encode()]
            seen += [request["body"] for request in await wfm.requests()]
        for path in daemon.state.rglob("*"):
            if path.is_file():
                assert path.stat().st_mode & 0o077 == 0, path
                if path.name != "identity.key":
                    seen.append(path.read_bytes())
        assert not [secret for secret in secrets for data in seen if secret in data]


def spelled(pem: bytes) -> list[bytes]:
    """Return the ways in which the secret part of a key may be written."""
    key = load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        raw = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    else:
        numbers = key.private_numbers()
        value = numbers.d if isinstance(numbers, rsa.RSAPrivateNumbers) else numbers.private_value
        raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
    lines = [line for line in pem.splitlines() if len(line) == 64 and not line.startswith(b"-")]
    return [raw, raw.hex().encode(), str(int.from_bytes(raw, "big")).encode(), b"PRIVATE KEY", *lines]


def warned(status: dict[str, Any]) -> list[str]:
    """Return the codes of the warnings."""
    return [warning["code"] for warning in status["warnings"]]


async def test_an_answer_belongs_to_the_certificate_that_asked(tmp_path: Path) -> None:
    """A reload with another identity while the WFM is answering does not give the answer's client id to that one."""
    certificates = Certificates()
    certificates.ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def script(turn: Turn) -> None:
        if turn.request.line.startswith("POST /api/v1/onboarding "):
            asked.set()
            await go_on.wait()
            await turn.answer(201, b'{"clientId": "of-the-first"}')
        else:
            await turn.answer(201)

    async with RawServer(script, context=certificates.server()) as server:
        patient = f'wfm: {{url: "{server.url}", timeout: 60s}}'  # the answer is held back for as long as this takes
        daemon = Daemon(tmp_path, ca_file=tmp_path / "ca.pem", yaml=patient)
        async with daemon:
            await asked.wait()
            first = (await daemon.status())["identity"]["fingerprint"]
            key = new_key()
            key_file, certificate_file = tmp_path / "op.key", tmp_path / "op.crt"
            key_file.touch(0o600)
            key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            certificate_file.write_bytes(new_certificate(key).public_bytes(Encoding.PEM))
            given = f"identity: {{key_file: {key_file}, certificate_file: {certificate_file}}}"
            daemon.configure(ca_file=tmp_path / "ca.pem", yaml=f"{patient}\n{given}")
            await daemon.reload()
            go_on.set()
            status = await daemon.until("enrolled")
            assert (status["client_id"], status["identity"]["fingerprint"]) == ("of-the-first", first)
            looked = await daemon.until_status(lambda s: bool(s["warnings"]), "a warning about the other identity")
            assert [warning["code"] for warning in looked["warnings"]] == ["identity-files-ignored"]
