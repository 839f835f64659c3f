"""A connection to the one host of a job: TLS by the owner's rules, through his proxy, at the known addresses."""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import Any, Final
from urllib.parse import urlsplit

from margod.gitfetch.job import UNTRUSTED, Job, Refusal

IDLE: Final = 30.0
"""Seconds without a byte, after which a connection is given up."""
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME, as in trust/policy.py."""


def context_of(job: Job) -> ssl.SSLContext:
    """Return what verifies the server. Raises Refusal where nothing does."""
    tls, context = job.tls, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = not tls.any_name
    context.minimum_version, context.maximum_version = _VERSIONS[tls.minimum], _VERSIONS[tls.maximum]
    flags = context.verify_flags & ~(ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN)
    context.verify_flags = flags | ssl.VERIFY_X509_STRICT if tls.strict_x509 else flags
    if tls.now is not None:
        context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    file, directory = job.system
    try:
        if job.ca:
            context.load_verify_locations(cadata=job.ca)
        else:
            context.load_verify_locations(cafile=file or None, capath=directory or None)
    except (OSError, ValueError, TypeError):  # TypeError: neither a file nor a directory
        raise Refusal(UNTRUSTED, "there is no usable root CA for the repository") from None
    return context


class Connection(http.client.HTTPSConnection):
    """One connection for one request, for the host of the job alone."""

    def __init__(self, job: Job, context: ssl.SSLContext) -> None:
        """Nothing is opened yet."""
        place, proxy = urlsplit(job.url), job.proxy
        host, port = place.hostname or "", place.port or 443
        named = (host, port) if proxy is None else (proxy.host, proxy.port)
        super().__init__(*named, timeout=IDLE, context=context)
        self._job = job
        if proxy is not None:
            self.set_tunnel(host, port, {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {})
        elif job.addresses:
            self._create_connection = self._at_an_address

    def connect(self) -> None:
        """Connect and verify, the certificates' times by the job's clock where it has one."""
        super().connect()
        if self._job.tls.now is not None:
            try:
                _require_valid(self.sock, self._job.tls.now)
            except Refusal:
                self.close()
                raise

    def _tunnel(self) -> None:
        host = urlsplit(self._job.url).hostname or ""
        try:
            if ":" in host:
                self._tunnel_host = f"[{host}]"  # not every Python writes the brackets of an IPv6 address
            super()._tunnel()  # type: ignore[misc]  # http.client's own inside
        finally:
            self._tunnel_host = host

    def _at_an_address(self, there: tuple[str, int], *arguments: Any, **options: Any) -> socket.socket:
        failure = OSError("no address is left")
        for address in self._job.addresses:
            try:
                return socket.create_connection((address, there[1]), *arguments, **options)
            except OSError as error:
                failure = error
        raise failure


def _require_valid(found: Any, now: float) -> None:
    """Raise Refusal unless every certificate of the verified chain is valid at `now` (as wfm/validity.py)."""
    try:
        chain = [each.get_info() for each in found._sslobj.get_verified_chain()]
        periods = [tuple(ssl.cert_time_to_seconds(each[name]) for name in ("notBefore", "notAfter")) for each in chain]
    except (AttributeError, LookupError, TypeError, ValueError):
        periods = []
    if not periods:
        raise Refusal(UNTRUSTED, "the server's chain cannot be read, and the clock is not to be believed")
    if not all(begin <= now <= end for begin, end in periods):
        raise Refusal(UNTRUSTED, "a certificate of the server is not valid at this time, which is the WFM's")
