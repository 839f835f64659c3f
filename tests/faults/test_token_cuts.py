"""Secrets of one enrolment stay together: power cuts in short, and any way from WFM to WFM and between generations."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from margod.protocols import ENROLMENT
from margod.protocols.token.credentials import GIT
from margod.shell import archive
from tests.faults import token_cuts
from tests.faults.campaign import Run, room
from tests.faults.token_cuts import SIGNED_AT_A, A, B, Device, Mixed, Place, shown

_STEPS = st.sampled_from(["enrol", "later", "hand", "prove", "reset", "renew", "restart"])


def test_a_power_cut_at_any_moment_mixes_nothing() -> None:
    """Id, secret and Git access are of one enrolment, at the place where it holds; all that had settled is there."""
    with room() as place:
        run = Run(6, 0.002, place)
        token_cuts.token_cuts(run)
        assert run.figures["disks loaded"] > 60
        assert run.figures["devices begun again"] > 3
        assert run.figures["changes of place, generation or token"] > 15


@settings(max_examples=8, deadline=None)
@given(st.lists(st.one_of(_STEPS, st.sampled_from([A, B, SIGNED_AT_A])), max_size=14))
@example(["enrol", "hand", SIGNED_AT_A, "enrol", A, "prove", B, "later", A, B, "reset", "later", SIGNED_AT_A, A, B])
def test_any_way(steps: list[str | Place]) -> None:
    """Wherever the device comes back to, it has the id, the secret and the Git tokens that it had there."""
    with tempfile.TemporaryDirectory() as directory:
        device = Device(Path(directory))
        for step in steps:
            match step:
                case (str(), str()) as place:
                    device.go(place)
                case "enrol" | "later":
                    device.enrol(git=step == "enrol")
                case "reset" | "renew":
                    device.reset(new_identity=step == "renew")
                case str():
                    getattr(device, step)()
            device.look()
        device.ground.close()


def test_what_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that leaves the Git access behind, and one that forgets, break the promise."""
    with room() as place:
        monkeypatch.setattr(archive, "cleared", lambda records, **_: {n: None for n in records if n == ENROLMENT})
        with pytest.raises((Mixed, AssertionError)):
            token_cuts.play(place)
    monkeypatch.undo()
    with room() as place, monkeypatch.context() as patch:
        patch.setattr(archive, "put", lambda *_: {})
        with pytest.raises(AssertionError):
            token_cuts.play(place)
    mixed = {ENROLMENT: b'{"id": "enrolment-1", "secret": "secret of enrolment-1"}', GIT: b'{"url": "enrolment-2"}'}
    with pytest.raises(Mixed):
        shown(mixed)
