"""The trust policy: by which anchors and TLS versions a WFM is verified, as a factory of SSL contexts."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from margod.model import reasons
from margod.model.errors import SettingError, TrustError
from margod.model.text import clean
from margod.trust.anchors import Anchor

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME (x509_vfy.h); who uses such a context compares the times by another clock (`wfm`)."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """TLS as configured: versions `1.2` or `1.3`; `strict_x509` asks RFC 5280 to the letter of the WFM's certificates.

    Raises SettingError for another version or a minimum above the maximum.
    """

    minimum: str = "1.2"
    maximum: str = "1.3"
    strict_x509: bool = False

    def __post_init__(self) -> None:
        """Check the versions."""
        for key, value in (("tls.minimum_version", self.minimum), ("tls.maximum_version", self.maximum)):
            if value not in _VERSIONS:
                raise SettingError(f"{key}: expected 1.2 or 1.3")
        if _VERSIONS[self.minimum] > _VERSIONS[self.maximum]:
            raise SettingError("tls.minimum_version is above tls.maximum_version")


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """Who may vouch for the WFM: exactly `anchors`, or the system's store if None; and the TLS that is spoken.

    The policy verifies the chain and the host name, both before a byte of HTTP is sent. It does not look for revoked
    certificates: the specification has no way to learn of them.
    """

    anchors: tuple[Anchor, ...] | None
    tls: TlsSettings
    any_name: bool = False
    """The host name is not verified: the anchors were declared to vouch for WFMs only, and nobody knows its name."""

    def ssl_context(self, *, check_time: bool = True) -> ssl.SSLContext:
        """Return a new client context that verifies by this policy; without `check_time` all but the chain's times.

        A chain has to end in a self-issued anchor. Raises TrustError: no-anchor if there is nothing to verify with,
        ca-file-invalid if OpenSSL does not take an anchor.
        """
        # By hand: create_default_context() adds strictness by Python version, the system's anchors, and SSLKEYLOGFILE.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = not self.any_name
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = _VERSIONS[self.tls.minimum]
        context.maximum_version = _VERSIONS[self.tls.maximum]
        flags = context.verify_flags & ~(ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN)
        context.verify_flags = flags | ssl.VERIFY_X509_STRICT if self.tls.strict_x509 else flags
        if not check_time:
            context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
        if self.anchors is None:
            _load_system(context)
        elif not self.anchors:
            raise TrustError(reasons.NO_ANCHOR)
        else:
            try:
                context.load_verify_locations(cadata=b"".join(anchor.der for anchor in self.anchors))
            except ssl.SSLError as error:
                says = f"OpenSSL does not take the stored root CA: {clean(str(error))}"
                raise TrustError(reasons.CA_FILE_INVALID, says) from error
        return context


def _load_system(context: ssl.SSLContext) -> None:
    """Load OpenSSL's default locations (SSL_CERT_FILE and SSL_CERT_DIR move them); nothing there is an error."""
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    directory = ssl.get_default_verify_paths().capath  # read by OpenSSL only when it verifies: not counted below
    if context.cert_store_stats()["x509_ca"] or (directory and _has_entries(Path(directory))):
        return
    raise TrustError(
        reasons.NO_ANCHOR,
        "trust.system is set, but the system's CA store is empty.",
        hint="Install the package ca-certificates, or name the WFM's root CA in trust.ca_file.",
    )


def _has_entries(directory: Path) -> bool:
    try:
        with os.scandir(directory) as entries:
            return any(True for _ in entries)
    except OSError:
        return False
