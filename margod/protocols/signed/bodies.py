"""The bodies of the `signed` generation (specification 1.0.0-rc.2, onboarding and device capabilities)."""

from __future__ import annotations

import base64
import json
import textwrap
from typing import Final

from margod.model.capabilities import Capabilities

ONBOARDING_VERSION: Final = "onboarding.margo.org/v1alpha1"
DEVICE_VERSION: Final = "device.margo.org/v1alpha1"

MEBIBYTE: Final = 1024**2
GIBIBYTE: Final = 1024**3


def onboarding(certificate: bytes, field: str, encoding: str) -> bytes:
    """Return the onboarding request for a DER certificate.

    `field`: `certificate` (the specification's, with apiVersion and kind) or `public_certificate` (older servers).
    `encoding`: `der` (base64 of DER) or `pem` (base64 of PEM).
    """
    text = base64.b64encode(certificate if encoding == "der" else to_pem(certificate)).decode("ascii")
    if field == "public_certificate":
        return _dump({"public_certificate": text})
    return _dump({"apiVersion": ONBOARDING_VERSION, "kind": "OnboardingRequest", "certificate": text})


def to_pem(certificate: bytes) -> bytes:
    """Return a DER certificate as PEM (RFC 7468 section 5)."""
    lines = textwrap.wrap(base64.b64encode(certificate).decode("ascii"), 64)
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""]).encode("ascii")


def capabilities(device: Capabilities, device_id: str) -> bytes:
    """Return the DeviceCapabilitiesManifest of a device under this id; what is not known is left out."""
    properties: dict[str, object] = {
        "id": device_id,
        "vendor": device.vendor,
        "modelNumber": device.model_number,
        "serialNumber": device.serial_number,
    }
    if device.cpus:
        properties["cpu"] = [
            {"cores": cpu.cores} | ({"architecture": cpu.architecture} if cpu.architecture else {})
            for cpu in device.cpus
        ]
    if device.memory is not None:
        properties["memory"] = size(device.memory)
    if device.storage is not None:
        properties["storage"] = size(device.storage)
    return _dump({"apiVersion": DEVICE_VERSION, "kind": "DeviceCapabilitiesManifest", "properties": properties})


def size(count: int) -> str:
    """Return bytes (>= 0) in the examples' form, rounded down: `59 Gi`, below one `Gi` in `Mi`."""
    return f"{count // GIBIBYTE} Gi" if count >= GIBIBYTE else f"{count // MEBIBYTE} Mi"


def _dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
