"""The bodies of the `signed` generation (specification 1.0.0-rc.2, onboarding)."""

from __future__ import annotations

import base64
import json
import textwrap
from typing import Final

ONBOARDING_VERSION: Final = "onboarding.margo.org/v1alpha1"


def onboarding(certificate: bytes, field: str, encoding: str) -> bytes:
    """Return the onboarding request for a DER certificate.

    `field`: `certificate` (the specification's, with apiVersion and kind) or `public_certificate` (older servers).
    `encoding`: `der` (base64 of DER) or `pem` (base64 of PEM).
    """
    text = base64.b64encode(certificate if encoding == "der" else to_pem(certificate)).decode("ascii")
    if field == "public_certificate":
        return dump({"public_certificate": text})
    return dump({"apiVersion": ONBOARDING_VERSION, "kind": "OnboardingRequest", "certificate": text})


def to_pem(certificate: bytes) -> bytes:
    """Return a DER certificate as PEM (RFC 7468 section 5)."""
    lines = textwrap.wrap(base64.b64encode(certificate).decode("ascii"), 64)
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""]).encode("ascii")


def dump(value: object) -> bytes:
    """Return a body as it goes over the wire."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
