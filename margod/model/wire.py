"""A request and what comes back, in a form that knows no HTTP library.

`protocols` build a `Request`, `wfm` sends it and returns an `Answer` or a `TransportFailure`, `protocols` turn that
into an `Outcome`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, runtime_checkable

from margod.model.reasons import Reason


class Auth(Enum):
    """How a request proves who sends it."""

    NONE = "none"
    SIGNATURE = "signature"
    PAYLOAD = "payload"
    """A signature over the body alone (`token`)."""
    BEARER = "bearer"
    """A bearer token, and a signature over the body if there is one (`token`)."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, relative to the WFM's root URL.

    `path` begins with a slash and is sent raw: it is already percent-encoded. `limit` bounds the answer's body, bytes.
    """

    method: str
    path: str
    auth: Auth
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    limit: int = 65_536


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as it goes on the wire: absolute URL, every header that margod sets itself, body.

    `bears`: a bearer token has to be put on before it is sent (shell/bearing.py).
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    limit: int
    bears: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a WFM said. Header names are lower-case; `body` is complete and within the request's limit.

    Of an answer that went into a Sink `body` is empty.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    at: float
    """Unix seconds when it was complete, by the local clock."""
    valid: tuple[float, float] | None = None
    """First and last moment of the server's certificate, Unix seconds; None if the server was not verified."""


@dataclass(frozen=True, slots=True)
class TransportFailure:
    """No usable answer. `sent` is True if the server may have seen the request and acted on it."""

    reason: Reason
    detail: str
    sent: bool


class Sink(Protocol):
    """Takes a successful answer (2xx) piece by piece, for whoever does not want it in memory whole.

    What it raises ends the exchange.
    """

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the head, once, before any piece. Header names are lower-case."""

    async def write(self, piece: bytes) -> None:
        """Take the next piece of the body, and keep the server waiting until there is room for another."""


class Signer(Protocol):
    """The device's key, as far as a protocol needs it. The private key itself never comes out."""

    @property
    def algorithm(self) -> str:
        """A name of the HTTP Signature Algorithms registry: `ecdsa-p256-sha256` and the like (RFC 9421, 6.2)."""

    @property
    def key_id(self) -> str:
        """Lower-case hex SHA-256 of the DER SubjectPublicKeyInfo."""

    def sign(self, data: bytes) -> bytes:
        """Return the signature in the form RFC 9421 section 3.3 gives for `algorithm` (ECDSA: raw r||s)."""


@runtime_checkable
class PayloadSigner(Signer, Protocol):
    """A key that also signs bodies alone, and says which public key it is."""

    @property
    def spki(self) -> bytes:
        """The public key as DER SubjectPublicKeyInfo."""

    def sign_sha256(self, data: bytes) -> bytes:
        """Return the same as `sign` with SHA-256 whatever `algorithm` says; Ed25519 signs the SHA-256 itself."""
