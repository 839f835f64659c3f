"""Importing the operator's files, and loading records with every check."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from margod.identity import check_validity, import_files, load, mint, reissue
from margod.identity.files import check_private
from margod.model import reasons
from margod.model.errors import IdentityError
from margod.model.reasons import Reason
from tests.identity.openssl import make_certificate, make_key, openssl

NOW = 1_790_000_000.0


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A P-256 key file, mode 0600."""
    return make_key(tmp_path / "device.key", "P-256")


@pytest.fixture
def certificate(tmp_path: Path, key: Path) -> Path:
    """Its certificate."""
    return make_certificate(tmp_path / "device.crt", key)


def refused(key: Path, certificate: Path) -> IdentityError:
    """Return the error of an import that has to fail."""
    with pytest.raises(IdentityError) as caught:
        import_files(key, certificate)
    return caught.value


@pytest.mark.parametrize("kind", ["P-256", "P-384", "Ed25519", "RSA-2048"])
def test_every_kind_is_imported(tmp_path: Path, kind: str) -> None:
    """A pair of each kind is imported and loads as the same certificate and key, marked as from files."""
    key = make_key(tmp_path / "device.key", kind)
    certificate = make_certificate(tmp_path / "device.crt", key)
    identity = load(import_files(key, certificate))
    assert identity.certificate == openssl("x509", "-in", certificate, "-outform", "DER")
    assert identity.subject == "CN=device"
    assert identity.source == "files"


def test_a_chain_with_text_around_is_taken(tmp_path: Path, key: Path, certificate: Path) -> None:
    """Leaf first, then intermediates; comments, CRLF and links are no matter; only certificates are kept."""
    other = make_certificate(tmp_path / "ca.crt", make_key(tmp_path / "ca.key", "P-256"), subject="/CN=ca")
    text = openssl("x509", "-in", certificate, "-text") + other.read_bytes()
    certificate.write_bytes(text.replace(b"\n", b"\r\n"))
    link = tmp_path / "link.crt"
    link.symlink_to(certificate)
    records = import_files(key, link)
    assert records["identity.crt"].count(b"BEGIN") == 2
    assert records["identity.crt"].startswith(b"-----BEGIN CERTIFICATE-----\n")
    assert load(records).subject == "CN=device"


def test_imported_files_are_not_reissued(key: Path, certificate: Path) -> None:
    """The operator's certificate is the operator's: no new one is made over its key."""
    with pytest.raises(IdentityError, match="operator"):
        reissue(import_files(key, certificate), NOW)


def test_the_key_of_another_certificate(tmp_path: Path, certificate: Path) -> None:
    """A key of another certificate is told as that, with both files named."""
    error = refused(make_key(tmp_path / "other.key", "P-256"), certificate)
    assert error.reason is reasons.KEY_MISMATCH
    assert "other.key" in error.message
    assert "device.crt" in error.message


def test_the_wrong_order_of_a_chain(tmp_path: Path, key: Path, certificate: Path) -> None:
    """A chain with the leaf not first is told as that, with the way to mend it."""
    other = make_certificate(tmp_path / "ca.crt", make_key(tmp_path / "ca.key", "P-256"))
    other.write_bytes(other.read_bytes() + certificate.read_bytes())
    error = refused(key, other)
    assert error.reason is reasons.KEY_MISMATCH
    assert "first" in error.hint


def test_a_pss_only_certificate_is_refused(tmp_path: Path) -> None:
    """A certificate whose key may make RSASSA-PSS signatures only does not fit rsa-v1_5-sha256."""
    key = tmp_path / "pss.key"
    openssl("genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
    key.chmod(0o600)
    certificate = make_certificate(tmp_path / "pss.crt", key)
    assert refused(key, certificate).reason in {reasons.KEY_MISMATCH, reasons.IDENTITY_INVALID}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601])
def test_an_exposed_key_is_refused(key: Path, certificate: Path, mode: int) -> None:
    """A key that others may read, write or run is not used; message and hint name file and command."""
    key.chmod(mode)
    error = refused(key, certificate)
    assert error.reason is reasons.KEY_EXPOSED
    assert f"{mode:04o}" in error.message
    assert f"chmod 600 {key}" in error.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="gives up root's rights for a moment")
@pytest.mark.parametrize(("mode", "taken"), [(0o440, True), (0o640, True), (0o644, False), (0o660, False)])
def test_a_key_that_root_hands_to_the_daemon(key: Path, mode: int, taken: bool) -> None:
    """A daemon without root's rights takes a file of root's that its group or an ACL lets it read, and no more."""
    key.chmod(mode)
    status = key.stat()
    os.seteuid(65534)
    try:
        if taken:
            check_private(status, key, "identity.key_file")
        else:
            with pytest.raises(IdentityError) as caught:
                check_private(status, key, "identity.key_file")
            assert caught.value.reason is reasons.KEY_EXPOSED
    finally:
        os.seteuid(0)


def test_a_key_within_the_certificate_file_is_exposed_too(key: Path, certificate: Path) -> None:
    """A readable certificate file that also holds the key exposes it; as a private combined file it is fine."""
    certificate.write_bytes(certificate.read_bytes() + key.read_bytes())
    certificate.chmod(0o644)
    assert refused(key, certificate).reason is reasons.KEY_EXPOSED
    certificate.chmod(0o600)
    assert b"PRIVATE" not in import_files(certificate, certificate)["identity.crt"]


