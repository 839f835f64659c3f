"""`X-Payload-Signature`: how a body of the `token` generation is proven to come from this device (wire, section 3)."""

from __future__ import annotations

import base64
from typing import Final

from margod.model.wire import PayloadSigner

HEADER: Final = "X-Payload-Signature"


def header(body: bytes, signer: PayloadSigner) -> str:
    """Return the value for `body`: base64 of `<public key>;<signature>`, both base64 themselves.

    The draft names no encodings. Public key: DER SubjectPublicKeyInfo. Signature: over the body with SHA-256 whatever
    the key, ECDSA as raw r||s, RSA as PKCS#1 v1.5; Ed25519, which has no hash to choose, over the SHA-256 of the body.
    """
    parts = (base64.b64encode(signer.spki), base64.b64encode(signer.sign_sha256(body)))
    return base64.b64encode(b";".join(parts)).decode("ascii")
