"""trust.pin as people write it."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from margod.config import Sources, load
from margod.config.pins import MOST, PINS
from margod.config.refusal import Refusal
from margod.config.render import as_yaml
from margod.config.values import Raw
from margod.model.errors import ConfigError

HEX = "0123456789abcdef" * 4
COLONS = ":".join(HEX[at : at + 2] for at in range(0, 64, 2)).upper()
BASE64 = base64.b64encode(bytes.fromhex(HEX)).decode()
URLSAFE = base64.urlsafe_b64encode(bytes(range(224, 256))).decode()


@pytest.mark.parametrize(
    ("written", "pins"),
    [
        (HEX, (HEX,)),
        (HEX.upper(), (HEX,)),
        (COLONS, (HEX,)),
        (f"spki:{HEX}", (f"spki:{HEX}",)),
        (f"spki:{COLONS}", (f"spki:{HEX}",)),
        (f"spki:{BASE64}", (f"spki:{HEX}",)),
        (f"spki:{BASE64.rstrip('=')}", (f"spki:{HEX}",)),
        (f"spki:{URLSAFE}", (f"spki:{bytes(range(224, 256)).hex()}",)),
        (f"[{HEX}, '{COLONS}', 'spki:{BASE64}']", (HEX, f"spki:{HEX}")),
        ("1" * 64, ("1" * 64,)),
        ("1e" + "2" * 62, ("1e" + "2" * 62,)),
    ],
)
def test_what_is_taken(written: str, pins: tuple[str, ...], tmp_path: Path) -> None:
    """Hex with or without colons, base64 for a key, one or a list: one form of each, which a file takes back."""
    file = tmp_path / "m.yaml"
    file.write_text(f"trust:\n  pin: {written}\n")
    sources = Sources(file, "test")
    assert load(sources, {}, {}).config.trust.pin == pins
    file.write_text(as_yaml({"trust.pin": pins}))
    assert load(sources, {}, {}).config.trust.pin == pins


@pytest.mark.parametrize(
    "written",
    [
        "''",
        HEX[:-1],
        HEX + "0",
        BASE64,
        f"sha256:{HEX}",
        f"spki:spki:{HEX}",
        "'spki:'",
        f"pin-sha256={HEX}",
        "[]",
        f"[{HEX}, [x]]",
        f"[{HEX}, 7]",
        "{a: b}",
        "true",
        "[" + ", ".join(f"{n:064x}" for n in range(1, MOST + 2)) + "]",
    ],
)
def test_what_is_not(written: str, tmp_path: Path) -> None:
    """A base64 that does not say that it is a key's, other lengths, other things: refused with file, line and key."""
    file = tmp_path / "m.yaml"
    file.write_text(f"trust:\n  pin: {written}\n")
    with pytest.raises(ConfigError) as caught:
        load(Sources(file, "test"), {}, {})
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (2, "trust.pin")


def test_off_is_a_word(tmp_path: Path) -> None:
    """first_use: off is taken without quotes, though YAML 1.1 takes it for a boolean; false is not the same word."""
    file = tmp_path / "m.yaml"
    file.write_text("trust: {first_use: off}\n")
    assert load(Sources(file, "test"), {}, {}).config.trust.first_use == "off"
    file.write_text("trust: {first_use: false}\n")
    with pytest.raises(ConfigError):
        load(Sources(file, "test"), {}, {})


def test_schema_takes_what_the_reader_takes() -> None:
    """An editor's pattern and the daemon agree."""
    one = PINS.schema["anyOf"][0]["pattern"]  # type: ignore[index]  # the schema is an object
    for text in (HEX, COLONS, f"spki:{HEX}", f"spki:{BASE64}", BASE64, "x", f"spki:{HEX}0"):
        try:
            PINS.read(Raw(text))
            taken = True
        except Refusal:
            taken = False
        assert bool(re.search(one, text)) is taken, text
