"""Configuration files for the tests of this room."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from margod.config import Sources, load
from margod.model.errors import ConfigError


def write(directory: Path, main: str | None, **drop_ins: str) -> Sources:
    """Write margod.yaml (unless None) and conf.d/NAME.yaml below `directory`; return the sources, named by `test`."""
    if main is not None:
        (directory / "margod.yaml").write_text(main)
    if drop_ins:
        (directory / "conf.d").mkdir(exist_ok=True)
    for name, text in drop_ins.items():
        (directory / "conf.d" / f"{name}.yaml").write_text(text)
    return Sources(directory / "margod.yaml", "test")


def problems(sources: Sources, env: Mapping[str, str] | None = None, **overrides: str) -> list[str]:
    """Return the problems of a configuration that must have some, without the directory of the main file."""
    with pytest.raises(ConfigError) as caught:
        load(sources, env or {}, {key.replace("__", "."): value for key, value in overrides.items()})
    assert caught.value.code == "config-invalid"
    return [str(problem).replace(f"{sources.main.parent}/", "") for problem in caught.value.problems]
