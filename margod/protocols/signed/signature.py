"""HTTP Message Signatures (RFC 9421) with Content-Digest (RFC 9530), in the one form that every known server takes.

Covered: "@method" "@target-uri" "@authority" and, with a body, "content-digest". Parameters: exactly
`created;keyid;alg`, in that order, because the most used Go verifier writes them back in an order of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from margod.model.wire import Request, SignedRequest, Signer

LABEL: Final = "sig1"
COMPONENTS: Final = ("@method", "@target-uri", "@authority")


@dataclass(frozen=True, slots=True)
class SignedAs:
    """What the signature says where a balancer rewrites the request; what goes out stays as it is."""

    scheme: str = "https"
    authority: str = ""
    """Host and port; empty is the URL's own."""

    def base(self, url: str) -> str:
        """Return the root URL that the WFM believes it was asked under."""
        asked, _, path = url.removeprefix("https://").partition("/")
        authority = (self.authority or asked).removesuffix(":80" if self.scheme == "http" else ":443")
        return f"{self.scheme}://{authority}{'/' if path else ''}{path}"


AS_SENT: Final = SignedAs()


class _Message:
    """The request as the signing library wants to see it."""

    def __init__(self, method: str, url: str, headers: Mapping[str, str]) -> None:
        self.method = method
        self.url = url
        self.headers = dict(headers)


def sign(request: Request, base: str, signer: Signer, created: int, signed_as: SignedAs = AS_SENT) -> SignedRequest:
    """Return `request` under the WFM's root URL `base`, signed. `created` is in Unix seconds.

    `base` has no trailing slash and no default port: the library signs the authority as RFC 9421 2.2.3 normalises it,
    which then is what the Host header says.
    """
    from http_message_signatures import HTTPMessageSigner, algorithms

    by_name = {
        "ecdsa-p256-sha256": algorithms.ECDSA_P256_SHA256,
        "ecdsa-p384-sha384": algorithms.ECDSA_P384_SHA384,
        "ed25519": algorithms.ED25519,
        "rsa-v1_5-sha256": algorithms.RSA_V1_5_SHA256,
    }
    message = _Message(request.method, signed_as.base(base) + request.path, request.headers)
    tool = HTTPMessageSigner(signature_algorithm=by_name[signer.algorithm])
    prepared = tool.prepare(
        message,
        key_id=signer.key_id,
        created=datetime.fromtimestamp(created, UTC),
        label=LABEL,
        covered_component_ids=COMPONENTS,
        body=request.body or None,
    )
    tool.apply(message, prepared, signer.sign(prepared.signature_base))
    return SignedRequest(request.method, base + request.path, message.headers, request.body, request.limit)


def unsigned(request: Request, base: str) -> SignedRequest:
    """Return `request` under the WFM's root URL, without a signature."""
    return SignedRequest(request.method, base + request.path, dict(request.headers), request.body, request.limit)
