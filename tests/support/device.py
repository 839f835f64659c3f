"""A device for the tests of the WFM's side: key, certificate, and requests signed by a foreign package."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

ALGORITHMS: dict[str, type[algorithms.HTTPSignatureAlgorithm]] = {
    "ecdsa-p256-sha256": algorithms.ECDSA_P256_SHA256,
    "ecdsa-p384-sha384": algorithms.ECDSA_P384_SHA384,
    "ed25519": algorithms.ED25519,
    "rsa-v1_5-sha256": algorithms.RSA_V1_5_SHA256,
    "rsa-pss-sha512": algorithms.RSA_PSS_SHA512,
}


def new_key(algorithm: str = "ecdsa-p256-sha256") -> PrivateKey:
    """Return a new key for a registered algorithm."""
    if algorithm == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm.startswith("rsa"):
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP384R1() if "384" in algorithm else ec.SECP256R1())


def new_certificate(key: PrivateKey, *, begin: float = -1, end: float = 365, subject: bool = True) -> x509.Certificate:
    """Return a self-signed certificate valid from `begin` to `end` days from now."""
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway-1")] if subject else [])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begin))
        .not_valid_after(now + timedelta(days=end))
    )
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


@dataclass
class Prepared:
    """A request in the form that the signing package reads and writes."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Reply:
    """What the WFM answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body, parsed."""
        return json.loads(self.body)


class Device:
    """A device with its identity, speaking to the WFM at `url`."""

    def __init__(self, url: str, ca_file: Path, algorithm: str = "ecdsa-p256-sha256", **certificate: Any) -> None:
        """`certificate` goes to `new_certificate`."""
        self.url = url
        self.ca_file = ca_file
        self.algorithm = algorithm
        self.key = new_key(algorithm)
        self.certificate = new_certificate(self.key, **certificate)

    @property
    def der(self) -> bytes:
        """The certificate as DER."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    def onboarding_body(self, encoding: str = "der", name: str = "certificate") -> bytes:
        """Return the onboarding request's body."""
        text = base64.b64encode(self.der if encoding == "der" else self.pem).decode()
        document = {"apiVersion": "onboarding.margo.org/v1alpha1", "kind": "OnboardingRequest", name: text}
        return json.dumps(document).encode()

    def sign(self, method: str, path: str, body: bytes = b"", **options: Any) -> Prepared:
        """Return a signed request; `options` go to the signing package."""
        request = Prepared(method, self.url + path, {}, body)
        if body:
            request.headers["Content-Type"] = "application/json"
        signer = HTTPMessageSigner(signature_algorithm=ALGORITHMS[self.algorithm], key_resolver=_Resolver(self.key))
        chosen: dict[str, Any] = {"label": "sig1", "key_id": "key", "include_alg": self.algorithm == "rsa-v1_5-sha256"}
        chosen["covered_component_ids"] = ("@method", "@target-uri", "@authority")
        signer.sign(request, body=body or None, **{**chosen, **options})
        return request

    async def send(self, request: Prepared, *, timeout: float = 10.0) -> Reply:
        """Send it as it is, over a verified connection of its own."""
        return await asyncio.to_thread(self._send, request, timeout)

    async def onboard(self, **options: Any) -> Reply:
        """Onboard in the specification's form."""
        return await self.send(self.sign("POST", "/api/v1/onboarding", self.onboarding_body(), **options))

    async def report(
        self, client_id: str, device_id: str | None = None, method: str = "POST", **properties: Any
    ) -> Reply:
        """Report minimal capabilities; `properties` are added to them."""
        device = device_id or client_id
        path = f"/api/v1/clients/{client_id}/capabilities/{device}"
        return await self.send(self.sign(method, path, manifest(device, **properties)))

    def _send(self, request: Prepared, timeout: float) -> Reply:
        parts = urlsplit(request.url)
        assert parts.hostname is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.ca_file)
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout, context=context)
        try:
            target = request.url[request.url.index(parts.netloc) + len(parts.netloc) :]
            connection.request(request.method, target, request.body or None, {"Host": parts.netloc, **request.headers})
            answer = connection.getresponse()
            fields = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, fields, answer.read())
        finally:
            connection.close()


def manifest(device_id: str, **properties: Any) -> bytes:
    """Return a capabilities manifest with the required properties."""
    required = {"id": device_id, "vendor": "Vendor", "modelNumber": "M1", "serialNumber": "S1"}
    document = {
        "apiVersion": "device.margo.org/v1alpha1",
        "kind": "DeviceCapabilitiesManifest",
        "properties": {**required, **properties},
    }
    return json.dumps(document).encode()


class _Resolver(HTTPSignatureKeyResolver):
    def __init__(self, key: PrivateKey) -> None:
        self._key = key

    def resolve_private_key(self, key_id: str) -> PrivateKey:
        return self._key

    def resolve_public_key(self, key_id: str) -> Any:
        return self._key.public_key()
