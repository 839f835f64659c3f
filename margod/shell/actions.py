"""Carries out the engine's commands: each one ends in the event that the engine waits for."""

from __future__ import annotations

from typing import Final

import structlog

from margod.engine import messages as m
from margod.model import reasons
from margod.model.errors import MargodError
from margod.model.outcome import Kind, Outcome, Step
from margod.model.state import State
from margod.shell.sending import Sending
from margod.shell.situation import Situation, blocked_by
from margod.vault import ledger

_SHOW: Final = "margod identity show"

log: Final = structlog.get_logger()


class Actions(Sending):
    """The shell around the engine: an exchange, and the vault that remembers what came of it."""

    adopts: bool = False
    """Whether the next look is to find out if a ripe root has become due (`met_ripe`)."""

    async def perform(self, command: m.Command) -> m.Event | None:
        """Carry out one command; None for those that nothing waits for. Raises nothing but CancelledError."""
        match command:
            case m.Note():
                data = {**command.data, **self._for_approval(command), **self.about}
                if self.about and "hint" in data:  # of two identities this is about the one to come
                    data["hint"] = str(data["hint"]).replace(_SHOW, f"{_SHOW} --next")
                getattr(log, command.level.value)(command.event, **data)
                return None
            case m.Examine():
                return await self.examine()
            case m.RecordIntent():
                return await self._record_intent(command)
            case m.RecordAnswer():
                await self._record_answer(command)
                return None
            case m.Send():
                outcome = await self._send(command.step, command.form)
                return m.Done(command.step, self.ground.keeper.explain(outcome))
            case m.Keep():
                return await self._keep(command)
            case m.Reissue():
                return await self._reissue()

    def failed(self, command: m.Command, error: Exception) -> m.Event | None:
        """Return the event that keeps the engine going after an error that nobody foresaw."""
        detail = type(error).__name__
        match command:
            case m.Examine():
                return m.Examined(blocked_by(reasons.INTERNAL_ERROR, detail), m.History())
            case m.RecordIntent():
                return m.RecordFailed(detail)
            case m.Send():
                return m.Done(command.step, Outcome(Kind.UNREACHABLE, reasons.INTERNAL_ERROR, detail, lost=True))
            case m.Keep() | m.Reissue():
                return m.KeepFailed(detail)
            case m.Note() | m.RecordAnswer():
                return None

    async def examine(self) -> m.Examined:
        """Look at configuration and vault again, after what a person has ordered to be reset."""
        await self.resetting.carry_out(self._unregister)
        self.ground.config = self.config

        def look() -> Situation:
            self.prepare()
            return self.ground.examine()

        situation = await self._disk.run(look)
        await self._take(situation)
        if self.adopts and not self.silent:
            self.adopts = False
            if await self.adopt(situation) and self.situation is not None:
                situation, self.wants_look = self.situation, False
        obstacle = situation.facts.obstacle
        if obstacle is not None and obstacle.state is State.WAITING_FOR_CLOCK and await self.find_time(situation):
            situation = await self._disk.run(self.ground.examine)
            await self._take(situation)
        return m.Examined(situation.facts, situation.history)

    def _for_approval(self, note: m.Note) -> dict[str, str]:
        """Return what a person who decides about this device has to compare, for the lines that wait for one."""
        known = self.situation
        waits = {state.value for state in (State.PENDING_APPROVAL, State.REJECTED)}
        if note.event != "state" or note.data["state"] not in waits or known is None or known.identity is None:
            return {}
        return {"wfm": known.url or "", "certificate": known.identity.fingerprint}

    async def _record_intent(self, command: m.RecordIntent) -> m.Event:
        facts = self.situation.facts if self.situation else None
        entry = ledger.intent(command, facts.key if facts else "", self._wall())
        vault = self.ground.vault
        if vault is None:
            return m.RecordFailed(reasons.STATE_UNUSABLE.says)
        try:
            await self._disk.run(lambda: self.ground.append(entry))
        except MargodError as error:
            self.state_writable = False
            return m.RecordFailed(error.message)
        self.state_writable = True
        return m.Recorded()

    async def _record_answer(self, command: m.RecordAnswer) -> None:
        vault = self.ground.vault
        if vault is None:
            return
        try:
            await self._disk.run(lambda: self.ground.append(ledger.answer(command)))
        except MargodError as error:
            self.state_writable = False
            log.warning("answer-not-recorded", code=error.code, message=error.message, hint=error.hint)

    async def forget(self) -> None:
        """Drop the root CA that is kept. Raises TrustError or StateNotWritable."""
        await self._disk.run(self.ground.forget)
        log.info("root-ca-forgotten")

    async def _keep(self, command: m.Keep) -> m.Event:
        """Make an accepted step's records durable: an enrolment by one fsynced line, everything else by a commit."""
        vault = self.ground.vault
        if vault is None:
            return m.KeepFailed(reasons.STATE_UNUSABLE.says)
        entry = ledger.accepted(command.records, self._wall())

        def keep() -> Situation:
            if command.step is Step.ENROL:
                self.ground.append(entry)
            elif command.step is Step.CONFIRM:
                self.ground.claim(command.records)
            else:
                self.ground.keep(command.records)
            return self.ground.examine()

        try:
            situation = await self._disk.run(keep)
        except MargodError as error:
            self.state_writable = False
            return m.KeepFailed(error.message)
        self.state_writable = True
        await self._take(situation)
        about = {"client_id": situation.client_id or "", "wfm": situation.url or "", **self.about}
        log.info("accepted", step=command.step.value, **about)
        return m.Kept()

    async def _reissue(self) -> m.Event:
        try:
            await self._disk.run(self.ground.reissue)
        except MargodError as error:
            return m.KeepFailed(error.message)
        return await self.examine()
