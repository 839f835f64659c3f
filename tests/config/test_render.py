"""The JSON Schema and the shown configuration, against other implementations and against the loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from margod.config import json_schema, load, with_origins
from margod.config.setting import Setting
from margod.config.settings import SECTIONS, SETTINGS
from margod.model.errors import ConfigError
from tests.config.support import write
from tests.config.test_settings import SAMPLE, uncommented_sample

SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def described(properties: dict[str, Any], inside: str = "") -> dict[str, dict[str, Any]]:
    """Return what a schema says of every setting, by key."""
    found: dict[str, dict[str, Any]] = {}
    for name, about in properties.items():
        below = described(about["properties"], f"{inside}{name}.") if "properties" in about else {inside + name: about}
        found |= below
    return found


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """Return the document that sets these values, by key."""
    document: dict[str, Any] = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        inner = document
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return document


def test_schema_is_one() -> None:
    """The schema is a valid Draft 2020-12 schema and has exactly the settings, each described, with its default."""
    Draft202012Validator.check_schema(SCHEMA)
    properties = described(SCHEMA["properties"])
    assert list(SCHEMA["properties"]) == [name for name in SECTIONS if "." not in name]
    assert list(properties) == list(SETTINGS)
    assert all(about["description"] == SETTINGS[key].doc and "default" in about for key, about in properties.items())


@pytest.mark.parametrize("text", ["", SAMPLE.read_text(), uncommented_sample()])
def test_sample_validates(text: str) -> None:
    """Nothing, the sample, and the sample with everything set are valid."""
    VALIDATOR.validate(yaml.safe_load(text))


def test_defaults_validate() -> None:
    """Every default is valid where it stands."""
    VALIDATOR.validate(nested({key: about["default"] for key, about in described(SCHEMA["properties"]).items()}))


def wrong_values(setting: Setting) -> list[object]:
    """Return values of every JSON type that a setting does not take, and text that it does not."""
    of_type: dict[str, list[object]] = {
        "string": [5, 1.5, True, [], {}, ""],
        "boolean": ["yes", "true", 0, 1, [], {}],
        "['string', 'array']": [5, True, [], {}, "", [5], [[]]],
        "integer": ["4", 0, -1, 4.5, True, [], {}],
        "enum": ["nonsense", "", 5, True, [], {}],
    }
    return of_type[str(setting.kind.schema.get("type", "enum"))]


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
def test_bad_types_fail_in_both(setting: Setting, tmp_path: Path) -> None:
    """What the schema refuses the loader refuses at the same key, type by type."""
    for value in wrong_values(setting):
        document = nested({setting.key: value})
        assert not VALIDATOR.is_valid(document), value
        with pytest.raises(ConfigError) as caught:
            load(write(tmp_path, yaml.safe_dump(document)), {}, {})
        assert [problem.key for problem in caught.value.problems] == [setting.key]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "5",
        "wfn: {}",
        "wfm: []",
        "wfm: {ulr: https://a}",
        "wfm: {url: http://a}",
        "wfm: {url: 'https://u:p@a'}",
        "wfm: {url: 'https://'}",
        "wfm: {url: 'https://a?b'}",
        "wfm: {timeout: 30}",
        "wfm: {timeout: -5s}",
        "wfm: {timeout: 0s}",
        "trust: {ca_file: ca.pem}",
        "device: {id: a//b}",
        "device: {id: ..}",
        "device: {memory: 8 GB}",
        "trust: {system: null}",
        "schedule: []",
        "schedule: {polling: 5m}",
        "schedule: {polling: {rat: 5m}}",
        "schedule: {polling: {rate: 300}}",
        "schedule: {polling.rate: 5m}",
        "schedule.polling: {rate: 5m}",
        "polling: {rate: 5m}",
        "schedule: {downtime: []}",
    ],
)
def test_bad_documents_fail_in_both(text: str, tmp_path: Path) -> None:
    """The schema and the loader agree on these mistakes, so an editor shows them while they are made."""
    assert not VALIDATOR.is_valid(yaml.safe_load(text))
    with pytest.raises(ConfigError):
        load(write(tmp_path, text), {}, {})


def test_shown_configuration_loads_as_the_same(tmp_path: Path) -> None:
    """What `config show` prints is a configuration file with the same values, and says where they are from."""
    windows = "schedule: {downtime: ['Sat,Sun 00:00-24:00', '22:00-06:00 Europe/Berlin'], polling: {rate: off}}"
    more = {"windows": windows}
    sources = write(tmp_path, uncommented_sample(), **more, site='device: {vendor: "Süd \\" # 😀 \'x\'"}\n')
    loaded = load(sources, {"STATE_DIRECTORY": "/s"}, {"wfm.url": "https://[fd00::1]:8443/a%20b"})
    text = with_origins(loaded)
    lines = {line.split(":")[0].strip(): line.split("  # ")[-1] for line in text.splitlines() if "  # " in line}
    assert lines["url"] == "--url"
    assert lines["vendor"] == f"{tmp_path}/conf.d/site.yaml:1"
    again = load(write(tmp_path, text, site="", windows=""), {}, {})
    assert lines["rate"] == f"{tmp_path}/conf.d/windows.yaml:1"
    assert len(again.config.schedule.downtime or ()) == 2
    assert again.config == loaded.config
    assert again.fingerprint == loaded.fingerprint
    VALIDATOR.validate(yaml.safe_load(text))