@pytest.mark.parametrize("which", ["key", "certificate"])
@pytest.mark.parametrize(
    ("what", "reason", "says"),
    [
        ("missing", reasons.IDENTITY_FILE_UNREADABLE, "No such file"),
        ("directory", reasons.IDENTITY_FILE_UNREADABLE, "not a regular file"),
        ("fifo", reasons.IDENTITY_FILE_UNREADABLE, "not a regular file"),
        ("device", reasons.IDENTITY_FILE_UNREADABLE, "not a regular file"),
        ("loop", reasons.IDENTITY_FILE_UNREADABLE, "symbolic links"),
        ("empty", reasons.IDENTITY_INVALID, "empty"),
        ("huge", reasons.IDENTITY_INVALID, "larger than"),
        ("swapped", reasons.IDENTITY_INVALID, "but: "),
        ("der", reasons.IDENTITY_INVALID, "looks like DER"),
        ("garbage", reasons.IDENTITY_INVALID, "in PEM"),
    ],
)
def test_bad_files(key: Path, certificate: Path, which: str, what: str, reason: Reason, says: str) -> None:
    """Each kind of bad file is refused at once, with the path and the setting in the message."""
    bad, other = (key, certificate) if which == "key" else (certificate, key)
    setting = f"identity.{which}_file"
    der = openssl("pkey" if which == "key" else "x509", "-in", bad, "-outform", "DER")
    swapped = other.read_bytes()
    bad.unlink()
    match what:
        case "directory":
            bad.mkdir(0o700)
        case "fifo":
            os.mkfifo(bad, 0o600)
        case "device":
            bad.symlink_to("/dev/zero")
        case "loop":
            bad.symlink_to(bad)
        case "missing":
            pass
        case _:
            bad.write_bytes({"empty": b"", "huge": b"x" * 10_000_000, "swapped": swapped, "der": der}.get(what, b"??"))
            bad.chmod(0o600)
    error = refused(key, certificate)
    assert error.reason is reason
    assert says in error.message
    assert f"{bad} ({setting})" in error.message


def test_a_truncated_certificate_file(key: Path, certificate: Path) -> None:
    """A file that was cut short is refused, also when the certificate before the cut is whole."""
    pem = certificate.read_bytes()
    certificate.write_bytes(pem + pem[: len(pem) // 2])
    assert refused(key, certificate).reason is reasons.IDENTITY_INVALID
    certificate.write_bytes(pem[: len(pem) // 2])
    assert refused(key, certificate).reason is reasons.IDENTITY_INVALID


def test_a_damaged_certificate(key: Path, certificate: Path) -> None:
    """PEM around something that is not a certificate is refused."""
    certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n")
    assert "damaged" in refused(key, certificate).message


def test_an_endless_chain_is_refused(key: Path, certificate: Path) -> None:
    """More certificates than any chain has are refused."""
    certificate.write_bytes(certificate.read_bytes() * 17)
    assert "17 certificates" in refused(key, certificate).message


def test_validity_is_judged_by_the_given_time(key: Path, certificate: Path) -> None:
    """Expired and not yet valid are told apart, both ends included; an expired certificate can still be loaded."""
    identity = load(import_files(key, certificate))
    check_validity(identity, identity.not_before)
    check_validity(identity, identity.not_after)
    with pytest.raises(IdentityError, match="expired at 20") as caught:
        check_validity(identity, identity.not_after + 1)
    assert caught.value.reason is reasons.CERTIFICATE_EXPIRED
    with pytest.raises(IdentityError, match="valid from 20") as caught:
        check_validity(identity, identity.not_before - 1)
    assert caught.value.reason is reasons.CERTIFICATE_NOT_YET_VALID


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"identity.key": None}, reasons.IDENTITY_INVALID),
        ({"identity.crt": None}, reasons.IDENTITY_INVALID),
        ({"identity.json": None}, reasons.IDENTITY_INVALID),
        ({"identity.key": b""}, reasons.IDENTITY_INVALID),
        ({"identity.key": b"x" * 1_000_000}, reasons.IDENTITY_INVALID),
        ({"identity.crt": b"garbage"}, reasons.IDENTITY_INVALID),
        ({"identity.json": b"[" * 4000}, reasons.IDENTITY_INVALID),
        ({"identity.json": b'{"source": "elsewhere"}'}, reasons.IDENTITY_INVALID),
        ({"identity.json": b'{"source": "minted", "reissued": true}'}, reasons.IDENTITY_INVALID),
        ({"identity.json": b'{"source": "minted", "reissued": -1}'}, reasons.IDENTITY_INVALID),
        ({"identity.crt": mint("other", None, 1e6, NOW)["identity.crt"]}, reasons.KEY_MISMATCH),
    ],
)
def test_damaged_records_are_refused(change: dict[str, bytes | None], reason: Reason) -> None:
    """Records that are missing, damaged or do not belong together are an IdentityError, never something else."""
    records = {**mint("GW-1", None, 1e6, NOW), **change}
    with pytest.raises(IdentityError) as caught:
        load({name: data for name, data in records.items() if data is not None})
    assert caught.value.reason is reason


def test_repr_of_an_identity_shows_no_key() -> None:
    """An Identity in a log line shows no private key."""
    records = mint("GW-1", None, 1e6, NOW)
    shown = repr(load(records))
    assert "PRIVATE" not in shown
    assert records["identity.key"].splitlines()[1].decode() not in shown


def test_other_records_are_ignored() -> None:
    """The vault's other records may be in the same mapping."""
    assert load({**mint("GW-1", None, 1e6, NOW), "wfm.json": b"\xff"}).source == "minted"
