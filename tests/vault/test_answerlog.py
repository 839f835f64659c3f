"""The log's lines and the manifest as parsers of foreign bytes: whatever is in them, damage and nothing else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from margod.vault.answerlog import Entry, encode, parse
from margod.vault.check import Damaged, anyones
from margod.vault.generation import MANIFEST, read_generation

_TEXT = st.text(max_size=20)
_ENTRIES = st.builds(
    Entry,
    st.just("answer"),
    st.floats(allow_nan=False, allow_infinity=False),
    st.dictionaries(_TEXT, _TEXT, max_size=3),
    st.dictionaries(st.from_regex(r"[a-z][a-z0-9.-]{0,9}", fullmatch=True), st.binary(max_size=50), max_size=3),
)


@given(st.lists(st.tuples(_ENTRIES, st.integers(0, 9), _TEXT), max_size=4), st.data())
@settings(max_examples=80, deadline=None)
def test_lines_come_back_and_any_cut_keeps_the_whole_ones(
    written: list[tuple[Entry, int, str]], data: st.DataObject
) -> None:
    """Whatever was written is read again; cut anywhere, every line before the cut is still read."""
    lines = [encode(*each) for each in written]
    raw = b"".join(line.raw for line in lines)
    assert parse(raw).lines == tuple(lines)
    cut = data.draw(st.integers(0, len(raw)))
    found = parse(raw[:cut])
    assert found.lines == tuple(lines[: len(found.lines)])
    assert len(found.lines) >= raw[:cut].count(b"\n")
    assert (found.damaged, found.newer) == (0, False)


@given(st.binary(max_size=300))
@example(b"\n\n")
@settings(max_examples=100, deadline=None)
def test_garbage_is_damage(data: bytes) -> None:
    """No bytes make the parser raise or believe."""
    found = parse(data)
    assert found.lines == ()
    assert found.damaged == data.count(b"\n")


@pytest.mark.parametrize(
    "body",
    [
        b"[]", b"{}", b"null", b"[" * 100_000, b"\xff", b"1" * 5000,
        b'{"gen":1,"binding":"a","kind":"answer","at":1' + b"0" * 400 + b',"about":{},"records":{}}',
        b'{"gen":1,"binding":"a","kind":"answer","at":NaN,"about":{},"records":{}}',
        b'{"gen":true,"binding":"a","kind":"answer","at":1,"about":{},"records":{}}',
        b'{"gen":1,"binding":"a","kind":["answer"],"at":1,"about":{},"records":{}}',
        b'{"gen":1,"binding":"a","kind":"answer","at":1,"about":[],"records":{}}',
        b'{"gen":1,"binding":"a","kind":"answer","at":1,"about":{"a":1},"records":{}}',
        b'{"gen":1,"binding":"a","kind":"answer","at":1,"about":{},"records":{"../a":""}}',
        b'{"gen":1,"binding":"a","kind":"answer","at":1,"about":{},"records":{"a":"?"}}',
        b'{"gen":1,"binding":"a","kind":"answer","at":1,"about":{},"records":{"a":7}}',
    ],
)  # fmt: skip
def test_a_right_sum_over_the_unknown_is_newer(body: bytes) -> None:
    """What carries a right sum was meant; it is not dropped as damage."""
    found = parse(hashlib.sha256(body).hexdigest()[:32].encode() + b" " + body + b"\n")
    assert (found.lines, found.damaged, found.newer) == ((), 0, True)


@pytest.mark.parametrize(
    "manifest",
    [
        b"", b"[]", b"null", b"{}", b"[" * 60_000, b"\xff", b"9" * 5000, b'{"sum":""}', b'{"a":' * 5000,
        json.dumps({"format": 1, "generation": 1, "binding": "", "records": {}, "sum": "0" * 64}).encode(),
    ],
)  # fmt: skip
def test_a_manifest_of_any_bytes_is_damage(manifest: bytes, tmp_path: Path) -> None:
    """No manifest makes the reader raise anything but Damaged."""
    (tmp_path / "gen-000001").mkdir()
    (tmp_path / "gen-000001" / MANIFEST).write_bytes(manifest)
    with pytest.raises(Damaged):
        read_generation(tmp_path, 1, anyones)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
        max_leaves=8,
    )
)
@settings(max_examples=60, deadline=None)
def test_a_manifest_of_any_json_is_damage(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    """JSON without the right sum is not looked at further."""
    directory = tmp_path_factory.mktemp("manifest")
    (directory / "gen-000001").mkdir()
    (directory / "gen-000001" / MANIFEST).write_text(json.dumps(value))
    with pytest.raises(Damaged):
        read_generation(directory, 1, anyones)
