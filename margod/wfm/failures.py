"""What went wrong on the wire, in our words: every exception of aiohttp, OpenSSL and the system becomes a Reason.

The order matters: aiohttp's certificate, TLS and name errors are all `OSError`s too, so the most specific comes first
and a bare `OSError` is never taken for more than a broken connection.
"""

from __future__ import annotations

import errno
import ssl
from typing import Final

import aiohttp
from aiohttp import http_exceptions

from margod.model import reasons
from margod.model.reasons import Reason
from margod.model.text import clean
from margod.model.wire import TransportFailure


class AnswerTooLarge(Exception):
    """The answer's body is longer than the request's limit."""


class AnswerMalformed(Exception):
    """The answer breaks HTTP in a way that aiohttp lets pass."""


class NotResent(Exception):
    """Carries a connection's end past aiohttp's own retry, as its cause; see `wfm.client`."""


# OpenSSL's X509_V_ERR_* (x509_vfy.h): stable numbers, the messages are not. What is not listed is TLS_UNVERIFIED.
_VERIFY_CODES: Final[dict[int, Reason]] = {
    2: reasons.TLS_UNKNOWN_ISSUER,  # UNABLE_TO_GET_ISSUER_CERT
    7: reasons.TLS_UNKNOWN_ISSUER,  # CERT_SIGNATURE_FAILURE: a re-made CA keeps its name and changes its key
    9: reasons.TLS_NOT_YET_VALID,  # CERT_NOT_YET_VALID
    10: reasons.TLS_EXPIRED,  # CERT_HAS_EXPIRED
    18: reasons.TLS_UNKNOWN_ISSUER,  # DEPTH_ZERO_SELF_SIGNED_CERT
    19: reasons.TLS_UNKNOWN_ISSUER,  # SELF_SIGNED_CERT_IN_CHAIN
    20: reasons.TLS_UNKNOWN_ISSUER,  # UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    21: reasons.TLS_UNKNOWN_ISSUER,  # UNABLE_TO_VERIFY_LEAF_SIGNATURE
    27: reasons.TLS_UNKNOWN_ISSUER,  # CERT_UNTRUSTED
    29: reasons.TLS_UNKNOWN_ISSUER,  # SUBJECT_ISSUER_MISMATCH
    30: reasons.TLS_UNKNOWN_ISSUER,  # AKID_SKID_MISMATCH
    31: reasons.TLS_UNKNOWN_ISSUER,  # AKID_ISSUER_SERIAL_MISMATCH
    62: reasons.TLS_WRONG_HOST,  # HOSTNAME_MISMATCH
    64: reasons.TLS_WRONG_HOST,  # IP_ADDRESS_MISMATCH
}

# OpenSSL's reason names when the two sides share no version (RFC 8446, 4.2.1; the alert is protocol_version).
_VERSION_REASONS: Final = frozenset(
    {
        "NO_PROTOCOLS_AVAILABLE",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "TLSV1_ALERT_INAPPROPRIATE_FALLBACK",
        "UNSUPPORTED_PROTOCOL",
        "UNKNOWN_PROTOCOL",
        "VERSION_TOO_HIGH",
        "VERSION_TOO_LOW",
    }
)

_CONNECT_ERRNOS: Final[dict[int, Reason]] = {
    errno.ECONNREFUSED: reasons.CONNECT_REFUSED,
    errno.ETIMEDOUT: reasons.TIMED_OUT,
    # The TCP connection stood and the handshake on it broke: what listens there hardly speaks TLS.
    errno.ECONNRESET: reasons.TLS_FAILED,
    errno.ECONNABORTED: reasons.TLS_FAILED,
    errno.EPIPE: reasons.TLS_FAILED,
}


def failure(error: BaseException, *, sent: bool) -> TransportFailure:
    """Return the failure that `error` stands for; `sent` as in TransportFailure. Never raises."""
    reason, detail = _explain(cause(error), sent=sent)
    return TransportFailure(reason, clean(detail), sent)


def cause(error: BaseException) -> BaseException:
    """Return the exception that `NotResent` carries, or the one given."""
    while isinstance(error, NotResent) and error.__cause__ is not None:
        error = error.__cause__
    return error


