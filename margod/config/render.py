"""The table of settings and a loaded configuration, written out: JSON Schema, YAML, and YAML with origins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from margod.config.setting import Setting
from margod.config.settings import SECTIONS, sections_in, settings_in

if TYPE_CHECKING:
    from margod.config.load import Loaded


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one configuration file.

    It is as strict as a schema can be; ranges of durations and what two settings say together are checked at loading
    only (the second also because the two may stand in different files).
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "margod configuration",
        "description": "/etc/margod/margod.yaml and each of its drop-ins in /etc/margod/conf.d",
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {section: _schema(section) for section in sections_in("")},
    }


def as_yaml(values: Mapping[str, Any]) -> str:
    """Return the document that sets `values` (key -> checked value), in the order of the table."""

    def below(section: str, indent: str) -> list[str]:
        lines = [f"{indent}{s.name}: {scalar(s, values[s.key])}" for s in settings_in(section) if s.key in values]
        for inner in sections_in(section):
            within = below(inner, indent + "  ")
            lines += [f"{indent}{_name(inner)}:", *within] if within else []
        return lines

    return "".join(f"{line}\n" for line in below("", ""))


def with_origins(loaded: Loaded) -> str:
    """Return every effective value with a comment that says where it comes from; a valid document itself."""

    def below(section: str, indent: str) -> list[str]:
        lines = []
        for setting in settings_in(section):
            line = f"{indent}{setting.name}: {scalar(setting, loaded.value(setting.key))}"
            lines.append(f"{line:<42}  # {loaded.origin(setting.key)}")
        for inner in sections_in(section):
            lines += [f"{indent}{_name(inner)}:", *below(inner, indent + "  ")]
        return lines

    return "".join(f"{line}\n" for line in below("", ""))


def scalar(setting: Setting, value: Any) -> str:
    """Return `value` as it stands in YAML."""
    if value is None:
        return "null"
    plain = setting.kind.write(value)
    if isinstance(plain, str) and setting.kind.plain:
        return plain
    # JSON's strings are YAML's double-quoted ones as long as nothing above U+FFFF is escaped.
    return json.dumps(plain, ensure_ascii=False)


def _name(section: str) -> str:
    return section.rpartition(".")[2]


def _schema(section: str) -> dict[str, Any]:
    properties = {s.name: _property(s) for s in settings_in(section)}
    return {
        "description": SECTIONS[section].__doc__,
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": properties | {_name(inner): _schema(inner) for inner in sections_in(section)},
    }


def _property(setting: Setting) -> dict[str, Any]:
    described: dict[str, Any] = {"description": setting.doc}
    if setting.default is None:
        return described | {"anyOf": [dict(setting.kind.schema), {"type": "null"}], "default": None}
    return described | dict(setting.kind.schema) | {"default": setting.kind.write(setting.default)}
