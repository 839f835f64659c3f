"""The kinds: what each takes, what it refuses and with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from margod.config import values
from margod.config.refusal import Refusal
from margod.config.settings import SETTINGS
from margod.config.values import Kind, Raw

TIMEOUT = values.duration("1s", "10m")
LIFETIME = values.duration("1d", "36500d")
VERSION = values.choice("1.2", "1.3")
MODE = values.choice("auto", "spec")
NAME = values.text(64)
NAMES = values.host_names(2)
DEVICE_ID = SETTINGS["device.id"].kind


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        (TIMEOUT, Raw("30s"), 30.0),
        (TIMEOUT, Raw("5m"), 300.0),
        (LIFETIME, Raw("48h"), 172_800.0),
        (LIFETIME, Raw("20d"), 1_728_000.0),
        (LIFETIME, Raw("36500d"), 36_500 * 86_400.0),
        (values.BOOLEAN, Raw("true", "boolean"), True),
        (values.BOOLEAN, Raw("False", "boolean"), False),
        (VERSION, Raw("1.2", "number"), "1.2"),
        (VERSION, Raw("1.3"), "1.3"),
        (MODE, Raw("spec"), "spec"),
        (NAME, Raw("Werk Süd 3"), "Werk Süd 3"),
        (values.integer(1, 64), Raw("4", "integer"), 4),
        (NAMES, Raw("WFM.Plant.Example"), ("wfm.plant.example",)),
        (NAMES, Raw("a.test, b.test,a.test"), ("a.test", "b.test")),
        (NAMES, Raw("a.test,b.test", "list"), ("a.test", "b.test")),
        (values.SIZE, Raw("512 Mi"), 512 * 2**20),
        (values.SIZE, Raw("59Gi"), 59 * 2**30),
        (values.SIZE, Raw("1 Ti"), 2**40),
        (values.path(), Raw("/etc//margod/ca.pem"), Path("/etc/margod/ca.pem")),
        (values.path(), Raw("//etc/x/"), Path("/etc/x")),
        (DEVICE_ID, Raw("line-3/gw.1~a"), "line-3/gw.1~a"),
        (DEVICE_ID, Raw("..."), "..."),
    ],
)
def test_takes(kind: Kind, raw: Raw, value: object) -> None:
    """What is well written is taken, and writing the value gives something that reads as the same."""
    read = kind.read(raw)
    assert read == value
    assert type(read) is type(value)
    written = kind.write(value)
    again = Raw(written) if isinstance(written, str) else Raw(str(written).lower(), raw.type)
    assert kind.read(again) == value


@pytest.mark.parametrize(
    ("kind", "raw", "message", "hint"),
    [
        (TIMEOUT, Raw("30", "integer"), "not a number", "add a unit: 30s"),
        (TIMEOUT, Raw("1.5", "number"), "not a number", "30s"),
        (TIMEOUT, Raw("1:30", "integer"), "not a number", "30s"),
        (TIMEOUT, Raw("-5s"), "not '-5s'", "30s"),
        (TIMEOUT, Raw("-5", "integer"), "not a number", "30s"),
        (TIMEOUT, Raw("0s"), "from 1s to 10m", "30s"),
        (TIMEOUT, Raw("11m"), "from 1s to 10m, not 11m", ""),
        (TIMEOUT, Raw("999999999d"), "from 1s to 10m", ""),
        (TIMEOUT, Raw("9" * 5000 + "d"), "from 1s to 10m", "30s"),
        (TIMEOUT, Raw("9" * 5000, "integer"), "not a number", "30s"),
        (TIMEOUT, Raw("٣s"), "from 1s to 10m", "30s"),
        (TIMEOUT, Raw("30 s"), "from 1s to 10m", "30s"),
        (TIMEOUT, Raw("30s\n"), "from 1s to 10m", "30s"),
        (TIMEOUT, Raw("1h30m"), "from 1s to 10m", "30s"),
        (TIMEOUT, Raw("true", "boolean"), "not a boolean", ""),
        (TIMEOUT, Raw("", "list"), "not a list", ""),
        (LIFETIME, Raw("23h"), "from 1d to 36500d", ""),
        (values.BOOLEAN, Raw("yes", "boolean"), "true or false", "write true"),
        (values.BOOLEAN, Raw("Off", "boolean"), "true or false", "write false"),
        (values.BOOLEAN, Raw("true"), "not text", "write true, without quotes"),
        (values.BOOLEAN, Raw("1", "integer"), "not a number", ""),
        (VERSION, Raw("1.20", "number"), "1.2 or 1.3", ""),
        (VERSION, Raw("1.1", "number"), "1.2 or 1.3, not '1.1'", ""),
        (MODE, Raw("Auto"), "auto or spec, not 'Auto'", "write auto"),
        (MODE, Raw("specs"), "auto or spec", "did you mean spec?"),
        (MODE, Raw("off", "boolean"), "not a boolean", ""),
        (MODE, Raw("x" * 10_000), "auto or spec", ""),
        (NAME, Raw("0012345", "integer"), "not a number", 'put it into quotes: "0012345"'),
        (NAME, Raw("no", "boolean"), "not a boolean", 'put it into quotes: "no"'),
        (NAME, Raw("2026-11-21", "date"), "not a date", 'put it into quotes: "2026-11-21"'),
        (NAME, Raw("", "mapping"), "not a mapping", ""),
        (NAME, Raw("!"), "", ""),
        (NAME, Raw(""), "is empty", ""),
        (NAME, Raw("x" * 65), "65 characters", ""),
        (NAME, Raw("a\nb"), "control characters", ""),
        (NAME, Raw("a\u202eb"), "control characters", ""),
        (NAME, Raw("a\ud800"), "control characters", ""),
        (NAME, Raw(" a"), "spaces at an end", ""),
        (DEVICE_ID, Raw("a b"), "letters, digits", ""),
        (DEVICE_ID, Raw("a/../b"), "none of them . or ..", ""),
        (DEVICE_ID, Raw("."), "none of them . or ..", ""),
        (DEVICE_ID, Raw("a//b"), "single slashes", ""),
        (DEVICE_ID, Raw("x" * 256), "256 characters", ""),
        (values.integer(1, 64), Raw("4"), "not text", "write 4, without quotes"),
        (values.integer(1, 64), Raw("0", "integer"), "from 1 to 64, not 0", ""),
        (values.integer(1, 64), Raw("010", "integer"), "from 1 to 64, not 010", ""),
        (values.integer(1, 64), Raw("0x4", "integer"), "not 0x4", ""),
        (values.integer(1, 64), Raw("4.0", "number"), "not 4.0", ""),
        (values.integer(1, 64), Raw("9" * 5000, "integer"), "from 1 to 64", ""),
        (values.SIZE, Raw("512", "integer"), "not a number", "add a unit"),
        (values.SIZE, Raw("8 GB"), "not '8 GB'", "binary units"),
        (values.SIZE, Raw("0 Gi"), "not '0 Gi'", "binary units"),
        (values.SIZE, Raw("-1 Gi"), "not '-1 Gi'", "binary units"),
        (values.SIZE, Raw("7.5 Gi"), "not '7.5 Gi'", "whole numbers"),
        (values.path(), Raw("ca.pem"), "an absolute path", "begin it with a slash"),
        (values.path(), Raw("~/ca.pem"), "an absolute path", "begin it with a slash"),
        (values.path(), Raw(""), "an absolute path", ""),
        (values.path(), Raw("/etc/../ca.pem"), "without `..`", ""),
        (values.path(), Raw("/etc/\x00"), "control characters", ""),
        (values.path(10), Raw("/äääää"), "at most 10 bytes", ""),
        (values.path(), Raw("5", "integer"), "not a number", ""),
        (values.URL, Raw("5", "integer"), "not a number", ""),
    ],
)
def test_refuses(kind: Kind, raw: Raw, message: str, hint: str) -> None:
    """What is not well written is refused, with what was expected and how to write it, on one short line."""
    if raw.text == "!":
        raw = Raw("x", "other")
    with pytest.raises(Refusal) as caught:
        kind.read(raw)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert len(caught.value.message) < 250
    assert caught.value.message.isprintable()
    assert caught.value.hint.isprintable()


@pytest.mark.parametrize(
    "raw",
    [
        Raw("", "list"),
        Raw("a.test", "mapping"),
        Raw("192.0.2.1"),
        Raw("*.test"),
        Raw("a.test:443"),
        Raw("https://a.test"),
        Raw("a.test,"),
        Raw("a,b,c"),
    ],
)
def test_host_names_that_are_none(raw: Raw) -> None:
    """Addresses, wildcards, ports, URLs, gaps, nothing, and too many names are refused."""
    with pytest.raises(Refusal):
        NAMES.read(raw)
