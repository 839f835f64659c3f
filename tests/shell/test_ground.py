"""What the ground stores while a device waits for weeks."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from margod import config
from margod.engine.messages import Memory, RecordAnswer, RecordIntent
from margod.engine.timekeeping import Floor
from margod.model import reasons
from margod.model.errors import StateUnusable
from margod.model.outcome import Kind, Outcome
from margod.model.state import State
from margod.shell import ground as room
from margod.shell.ground import Ground
from margod.vault import ledger
from margod.vault.check import Guard
from margod.vault.loading import Loaded


def test_a_log_that_grows_is_folded_and_nothing_is_forgotten(tmp_path: Path) -> None:
    """A week of pending answers costs a commit a day; the one answer that was lost is still known at the end."""
    overrides = {"state.directory": str(tmp_path / "state"), "wfm.url": "https://wfm.example"}
    ground = Ground(config.load(config.Sources(tmp_path / "none.yaml"), {}, overrides).config, lambda: 1.8e9)
    ground.examine()
    assert ground.vault is not None
    memory = Memory(1.8e9, "k", State.PENDING_APPROVAL, reasons.PENDING_APPROVAL, "", 1.8e9, 1, 1, 1.8e9)
    commits = 0
    for number in range(1_000):
        before = len(ground.vault.entries)
        ground.append(ledger.intent(RecordIntent("certificate-der", ("certificate-der",), number, 0), "k", 1.8e9))
        commits += len(ground.vault.entries) < before
        outcome = Outcome(Kind.PENDING, reasons.PENDING_APPROVAL, lost=number == 0)
        ground.append(ledger.answer(RecordAnswer(outcome, memory, True)))
        assert len(ground.vault.entries) <= room.LOG_LENGTH + 1
    assert commits == 1_000 * 2 // (room.LOG_LENGTH)
    assert (tmp_path / "state" / "answer.log").stat().st_size < 1 << 20
    ground.close()
    history = Ground(ground.config, lambda: 1.8e9).examine().history
    assert (history.unanswered, history.settled) == (True, True)


@pytest.mark.parametrize("blocked", [False, True])
def test_a_state_directory_that_is_read_at_another_attempt(
    blocked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads that fail for a moment at a start are said once, with what failed; where a look met them, it has."""
    overrides = {"state.directory": str(tmp_path / "state"), "wfm.url": "https://wfm.example"}
    ground = Ground(config.load(config.Sources(tmp_path / "none.yaml"), {}, overrides).config, lambda: 1.8e9)
    ground.examine()
    ground.close()

    def fail(directory: Path, _guard: Guard) -> Loaded:
        raise StateUnusable(reasons.STATE_UNUSABLE, f"{directory} cannot be read: Input/output error.")

    with capture_logs() as logs:
        with monkeypatch.context() as broken:
            broken.setattr("margod.vault.vault.load", fail)
            for _ in range(2):
                with pytest.raises(StateUnusable):
                    ground.open()
            if blocked:
                assert ground.examine().facts.obstacle is not None
        for _ in range(2):
            assert ground.examine().identity is not None
    ground.close()
    said = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [entry["event"] for entry in said] == ([] if blocked else ["state-read-again"])
    for entry in said:
        assert (entry["code"], entry["failed"]) == ("state-unusable", 2)
        assert "Input/output error" in entry["message"]


def test_a_root_ca_file_that_no_look_comes_to_read_has_not_changed(tmp_path: Path) -> None:
    """With a state directory that cannot be used the file is not read: it is no other one for that, at any look."""
    ca_file, state = tmp_path / "ca.pem", tmp_path / "state"
    ca_file.write_text("root")
    state.write_text("in the way")
    overrides = {"state.directory": str(state), "wfm.url": "https://wfm.example", "trust.ca_file": str(ca_file)}
    ground = Ground(config.load(config.Sources(tmp_path / "none.yaml"), {}, overrides).config, lambda: 1.8e9)
    assert ground.examine().facts.obstacle is not None
    assert not ground.ca_file_changed()
    ca_file.write_text("another root")
    assert ground.ca_file_changed()


YEAR = 365 * 86_400.0


def test_a_certificate_made_under_a_wrong_clock_is_made_again(tmp_path: Path) -> None:
    """Once the clock is right a minted certificate that is not valid is replaced: same key, no conflict used up."""
    clock = 1.8e9 + 10 * YEAR
    overrides = {"state.directory": str(tmp_path / "state"), "wfm.url": "https://wfm.example"}
    ground = Ground(config.load(config.Sources(tmp_path / "none.yaml"), {}, overrides).config, lambda: clock)
    first = ground.examine().identity
    clock = 1.8e9
    situation = ground.examine()
    second = situation.identity
    assert first is not None
    assert second is not None
    assert second.not_before < clock < second.not_after
    assert second.signer.key_id == first.signer.key_id
    assert not situation.history.reissued
    assert ground.examine().identity == second
    ground.close()


def test_nothing_comes_back_after_a_wipe(tmp_path: Path) -> None:
    """What a daemon writes at its end and on its way leaves a cleared directory as it is."""
    overrides = {"state.directory": str(tmp_path / "state"), "wfm.url": "https://wfm.example"}
    ground = Ground(config.load(config.Sources(tmp_path / "none.yaml"), {}, overrides).config, lambda: 1.8e9)
    ground.examine()
    ground.keeper.floor = Floor(1.8e9)
    ground.save_floor()
    assert (tmp_path / "state" / "clock.json").exists(), "it is written otherwise"
    ground.wipe()
    ground.save_floor()
    ground.remember(Memory(1.8e9, "k", State.PENDING_APPROVAL, reasons.PENDING_APPROVAL, "", 1.8e9, 1, 1, 1.8e9))
    ground.examine()
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["lock"]
    ground.close()
