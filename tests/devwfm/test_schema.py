"""The hand-written capabilities check against jsonschema and the published schema."""

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

from margod.devwfm.schema import SchemaError, check_capabilities

DATA = Path(__file__).parent.parent / "data"
EXAMPLES = [json.loads(file.read_text()) for file in sorted(DATA.glob("DeviceCapabilities*.signed.json"))]

_OPENAPI = yaml.safe_load((DATA / "openapi.signed.yaml").read_text())
JUDGE = jsonschema.Draft202012Validator(
    {"$ref": "#/components/schemas/DeviceCapabilitiesManifest", "components": _OPENAPI["components"]}
)


def accepts(document: object) -> bool:
    """Return our own verdict."""
    try:
        check_capabilities(document)
    except SchemaError:
        return False
    return True


def test_examples() -> None:
    """The specification's own manifests pass both."""
    assert len(EXAMPLES) == 3
    for example in EXAMPLES:
        assert accepts(example)
        assert JUDGE.is_valid(example)


VALUES: list[Any] = [
    *(None, True, 0, 1.5, -1, "", "x", "gw/child", "gw/", "/gw", "a b", "amd64", "gpu", "wifi", "oci", "helm", "id\n"),
    *(
        [],
        ["oci"],
        ["x"],
        [1],
        {},
        {"type": "gpu"},
        [{"type": "gpu"}],
        [{"type": "wifi"}],
        [{"cores": 1}],
        [None],
        [[]],
    ),
    *([{"cores": "1"}], [{"cores": 2, "architecture": "arm"}], [{"cores": 2, "architecture": "x86"}]),
    "DeviceCapabilitiesManifest",
]
KEYS = [
    *("apiVersion", "kind", "properties", "x-acme-extensions", "x-Acme-extensions", "x--extensions", "more", "id"),
    *(
        "vendor",
        "modelNumber",
        "serialNumber",
        "cpu",
        "memory",
        "storage",
        "peripherals",
        "interfaces",
        "type",
        "cores",
    ),
    *("otelCollector", "supportedRuntimes", "supportedDeploymentTypes", "architecture", "manufacturer"),
]


@pytest.mark.parametrize("where", ["top", "properties"])
@pytest.mark.parametrize("key", KEYS)
def test_one_member_replaced(where: str, key: str) -> None:
    """Every member, absent or replaced by every kind of value, is judged alike."""
    for value in ["absent", *VALUES]:
        document = copy.deepcopy(EXAMPLES[0])
        target = document if where == "top" else document["properties"]
        if value == "absent":
            target.pop(key, None)
        else:
            target[key] = value
        if key == "id" and value == "id\n":
            # A `$` of Python's re matches before a last line feed; ECMA 262, which the schema means, does not.
            assert not accepts(document) or where == "top"
            continue
        assert accepts(document) == JUDGE.is_valid(document), (key, value)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(KEYS),
        st.sampled_from(VALUES) | st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=14),
        max_size=5,
    )
)
def test_agrees_on_anything(document: dict[str, Any]) -> None:
    """Documents put together at random are judged alike."""
    if "id\n" in json.dumps(document, ensure_ascii=False).replace("\\n", "\n"):
        return
    assert accepts(document) == JUDGE.is_valid(document)


@pytest.mark.parametrize("document", [None, [], "x", 1, True])
def test_not_an_object(document: object) -> None:
    """Anything but an object is refused by both."""
    assert not accepts(document)
    assert not JUDGE.is_valid(document)


def test_names_the_field() -> None:
    """The message begins with the path of the field, so that a person finds it."""
    document = copy.deepcopy(EXAMPLES[0])
    document["properties"]["cpu"][0]["architecture"] = "x86"
    with pytest.raises(SchemaError, match=r"^properties\.cpu\[0\]\.architecture: not one of amd64"):
        check_capabilities(document)