def handshake_failure(error: OSError) -> tuple[Reason, str]:
    """Return reason and detail for an `OSError` of `ssl`, or of a socket, before anything was sent."""
    match error:
        case ssl.SSLCertVerificationError():
            return _VERIFY_CODES.get(error.verify_code, reasons.TLS_UNVERIFIED), clean(error.verify_message)
        case ssl.SSLError():
            reason, detail = _tls(error)
            return reason, clean(detail)
        case TimeoutError():
            return reasons.TIMED_OUT, "no connection in time"
        case ConnectionResetError() | ConnectionAbortedError():
            return reasons.TLS_FAILED, clean(error.strerror or "the server closed the connection in the handshake")
    what = error.strerror or str(error)
    return _CONNECT_ERRNOS.get(error.errno or 0, reasons.CONNECT_FAILED), clean(what)


def _explain(error: BaseException, *, sent: bool) -> tuple[Reason, str]:
    match error:
        case aiohttp.ClientConnectorError():
            return _connecting(error)
        case TimeoutError():  # before OSError: since Python 3.10 it is one
            return reasons.TIMED_OUT, "no complete answer in time" if sent else "no connection in time"
        case AnswerTooLarge():
            return reasons.ANSWER_TOO_LARGE, str(error)
        case AnswerMalformed():
            return reasons.ANSWER_MALFORMED, str(error)
        case aiohttp.ClientPayloadError():
            return _payload(error)
        case aiohttp.ClientResponseError():
            return reasons.ANSWER_MALFORMED, error.message
        case aiohttp.InvalidURL():  # a legacy number for a host: 127.1, 0x7f000001
            return reasons.DNS_FAILED, str(error)
        case aiohttp.ServerDisconnectedError():
            return reasons.CONNECTION_LOST, "the server closed the connection without a complete answer"
        case OSError() | aiohttp.ClientConnectionError():
            what = getattr(error, "strerror", None) or str(error)
        case _:  # nothing that aiohttp documents; the daemon goes on all the same
            what = f"{type(error).__name__}: {error}"
    return (reasons.CONNECTION_LOST if sent else reasons.CONNECT_FAILED), what


def _connecting(error: aiohttp.ClientConnectorError) -> tuple[Reason, str]:
    """Explain what went wrong before the request could be sent: name, TCP, TLS."""
    match error:
        case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as refused):
            return _VERIFY_CODES.get(refused.verify_code, reasons.TLS_UNVERIFIED), refused.verify_message
        case aiohttp.ClientConnectorCertificateError():
            return reasons.TLS_UNVERIFIED, str(error.certificate_error)
        case aiohttp.ClientConnectorSSLError():
            return _tls(error.os_error)
        case aiohttp.ClientConnectorDNSError():
            return reasons.DNS_FAILED, error.os_error.strerror or str(error.os_error)
    broken = error.os_error
    what = broken.strerror or str(broken) or "the server closed the connection in the handshake"
    if isinstance(broken, ConnectionResetError | ConnectionAbortedError):  # asyncio raises them without an errno
        return reasons.TLS_FAILED, what
    return _CONNECT_ERRNOS.get(broken.errno or 0, reasons.CONNECT_FAILED), what


def _tls(error: OSError) -> tuple[Reason, str]:
    name = str(getattr(error, "reason", None) or "")
    said = name.replace("_", " ").lower() or error.strerror or str(error)
    return (reasons.TLS_VERSION if name in _VERSION_REASONS else reasons.TLS_FAILED), said


def _payload(error: aiohttp.ClientPayloadError) -> tuple[Reason, str]:
    # aiohttp says the same for a body that stops early and for one that is nonsense; the cause tells them apart.
    cause = error.__cause__
    early = isinstance(cause, http_exceptions.ContentLengthError | http_exceptions.TransferEncodingError)
    if early or not isinstance(cause, http_exceptions.HttpProcessingError):
        return reasons.CONNECTION_LOST, "the connection ended in the middle of the answer"
    return reasons.ANSWER_MALFORMED, cause.message
