"""The bodies on the wire, judged by the specification's own examples and schema."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from margod.identity import load, mint
from margod.model.capabilities import Capabilities, Cpu
from margod.model.outcome import Step
from margod.protocols import Context
from margod.protocols.signed import Dialect, Signed, device_manifest

DATA = Path(__file__).parent.parent / "data"
DEVICE = Capabilities(None, "Vendor", "Model", "SN", (Cpu(4, "amd64"),), 59 * 1024**3 + 5, 1862 * 1024**3)
ENROLLED = {"enrolment.json": b'{"clientId": "c-1"}'}


def context(device: Capabilities = DEVICE, records: dict[str, bytes] | None = None) -> Context:
    """Return a context with a real certificate."""
    identity = load(mint("SN", None, 86_400.0, 1_795_000_000.0))
    return Context(identity.certificate, ENROLLED if records is None else records, device)


def schema() -> dict[str, Any]:
    """Return the published schema of the capabilities manifest with its references resolvable."""
    document = yaml.safe_load((DATA / "openapi.signed.yaml").read_text())
    return {"$ref": "#/components/schemas/DeviceCapabilitiesManifest", **document}


def test_onboarding_request_is_the_specifications() -> None:
    """apiVersion, kind and base64 of DER, as in the draft's example."""
    given = context()
    request = Signed(Dialect()).request(Step.ENROL, "certificate-der", given)
    assert (request.method, request.path) == ("POST", "/api/v1/onboarding")
    body = json.loads(request.body)
    assert {name: body[name] for name in ("apiVersion", "kind")} == {
        "apiVersion": "onboarding.margo.org/v1alpha1",
        "kind": "OnboardingRequest",
    }
    assert base64.b64decode(body["certificate"], validate=True) == given.certificate


@pytest.mark.parametrize("form", ["certificate-pem", "public_certificate-pem", "public_certificate-der"])
def test_older_forms(form: str) -> None:
    """The sandbox's base64(PEM) and the older field name carry the same certificate."""
    given = context()
    field, encoding = form.split("-")
    body = json.loads(Signed(Dialect()).request(Step.ENROL, form, given).body)
    decoded = base64.b64decode(body[field])
    certificate = (
        x509.load_pem_x509_certificate(decoded) if encoding == "pem" else x509.load_der_x509_certificate(decoded)
    )
    assert certificate.public_bytes(Encoding.DER) == given.certificate
    assert (field == "public_certificate") is ("kind" not in body)


@pytest.mark.parametrize(
    "device",
    [
        DEVICE,
        Capabilities(None, "unknown", "unknown", "x"),
        Capabilities("gw/child~1", "V", "M", "S", (Cpu(1, None),), 300 * 1024**2, 0),
    ],
)
def test_capabilities_satisfy_the_published_schema(device: Capabilities) -> None:
    """The schema of the specification is the judge."""
    body: Any = device_manifest.of(device, device.device_id or "c-1")
    jsonschema.validate(body, schema(), jsonschema.Draft202012Validator)
    assert all(isinstance(cpu["cores"], int) for cpu in body["properties"].get("cpu", []))


def test_capabilities_texts_are_the_examples() -> None:
    """Sizes are written as in the specification's example."""
    example = json.loads((DATA / "DeviceCapabilities.signed.json").read_text())["properties"]
    made: Any = device_manifest.of(DEVICE, "x")
    properties = made["properties"]
    assert (properties["memory"], properties["storage"]) == (example["memory"], example["storage"])


@pytest.mark.parametrize(
    ("device_id", "client_id", "form", "path", "body_id"),
    [
        (None, "c-1", "device", "/api/v1/clients/c-1/capabilities/c-1", "c-1"),
        ("gw/a", "c-1", "device", "/api/v1/clients/c-1/capabilities/gw/a", "gw/a"),
        ("gw", "c-1", "client", "/api/v1/clients/c-1/capabilities", "c-1"),
        (None, "a=+:@b", "device", "/api/v1/clients/a%3D%2B%3A%40b/capabilities/a%3D%2B%3A%40b", "a=+:@b"),
    ],
)
def test_report_routes(device_id: str | None, client_id: str, form: str, path: str, body_id: str) -> None:
    """Device id in the path with its slashes raw; the older route without it wants the client id in the body."""
    device = Capabilities(device_id, "V", "M", "S")
    records = {"enrolment.json": json.dumps({"clientId": client_id}).encode()}
    request = Signed(Dialect()).request(Step.REPORT, form, context(device, records))
    assert (request.method, request.path) == ("POST", path)
    assert json.loads(request.body)["properties"]["id"] == body_id


def test_update_is_a_put() -> None:
    """Once a report was accepted the next one is an update."""
    records = {**ENROLLED, "report.json": b'{"digest": "d", "form": "device"}'}
    assert Signed(Dialect()).request(Step.REPORT, "device", context(records=records)).method == "PUT"
