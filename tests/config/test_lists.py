"""Lists in the settings: what they take in place of, beside or out of what is found, and paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from margod.config import lists
from margod.config.refusal import Refusal
from margod.config.values import Raw

WORDS = lists.amendments(("oci", "wasm"), details=2)


def listed(*items: str) -> Raw:
    """Return a list as the document gives it."""
    return Raw(",".join(items), "list", items)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (Raw("oci"), ("oci",)),
        (Raw("oci, wasm,oci"), ("oci", "wasm")),
        (listed("+oci:Example Works:M-1", "-wasm"), ("+oci:Example Works:M-1", "-wasm")),
        (Raw("none"), ("none",)),
    ],
)
def test_what_is_taken(raw: Raw, value: tuple[str, ...]) -> None:
    """As one text with commas or as a list; what is written is read again."""
    assert WORDS.read(raw) == value
    assert WORDS.read(Raw(str(WORDS.write(value)))) == value


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (Raw("docker"), "not 'docker'"),
        (Raw("+oci, wasm"), "at once"),
        (listed("none", "oci"), "says none and something else"),
        (Raw("oci:a:b:c"), "not 'oci:a:b:c'"),
        (listed("oci:a,b"), "a comma within an entry"),
        (Raw("oci: x"), "spaces at an end"),
        (Raw("", "list"), "a list"),
        (Raw("5", "integer"), "a number"),
        (Raw("oci,,wasm"), "expected"),
        (listed(*[f"oci:{at}" for at in range(lists.MOST + 1)]), f"at most {lists.MOST}"),
    ],
)
def test_what_is_refused(raw: Raw, says: str) -> None:
    """Each with what is wrong."""
    with pytest.raises(Refusal) as caught:
        WORDS.read(raw)
    assert says in str(caught.value) + str(caught.value.hint)


def test_names_and_paths() -> None:
    """Names are of a fixed set; paths are absolute."""
    fields = lists.names("memory", "storage")
    assert fields.read(Raw("storage, memory")) == ("storage", "memory")
    with pytest.raises(Refusal):
        fields.read(Raw("serial_number"))
    paths = lists.paths()
    assert paths.read(listed("/a", "/b/c.json")) == (Path("/a"), Path("/b/c.json"))
    assert paths.read(Raw(str(paths.write((Path("/a"), Path("/b")))))) == (Path("/a"), Path("/b"))
    with pytest.raises(Refusal):
        paths.read(listed("/a", "b"))
