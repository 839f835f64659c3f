"""Copies of one disk on many machines, looked at by the ground that a daemon stands on."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from margod import capabilities, config
from margod.model import reasons
from margod.protocols import ENROLMENT
from margod.shell.ground import Ground
from margod.shell.records import HARDWARE, WFM
from margod.shell.situation import Situation
from margod.vault import Entry, peek
from tests.vault.conftest import scratch

__all__ = ["scratch"]

CLONES = 1_000

Hardware = Mapping[str, frozenset[str]]


def machine(number: int) -> Hardware:
    """Return the hardware of one of many."""
    return {"serial number": frozenset({f"SN-{number}"}), "network card": frozenset({f"00:1b:21:00:00:{number:04x}"})}


@functools.cache
def configured(state: Path) -> config.Config:
    """Return the configuration of a daemon on this state directory."""
    file = state.parent / "m.yaml"
    file.write_text(f"state: {{directory: {state}, allow_volatile: true}}\nwfm: {{url: 'https://wfm.example'}}\n")
    return config.load(config.Sources(file), {}, {}).config


def stand(state: Path, seen: Hardware, monkeypatch: pytest.MonkeyPatch) -> tuple[Ground, Situation]:
    """Return the ground on this state directory and hardware, after its first look."""
    monkeypatch.setattr(capabilities, "hardware", lambda: seen)
    ground = Ground(configured(state), lambda: 1.8e9)
    return ground, ground.examine()


def test_a_golden_image(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that was started once, cloned to 1,000 devices: as many keys, and the first keeps its own.

    Their software and network, the same on each, are looked at once: that is half of what a start computes.
    """
    golden = scratch / "golden"
    alike = capabilities.look(state_directory=scratch, overrides=capabilities.Overrides())
    monkeypatch.setattr("margod.shell.device.look", lambda **_about: alike)
    ground, first = stand(golden, machine(0), monkeypatch)
    ground.close()
    assert first.identity is not None
    before, place = peek(golden)["identity.key"], peek(golden).get(WFM)
    keys = set()
    for number in range(1, CLONES + 1):
        clone = scratch / "clone"
        shutil.copytree(golden, clone)
        ground, _ = stand(clone, machine(number), monkeypatch)
        ground.close()
        keys.add(peek(clone)["identity.key"])
        assert peek(clone).get(WFM) == place
        shutil.rmtree(clone)
    assert len(keys) == CLONES
    assert before not in keys
    ground, again = stand(golden, machine(0), monkeypatch)
    ground.close()
    assert again.identity is not None
    assert again.identity.fingerprint == first.identity.fingerprint


def test_what_was_enrolled_formerly_is_kept(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archived enrolment may be all that is left of a device: its copy is blocked, not emptied."""
    state = scratch / "state"
    ground, _ = stand(state, machine(0), monkeypatch)
    ground.append(Entry("answer", 1.8e9, {"accepted": "1"}, {ENROLMENT: b'{"clientId": "c-1"}'}))
    assert ground.examine().facts.enrolled
    bound = peek(state)[HARDWARE]
    ground.reset(new_identity=False)
    assert peek(state)[HARDWARE] == bound
    ground.reset(new_identity=True)
    assert not ground.examine().facts.enrolled
    ground.close()
    before = peek(state)
    ground, situation = stand(state, machine(1), monkeypatch)
    assert situation.facts.obstacle is not None
    assert situation.facts.obstacle.reason is reasons.HARDWARE_MISMATCH
    assert (situation.identity, situation.client_id, situation.context) == (None, None, None)
    ground.close()
    assert peek(state) == before


def test_seen_where_it_can_be(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Minted where nothing is seen, the vault is bound by the first commit after something is, and then for good."""
    state = scratch / "state"
    ground, first = stand(state, {}, monkeypatch)
    assert [each.reason for each in first.warnings] == [reasons.HARDWARE_UNKNOWN]
    ground.close()
    unbound = peek(state)[HARDWARE]
    ground, same = stand(state, machine(0), monkeypatch)
    assert same.warnings == ()
    assert peek(state)[HARDWARE] == unbound, "no commit of its own"
    ground.keep({})
    ground.close()
    ground, other = stand(state, machine(1), monkeypatch)
    ground.close()
    assert first.identity is not None
    assert same.identity is not None
    assert other.identity is not None
    assert same.identity.fingerprint == first.identity.fingerprint
    assert other.identity.fingerprint != first.identity.fingerprint
