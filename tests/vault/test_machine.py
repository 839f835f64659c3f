"""Any sequence of commits, appends, restarts, torn ends and damage: an accepted answer is never lost."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from margod.vault import Vault, peek
from margod.vault.generation import directory_name
from tests.vault.support import answer, intent


@dataclass
class Epoch:
    """Consecutive commits under one binding, and the client id that was accepted last under it."""

    binding: str
    accepted: bytes | None = None


class VaultMachine(RuleBasedStateMachine):
    """A vault beside the simplest model of it: the generations that can be there, each with its epoch."""

    def __init__(self) -> None:
        """Start in a directory of our own."""
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="margod-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
        self.directory = self.home / "margod"
        self.vault = Vault.open(self.directory)
        self.generations: list[tuple[int, Epoch]] = []
        self.last = 0
        self.accepted = 0

    @initialize()
    def mint(self) -> None:
        """Every device begins with an identity."""
        self._commit(Epoch("a"), {"identity.key": b"a"})

    @rule(data=st.binary(max_size=20))
    def commit(self, data: bytes) -> None:
        """Something else changes under the same binding."""
        self._commit(self.generations[-1][1], {"report.json": data})

    @rule(binding=st.sampled_from("abc"))
    def bind(self, binding: str) -> None:
        """Another identity or WFM than now, perhaps one from before: nothing is enrolled with it."""
        if binding != self.generations[-1][1].binding:
            self._commit(Epoch(binding), {"identity.key": binding.encode(), "enrolment.json": None})

    @rule()
    def accept(self) -> None:
        """The WFM gives a client id."""
        self.accepted += 1
        self.vault.append(answer(f"client-{self.accepted}"))
        self.generations[-1][1].accepted = f"client-{self.accepted}".encode()

    @rule()
    def intend(self) -> None:
        """A request is about to leave."""
        self.vault.append(intent())

    @rule()
    def restart(self) -> None:
        """The process ends and starts."""
        self._reopen()

    @rule(length=st.integers(1, 200))
    def tear(self, length: int) -> None:
        """The power fails in the middle of an append that has not returned."""
        whole = answer("never-accepted")
        size = (self.directory / "answer.log").stat().st_size if (self.directory / "answer.log").exists() else 0
        self.vault.append(whole)
        with (self.directory / "answer.log").open("r+b") as log:
            end = log.seek(0, 2)
            log.truncate(min(size + length, end - 2))
        self._reopen()

    @rule()
    def damage(self) -> None:
        """The newest generation goes bad while there is one below it."""
        if len(self.generations) == 2:
            (self.directory / directory_name(self.generations[-1][0]) / "identity.key").write_bytes(b"!")
            self.generations.pop()
            self._reopen(findings=1)

    @invariant()
    def nothing_is_lost(self) -> None:
        """Binding, key and the last client id accepted under that binding belong together."""
        if self.generations:
            epoch = self.generations[-1][1]
            for records in (self.vault.records, peek(self.directory)):
                assert records.get("enrolment.json") == epoch.accepted
                assert records["identity.key"] == epoch.binding.encode()
            assert self.vault.binding == epoch.binding

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.vault.close()
        shutil.rmtree(self.home)

    def _commit(self, epoch: Epoch, changes: dict[str, bytes | None]) -> None:
        self.vault.commit(changes, epoch.binding)
        newest = max(int(path.name[4:]) for path in self.directory.glob("gen-*"))
        assert newest > self.last
        self.last = newest
        self.generations = [*self.generations[-1:], (newest, epoch)]

    def _reopen(self, findings: int = 0) -> None:
        self.vault.close()
        self.vault = Vault.open(self.directory)
        assert len(self.vault.findings) == findings


TestVault = VaultMachine.TestCase
TestVault.settings = settings(max_examples=30, stateful_step_count=20, deadline=None, derandomize=True)
