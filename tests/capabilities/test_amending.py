"""What a person writes over what was found: in its place, beside it, or without some of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from margod.capabilities import Overrides, Source, look
from margod.capabilities.amending import peripherals, words
from margod.capabilities.sources import Found
from margod.model.capabilities import INTERFACES, Peripheral

FOUND: Mapping[str, tuple[str, ...]] = {"ethernet": ("eth0",), "usb": ("usb1",)}


@pytest.mark.parametrize(
    ("set_to", "expected"),
    [
        (None, [("ethernet", "system"), ("usb", "system")]),
        (("rs232", "wifi"), [("wifi", "setting"), ("rs232", "setting")]),
        (("none",), []),
        (("+rs232", "-usb"), [("ethernet", "system"), ("rs232", "setting")]),
        (("+ethernet",), [("ethernet", "system"), ("usb", "system")]),
        (("-canbus",), [("ethernet", "system"), ("usb", "system")]),
    ],
)
def test_words(set_to: tuple[str, ...] | None, expected: list[tuple[str, str]]) -> None:
    """In the specification's order, each with its source."""
    assert [(each.value, str(each.source)) for each in words(set_to, FOUND, INTERFACES)] == expected


def test_peripherals() -> None:
    """Added with maker and model, taken out by type or by maker."""
    found = {Peripheral("gpu", "NVIDIA"): ("card1",), Peripheral("gpu", "Intel"): ("card0",)}
    assert peripherals(("-gpu:NVIDIA", "+camera:Example Works:C-1"), found) == [
        Found(Peripheral("camera", "Example Works", "C-1"), Source.SETTING),
        Found(Peripheral("gpu", "Intel"), Source.SYSTEM, ("card0",)),
    ]
    assert peripherals(("-gpu",), found) == []
    assert [each.value for each in peripherals(("display",), found)] == [Peripheral("display")]


def test_a_device_that_hosts_says_whether_there_is_a_collector(tmp_path: Path) -> None:
    """With a runtime the collector is reported, there or not; without one only where it is there or set."""

    def collector(**said: object) -> bool | None:
        overrides = Overrides(**said)  # type: ignore[arg-type]  # each a field of its own type
        return look(root=tmp_path, state_directory=tmp_path, overrides=overrides).capabilities.otel_collector

    assert collector() is None
    assert collector(runtimes=("oci",)) is False
    assert collector(otel_collector=True) is True
    assert collector(runtimes=("oci",), withhold=frozenset({"otel_collector"})) is None


def test_withheld(tmp_path: Path) -> None:
    """What is withheld is not in the capabilities, and its source says so."""
    names = frozenset({"cpu", "memory", "storage", "interfaces", "peripherals", "runtimes", "deployment_types"})
    probed = look(root=tmp_path, state_directory=tmp_path, overrides=Overrides(runtimes=("oci",), withhold=names))
    found = probed.capabilities
    assert (found.cpus, found.memory, found.storage) == ((), None, None)
    assert (found.interfaces, found.peripherals, found.runtimes, found.deployment_types) == (None, None, (), ())
    assert {name for name, source in probed.sources.items() if source is Source.WITHHELD} == {
        *names - {"cpu"}, "cores", "architecture",
    }  # fmt: skip
    only = look(
        root=tmp_path,
        state_directory=tmp_path,
        overrides=Overrides(architecture="arm", withhold=frozenset({"architecture"})),
    )
    assert only.capabilities.cpus[0].architecture is None
    assert only.capabilities.cpus[0].cores >= 1
