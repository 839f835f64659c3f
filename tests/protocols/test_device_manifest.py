"""Our model of the manifest against the published schema, which is the judge."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from margod.model.capabilities import (
    DEPLOYMENT_TYPES,
    INTERFACES,
    PERIPHERALS,
    Capabilities,
    Cpu,
    Peripheral,
)
from margod.protocols.signed.device_manifest import KIND, VERSION, of, problem

DATA = Path(__file__).parent.parent / "data"
SCHEMA = {
    "$ref": "#/components/schemas/DeviceCapabilitiesManifest",
    **yaml.safe_load((DATA / "openapi.signed.yaml").read_text()),
}
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
EXAMPLES = sorted(DATA.glob("DeviceCapabilities*.signed.json"))
FULL: dict[str, Any] = json.loads((DATA / "DeviceCapabilities.signed.json").read_text())

text = st.text(st.characters(codec="utf-8"), max_size=20)
some = st.none() | st.booleans() | st.integers(-5, 70_000) | st.floats(allow_nan=False) | text
value = st.recursive(some, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_the_specifications_examples_may_be_sent(file: Path) -> None:
    """All of them, as they are."""
    assert problem(json.loads(file.read_text())) == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"vendor": None}, "properties.vendor: not a string"),
        ({"id": "a//b"}, "properties.id: not a device id"),
        ({"id": "a/.."}, "properties.id: not a device id"),
        ({"cpu": [{"cores": 4.0}]}, "properties.cpu[0].cores: not a whole number"),
        ({"cpu": [{"architecture": "amd64"}]}, "properties.cpu[0].cores: missing"),
        ({"cpu": [{"cores": 1}, {"cores": 1, "architecture": "x86"}]}, "properties.cpu[1].architecture: not one of"),
        ({"supportedRuntimes": []}, "properties.supportedRuntimes: empty"),
        ({"supportedDeploymentTypes": ["docker"]}, "properties.supportedDeploymentTypes[0]: not one of helm, compose"),
        ({"interfaces": ["ethernet"]}, "properties.interfaces[0]: not an object"),
        ({"peripherals": [{"type": "gpu", "modell": "x"}]}, "properties.peripherals[0].modell: no member"),
        ({"otelCollector": "yes"}, "properties.otelCollector: not true or false"),
        ({"serialnumber": "1"}, "properties.serialnumber: no member"),
    ],
)
def test_a_problem_begins_with_the_field(change: dict[str, object], says: str) -> None:
    """What a person has to mend is named by its path."""
    document = copy.deepcopy(FULL)
    document["properties"] |= change
    assert problem(document).startswith(says)


def test_extensions_are_taken() -> None:
    """Members that the schema leaves to vendors, and no others."""
    assert problem({**FULL, "x-site-extensions": {"floor": [1, None, {"a": 1.5}]}}) == ""
    assert problem({**FULL, "x-site-extensions": 3}) == "x-site-extensions: not an object"
    assert problem({**FULL, "site": {}}) == "site: no member of a manifest"


@settings(max_examples=300)
@given(st.sampled_from(["", *FULL["properties"]]), value, st.booleans())
def test_what_passes_here_passes_the_schema(name: str, changed: object, top: bool) -> None:
    """Nothing that the published schema refuses gets past our model, wherever a value is another one."""
    document = copy.deepcopy(FULL)
    if top:
        document[name or "kind"] = changed
    else:
        document["properties"][name or "labels"] = changed
    if problem(document) == "":
        VALIDATOR.validate(document)


@settings(max_examples=200)
@given(
    st.builds(
        Capabilities,
        st.none(),
        text,
        text,
        text,
        st.lists(st.builds(Cpu, st.integers(1, 256), st.sampled_from(["arm", None])), max_size=2).map(tuple),
        st.none() | st.integers(0, 1 << 50),
        st.none() | st.integers(0, 1 << 50),
        st.none() | st.lists(st.sampled_from(INTERFACES), unique=True).map(tuple),
        st.none() | st.lists(st.builds(Peripheral, st.sampled_from(PERIPHERALS), text, text), max_size=3).map(tuple),
        st.none() | st.booleans(),
        st.sampled_from([(), ("oci",)]),
        st.lists(st.sampled_from(DEPLOYMENT_TYPES), unique=True).map(tuple),
    )
)
def test_what_is_made_passes_the_schema(device: Capabilities) -> None:
    """Whatever the probes and settings say, the manifest satisfies the published schema."""
    made = of(device, "gw")
    VALIDATOR.validate(made)
    assert (made["apiVersion"], made["kind"]) == (VERSION, KIND)


def test_hosting_and_not_hosting() -> None:
    """A device that hosts says all of it; a list that is empty for want of anything is left out where it must be."""
    hosting = Capabilities(
        None, "V", "M", "S", (Cpu(4, "arm64"),), 8 << 30, 64 << 30, ("ethernet",), (), True, ("oci",), ("compose",)
    )
    assert of(hosting, "gw")["properties"] == {
        "id": "gw",
        "vendor": "V",
        "modelNumber": "M",
        "serialNumber": "S",
        "cpu": [{"cores": 4, "architecture": "arm64"}],
        "memory": "8 Gi",
        "storage": "64 Gi",
        "peripherals": [],
        "interfaces": [{"type": "ethernet"}],
        "otelCollector": True,
        "supportedRuntimes": ["oci"],
        "supportedDeploymentTypes": ["compose"],
    }
    relay: Any = of(Capabilities(None, "V", "M", "S"), "gw")
    assert set(relay["properties"]) == {"id", "vendor", "modelNumber", "serialNumber"}
