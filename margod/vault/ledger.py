"""What the answer log tells the engine: attempts, the dialect form, answers that were lost, where it stood.

Reads and writes `vault.Entry` values and the record `ledger.json`, into which the log is folded at a commit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from margod.engine.doubt import Doubt
from margod.engine.interception import Trail
from margod.engine.messages import History, Memory, RecordAnswer, RecordIntent
from margod.model import reasons
from margod.model.outcome import Step
from margod.model.reasons import REASONS
from margod.model.state import State
from margod.vault.answerlog import Entry

LEDGER: Final = "ledger.json"


def intent(command: RecordIntent, key: str, at: float) -> Entry:
    """Return the entry that says that an enrolment request is about to leave."""
    memory = Memory(
        at=at,
        key=key,
        state=State.ONBOARDING,
        reason=reasons.ASKING,
        detail="",
        since=at,
        attempt=command.attempt,
        streak=command.streak,
        next_at=None,
    )
    return Entry("intent", at, {"form": command.form, "tried": ",".join(command.tried)} | to_text(memory), {})


def answer(command: RecordAnswer) -> Entry:
    """Return the entry that says what came of an enrolment request that was not accepted."""
    about = {"settled": str(int(command.settled)), "lost": str(int(command.outcome.lost))}
    return Entry("answer", command.memory.at, about | to_text(command.memory), {})


def accepted(records: Mapping[str, bytes], at: float) -> Entry:
    """Return the entry that holds the records of an accepted enrolment request."""
    return Entry("answer", at, {"accepted": "1"}, records)


def summarise(records: Mapping[str, bytes], entries: Sequence[Entry], reissued: bool) -> History:
    """Return what was recorded under the vault's present binding: the folded ledger, then the log on top of it.

    An intent that nothing but another intent follows may have been sent, and counts as one whose answer was lost.
    """
    history = _folded(records.get(LEDGER, b""))
    unanswered, settled, form, tried = history.unanswered, history.settled, history.form, history.tried
    is_open, memory = False, history.memory
    for entry in entries:
        about = entry.about
        unanswered = unanswered or (is_open and entry.kind == "intent")  # the one before was never answered
        is_open = entry.kind == "intent"
        if is_open:
            form, tried = {Step.ENROL: about.get("form", "")}, tuple(about.get("tried", "").split(","))
        settled = settled or about.get("settled") == "1"
        unanswered = unanswered or about.get("lost") == "1"
    for entry in reversed(entries):  # the last that says where the engine stood; there may be thousands
        found = from_text(entry.about)
        if found is not None or entry.kind == "intent":
            memory = found
            break
    return History(unanswered or is_open, reissued, settled, form, tried, memory)


def fold(history: History) -> bytes:
    """Return the record that carries a history over a commit, after which the log starts anew."""
    value = {
        "unanswered": history.unanswered,
        "settled": history.settled,
        "form": history.form.get(Step.ENROL, ""),
        "tried": list(history.tried),
        "memory": to_text(history.memory) if history.memory else None,
    }
    return json.dumps(value, sort_keys=True).encode()


def to_text(memory: Memory) -> dict[str, str]:
    """Return a memory as text fields."""
    text = {
        "at": repr(memory.at),
        "key": memory.key,
        "state": memory.state.value,
        "reason": memory.reason.code,
        "detail": memory.detail,
        "since": repr(memory.since),
        "attempt": str(memory.attempt),
        "streak": str(memory.streak),
        "next_at": "" if memory.next_at is None else repr(memory.next_at),
        "floor_at": repr(memory.floor_at),
    }
    if memory.upkeep:
        text["upkeep"] = _times(memory.upkeep)
    if memory.doubt.last:
        text["doubt"] = _times(memory.doubt.last)
        text |= {"doubted_since": repr(memory.doubt.since), "forgotten": str(int(memory.doubt.forgotten))}
    if memory.trail.proven:
        text["proven"] = memory.trail.proven
    if memory.trail.intercepted_for is not None:
        text["intercepted_for"] = repr(memory.trail.intercepted_for)
    return text


def from_text(about: Mapping[str, str]) -> Memory | None:
    """Read what `to_text` wrote; None for anything else, whatever JSON has (an older or damaged form: disposable)."""
    try:
        next_at = about["next_at"]
        return Memory(
            at=_seconds(about["at"]),
            key=_words(about["key"]),
            state=State(about["state"]),
            reason=REASONS[about["reason"]],
            detail=_words(about["detail"]),
            since=_seconds(about["since"]),
            attempt=_count(about["attempt"]),
            streak=_count(about["streak"]),
            next_at=_seconds(next_at) if next_at else None,
            floor_at=_seconds(about["floor_at"]),
            upkeep=_at(about.get("upkeep", "")),
            doubt=_doubt(about),
            trail=_trail(about),
        )
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
        return None


def _doubt(about: Mapping[str, str]) -> Doubt:
    since = _seconds(about.get("doubted_since", "0"))
    return Doubt(_at(about.get("doubt", "")), since, about.get("forgotten", "1") == "1")


def _times(at: Mapping[Step, float]) -> str:
    return ",".join(f"{step.value}={seconds!r}" for step, seconds in at.items())


def _at(text: str) -> dict[Step, float]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    return {Step(name): _seconds(at) for name, _, at in pairs}


def _trail(about: Mapping[str, str]) -> Trail:
    lasted = about.get("intercepted_for", "")
    return Trail(_words(about.get("proven", "")), _seconds(lasted) if lasted else None)


def _words(text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(text)
    return text


def _seconds(text: str) -> float:
    value = float(text)
    if not -1e12 < value < 1e12:  # NaN is neither
        raise ValueError(text)
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 1_000_000_000:
        raise ValueError(text)
    return value


def _folded(data: bytes) -> History:
    try:
        value = json.loads(data)
        form = value["form"]
        return History(
            unanswered=value["unanswered"] is True,
            settled=value["settled"] is True,
            form={Step.ENROL: str(form)} if form else {},
            tried=tuple(str(name) for name in value["tried"]),
            memory=from_text(value["memory"]) if value["memory"] else None,
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return History()
