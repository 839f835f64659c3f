"""Manifests from files: bounded, told with file and field, a family in order and never taken for removed by mistake."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from margod.capabilities.manifests import LIMIT, MOST_FILES, Family, Unusable, family, read
from margod.protocols.signed import device_manifest
from margod.protocols.signed.device_manifest import identifier, problem

OWN = {"vendor": "V", "modelNumber": "M", "serialNumber": "S"}


def manifest(device_id: str, **more: object) -> dict[str, object]:
    """Return a good one."""
    properties = {"id": device_id, **OWN, **more}
    return {"apiVersion": device_manifest.VERSION, "kind": device_manifest.KIND, "properties": properties}


def write(directory: Path, *ids: str) -> None:
    """Write a manifest for each id."""
    for device_id in ids:
        (directory / f"{device_id.replace('/', '_')}.json").write_text(json.dumps(manifest(device_id)))


def behind(*places: Path, parent: str | None = "gw") -> Family:
    """Read the family of a gateway."""
    return family(places, parent, problem, identifier)


def test_json_and_yaml_say_the_same(tmp_path: Path) -> None:
    """A file that ends in .json is JSON, any other YAML."""
    (tmp_path / "a.json").write_text(json.dumps(manifest("a")))
    (tmp_path / "a.yaml").write_text(
        "apiVersion: device.margo.org/v1alpha1\nkind: DeviceCapabilitiesManifest\n"
        "properties:\n  id: a\n  vendor: V\n  modelNumber: M\n  serialNumber: S\n"
    )
    assert read(tmp_path / "a.json", problem) == read(tmp_path / "a.yaml", problem) == manifest("a")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.json", '{"kind": 1, "kind": 2}', "a name stands twice"),
        ("a.json", '{"x": NaN}', "NaN is not JSON"),
        ("a.json", "[" * 60_000, "is not JSON"),
        ("a.json", " " * (LIMIT + 1), "cannot be read"),
        ("a.yaml", "a: &x 1\nb: *x\n", "line 1: has an anchor or alias"),
        ("a.yaml", "a: 1\na: 2\n", "a name stands twice"),
        ("a.yaml", "[" * 5_000, "nested too deeply"),
        ("a.yaml", "a: !!python/object:os.system x\n", "is not YAML"),
        ("a.yaml", "\xff", "is not a manifest but text"),
        ("a.yaml", json.dumps([0] * 9_000), "too long"),
        ("a.yaml", "kind: x\n", "apiVersion: missing"),
        ("a.yaml", "on: 1\n", "has a name that is no text"),
        ("a.yaml", "when: 2026-01-01\n", "when: not a value that JSON has"),
        ("a.yaml", "when: !!timestamp x\n", "is not YAML"),
        ("a.yaml", f"at: 1{':00' * 300}.5\n", "is not YAML"),
        ("a.yaml", "is: !!bool x\n", "is not YAML"),
        ("a.yaml", "all: !!set [a]\n", "is not YAML"),
        ("a.yaml", "a: 1\n<<: {b: 1}\n", "has a merge"),
        ("a.yaml", "a: {<<: [{b: 1}]}\n", "has a merge"),
        ("a.yaml", f"a: 0x{'f' * 5000}\n", "a: not a number"),
        ("a.json", '{"x": ["\\ud800"]}', "x[0]: not text"),
        ("a.json", '{"x": {"a\\udc00": 1}}', "x: has a name that is not text"),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, name: str, text: str, says: str) -> None:
    """The message has the file and what is wrong with it."""
    (tmp_path / name).write_text(text)
    with pytest.raises(Unusable, match=r"a\.(json|yaml): ") as caught:
        read(tmp_path / name, problem)
    assert says in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    """FIFOs, directories and what is not there are told at once; a link to a file is followed."""
    os.mkfifo(tmp_path / "fifo.json")
    for path in (tmp_path / "fifo.json", tmp_path, tmp_path / "gone.json", Path("/dev/zero")):
        with pytest.raises(Unusable, match="cannot be read"):
            read(path, problem)
    write(tmp_path, "real")
    (tmp_path / "link.json").symlink_to("real.json")
    assert read(tmp_path / "link.json", problem) == manifest("real")


def test_parents_come_first(tmp_path: Path) -> None:
    """By depth, then by name, whatever the files are called; other files of the directory are passed over."""
    write(tmp_path, "gw/b/x", "gw/b", "gw/a")
    for other in ("README", "gw_c.json~", ".gw_d.json"):
        (tmp_path / other).write_text("x")
    found = behind(tmp_path)
    assert ([child.device_id for child in found.children], found.problems) == (["gw/a", "gw/b", "gw/b/x"], ())


def test_files_and_directories_in_one_list(tmp_path: Path) -> None:
    """A file named twice is one."""
    write(tmp_path, "gw/a")
    assert len(behind(tmp_path, tmp_path / "gw_a.json").children) == 1


@pytest.mark.parametrize(
    ("ids", "parent", "says"),
    [
        (["gw/a"], None, "device.id is not set"),
        (["other/a"], "gw", "does not lie below the gateway's, gw/"),
        (["gw"], "gw", "does not lie below the gateway's"),
        (["gw/a/b"], "gw", "its parent gw/a is not among the children"),
        (["gw/.."], "gw", "not a device id"),
        (["gw//a"], "gw", "not a device id"),
    ],
)
def test_ids_are_a_hierarchy(tmp_path: Path, ids: list[str], parent: str | None, says: str) -> None:
    """What does not fit is told and left out."""
    write(tmp_path, *ids)
    found = behind(tmp_path, parent=parent)
    assert found.children == ()
    assert says in found.problems[0]


def test_one_that_is_bad_does_not_hide_the_others(tmp_path: Path) -> None:
    """The good ones are there, the bad ones are named: with problems nobody may think that a child is gone."""
    write(tmp_path, "gw/a", "gw/b")
    (tmp_path / "gw_b.json").write_text("{}")
    (tmp_path / "twice.json").write_text(json.dumps(manifest("gw/a")))
    found = behind(tmp_path)
    assert [child.device_id for child in found.children] == ["gw/a"]
    assert [said.partition(": ")[2] for said in found.problems] == [
        "apiVersion: missing",
        "properties.id: gw/a is in gw_a.json already",
    ]


def test_too_many(tmp_path: Path) -> None:
    """More than the bound is told, and none is read."""
    for at in range(MOST_FILES + 1):
        (tmp_path / f"{at}.json").write_text("{}")
    found = behind(tmp_path)
    assert (found.children, len(found.problems)) == ((), 1)
    assert behind(tmp_path / "gone").problems == (f"{tmp_path / 'gone'}: cannot be read: No such file or directory",)
