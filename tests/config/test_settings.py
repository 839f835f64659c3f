"""The table of settings, and the sample file that must say the same."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import yaml

from margod.config import Config, Sources, load
from margod.config.render import scalar
from margod.config.setting import Setting
from margod.config.settings import LONGEST_SOCKET_DIRECTORY, SECTIONS, SETTINGS
from margod.config.values import Raw

SAMPLE = Path(__file__).parents[2] / "config" / "margod.yaml"
SETTING_LINE = re.compile(r"((?:  )+)#([a-z0-9_]+): (.*)")
SECTION_LINE = re.compile(r"((?:  )*)([a-z_]+):")


def sample_settings() -> list[tuple[str, str, str]]:
    """Return (key, value as written, comment above) of every setting line of the sample, in order."""
    found, sections, comment = [], [""] * 8, ""
    for line in SAMPLE.read_text().splitlines():
        if match := SETTING_LINE.fullmatch(line):
            key = ".".join([*sections[: len(match[1]) // 2], match[2]])
            found.append((key, match[3], comment.strip()))
        comment = f"{comment} {line.strip('# ')}" if re.match("  +# ", line) else ""
        if match := SECTION_LINE.fullmatch(line):
            sections[len(match[1]) // 2] = match[2]
    return found


def uncommented_sample() -> str:
    """Return the sample with every setting set."""
    return re.sub(r"^( +)#([a-z])", r"\1\2", SAMPLE.read_text(), flags=re.MULTILINE)


def test_sample_lists_exactly_the_settings() -> None:
    """The sample has every setting of the table, in its order, and no other."""
    assert [key for key, _, _ in sample_settings()] == list(SETTINGS)


@pytest.mark.parametrize(("key", "value", "comment"), sample_settings())
def test_sample_says_what_the_table_says(key: str, value: str, comment: str) -> None:
    """Each has the table's words above it and its default, or its example where there is none."""
    setting = SETTINGS[key]
    assert comment == (setting.doc if setting.default is not None else f"{setting.doc} No default.")
    shown = setting.default if setting.default is not None else setting.kind.read(_raw(setting.example))
    assert value == scalar(setting, shown)


def test_sample_as_it_is_sets_nothing() -> None:
    """Installed unchanged, the sample is a good configuration and that of a device without any."""
    loaded = load(Sources(SAMPLE, "test"), {}, {})
    assert loaded.config == Config()
    assert loaded.given == {}


def test_sample_with_everything_set_is_good(tmp_path: Path) -> None:
    """With every # before a setting removed it still loads, and what had a default is at it."""
    main = tmp_path / "margod.yaml"
    main.write_text(uncommented_sample())
    loaded = load(Sources(main, "test"), {}, {})
    assert set(loaded.given) == set(SETTINGS)
    assert all(loaded.value(key) == s.default for key, s in SETTINGS.items() if s.default is not None)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
def test_every_setting_is_whole(setting: Setting) -> None:
    """A setting has words, a default that its kind takes back from its written form, or else an example."""
    assert setting.doc.endswith(".")
    assert (setting.default is None) == (setting.example is not None)
    if setting.default is not None:
        written = yaml.safe_load(scalar(setting, setting.default))
        assert setting.kind.read(_raw(written)) == setting.default
    for text in ("", "\0", "x" * 100_000, "\ud800", "~"):
        with pytest.raises(ValueError):
            setting.kind.read(Raw(text, "other"))


def test_config_is_frozen_and_complete() -> None:
    """The tree has the sections of the table, and nobody changes it in passing."""
    config = Config()
    assert [field.name for field in attrs.fields(Config)] == [name for name in SECTIONS if "." not in name]
    assert [name for name in SECTIONS if "." in name] == ["schedule.polling", "desired_state.git"]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config.wfm.url = "https://evil.example"  # type: ignore[misc]  # the point of the test


def test_longest_socket_directory_fits() -> None:
    """The deepest socket below the longest directory fits into sockaddr_un's 108 bytes with its NUL (unix(7))."""
    assert LONGEST_SOCKET_DIRECTORY + len("/admin/admin.sock") + 1 <= 108


def test_import_is_light() -> None:
    """The room costs yaml and attrs, and nothing else that is heavy."""
    code = "import sys, margod.config; print(*sys.modules)"
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60, cwd=root)
    loaded = set(run.stdout.split())
    assert {"yaml", "attrs"} <= loaded
    heavy = {"aiohttp", "cryptography", "structlog", "jsonschema", "asyncio", "ssl", "http_message_signatures", "yarl"}
    assert not heavy & loaded


def _raw(value: object) -> Raw:
    if isinstance(value, bool):
        return Raw(str(value).lower(), "boolean")
    return Raw(str(value), "integer" if isinstance(value, int) else "text")
