"""One report: the device itself, then the devices behind it, in order; what is refused does not hold the others up."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, TypeAlias

import structlog

from margod.model import reasons
from margod.model.outcome import Kind, Outcome, Step
from margod.model.wire import Answer, Request, TransportFailure
from margod.protocols import Context, Generation, Part
from margod.shell.situation import Warned

log: Final = structlog.get_logger()

Ask: TypeAlias = Callable[[Callable[[], Request]], Awaitable[Answer | TransportFailure]]
"""Builds, signs and sends one request."""

SHOWN: Final = 8
"""Refusals that status lists."""
_SAID: Final = (reasons.CAPABILITIES_REFUSED, reasons.CAPABILITIES_INVALID, reasons.CHILD_REFUSED)


def removed_words(generation: Generation, context: Context | None) -> tuple[str, ...]:
    """Return a line on the devices that the WFM has and that a report takes away from it; nothing for none."""
    parts = generation.parts(context, generation.client_id(context.records) or "") if context else ()
    count = sum(not part.digest for part in parts)
    are = "device behind this one is" if count == 1 else "devices behind this one are"
    return (f"{count} {are} unregistered",) if count else ()


class Reporting:
    """Makes reports, and remembers which devices the WFM does not take as they are."""

    def __init__(self) -> None:
        """Nothing was refused yet."""
        self._refused: dict[str, Outcome] = {}

    def forget(self) -> None:
        """Another WFM: what this one refused is no matter there."""
        self._refused.clear()

    def warnings(self) -> tuple[Warned, ...]:
        """Return what a person should know of the last report; an enrolled device stays enrolled over it."""
        found = [Warned(said.reason, f"{said.reason.says} {said.detail}") for said in self._refused.values()]
        if len(found) > SHOWN:
            more = Warned(reasons.CHILD_REFUSED, f"{len(found) - SHOWN} more devices are not taken as they are.")
            return (*found[:SHOWN], more)
        return tuple(found)

    async def report(self, generation: Generation, form: str, context: Context, ask: Ask) -> Outcome:
        """Say what is new of this device and of those behind it.

        The outcome is ACCEPTED if all of it was; otherwise what came of the first that was not, with the records of
        what was. What speaks about one device alone ends nothing but what is said of that device and those behind it.
        """
        failed: Outcome | None = None
        client_id = generation.client_id(context.records) or ""
        if generation.own_report_is_due(context) or not generation.parts(context, client_id):
            outcome = await self._own(generation, form, context, ask)
            if outcome.kind is Kind.ACCEPTED:
                context = replace(context, records={**context.records, **outcome.records})
            elif outcome.kind is not Kind.INVALID or outcome.other_form or not generation.reported(context.records)[0]:
                return outcome  # where the WFM does not know the gateway it knows nobody behind it
            records, failed = dict(outcome.records), None if outcome.kind is Kind.ACCEPTED else outcome
        else:
            records = {}
        out_of_reach: list[str] = []
        parts = generation.parts(context, client_id)
        known = {part.device_id for part in parts}
        self._refused = {name: said for name, said in self._refused.items() if not name or name in known}
        for part in parts:
            if part.digest and any(part.device_id.startswith(f"{name}/") for name in out_of_reach):
                continue
            outcome = await self._part(generation, part, ask)
            if outcome.kind is Kind.ACCEPTED:
                if part.digest:
                    log.info("child-reported", device_id=part.device_id)
                else:
                    log.warning("child-removed", device_id=part.device_id)
                records |= generation.part_kept(part, context)
                context = replace(context, records={**context.records, **records})
                continue
            failed = failed or outcome
            if outcome.kind is not Kind.INVALID:
                failed = outcome
                break
            out_of_reach.append(part.device_id)
        if failed is not None:
            return replace(failed, records=records)
        return Outcome(Kind.ACCEPTED, reasons.ENROLLED, records=records)

    async def _own(self, generation: Generation, form: str, context: Context, ask: Ask) -> Outcome:
        if problem := generation.report_problem(form, context):
            outcome = Outcome(Kind.INVALID, reasons.CAPABILITIES_INVALID, problem, sent=False)
        else:
            result = await ask(lambda: generation.request(Step.REPORT, form, context))
            outcome = generation.outcome(Step.REPORT, form, context, result)
        # A device that was never accepted shows it as its state.
        self._note("", outcome if generation.reported(context.records)[0] else None)
        return outcome

    async def _part(self, generation: Generation, part: Part, ask: Ask) -> Outcome:
        result = await ask(lambda: part.request)
        other = part.other
        if other is not None and generation.part_wants_other(part, result):
            again = await ask(lambda: other)
            accepted = generation.part_outcome(part, again).kind is Kind.ACCEPTED
            result = again if accepted or not isinstance(again, Answer) else result
        outcome = generation.part_outcome(part, result)
        self._note(part.device_id, outcome)
        return outcome

    def _note(self, device_id: str, outcome: Outcome | None) -> None:
        if outcome is None or outcome.kind is Kind.ACCEPTED:
            self._refused.pop(device_id, None)
        elif outcome.reason in _SAID:
            if outcome.reason is reasons.CHILD_REFUSED and device_id not in self._refused:
                level = logging.WARNING if len(self._refused) < SHOWN else logging.DEBUG
                log.log(level, "child-refused", device_id=device_id, detail=outcome.detail)
            self._refused[device_id] = outcome
