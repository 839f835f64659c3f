"""What the answer log tells the engine, and what a commit carries over."""

from __future__ import annotations

import string
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from margod.engine.doubt import Doubt
from margod.engine.messages import History, Memory
from margod.model.outcome import Step
from margod.model.reasons import REASONS
from margod.model.state import State
from margod.vault import ledger

NUMBERS = st.floats(0, 1e11)
MEMORIES = st.builds(
    Memory,
    at=NUMBERS,
    key=st.text(string.ascii_letters + "|=;,-", max_size=80),
    state=st.sampled_from(list(State)),
    reason=st.sampled_from(list(REASONS.values())),
    detail=st.text(max_size=200),
    since=NUMBERS,
    attempt=st.integers(0, 10**6),
    streak=st.integers(0, 10**6),
    next_at=st.none() | NUMBERS,
    floor_at=NUMBERS,
    upkeep=st.dictionaries(st.sampled_from([Step.CONFIRM, Step.REFRESH_TRUST]), NUMBERS),
).flatmap(
    lambda memory: (
        st.just(memory)
        | st.builds(
            lambda last, since, forgotten: replace(memory, doubt=Doubt(last, -since, forgotten)),
            st.dictionaries(st.sampled_from([Step.CONFIRM, Step.REPORT]), st.floats(-1e9, 0), min_size=1),
            NUMBERS,
            st.booleans(),
        )
    )
)
HISTORIES = st.builds(
    History,
    unanswered=st.booleans(),
    settled=st.booleans(),
    form=st.sampled_from([{}, {Step.ENROL: "certificate-pem"}]),
    tried=st.sampled_from([(), ("certificate-der",), ("certificate-der", "certificate-pem")]),
    memory=st.none() | MEMORIES,
)


@given(memory=MEMORIES)
def test_memory_survives_as_text(memory: Memory) -> None:
    """What is written is what is read, to the last bit."""
    assert ledger.from_text(ledger.to_text(memory)) == memory


@given(history=HISTORIES)
def test_history_survives_a_commit(history: History) -> None:
    """What a commit folds is what the next process finds with an empty log."""
    assert ledger.summarise({ledger.LEDGER: ledger.fold(history)}, (), False) == history


@given(data=st.binary(max_size=300) | st.sampled_from([b"{}", b"[]", b"null", b'{"form": 1}', b"[" * 10_000]))
def test_a_damaged_ledger_is_an_empty_one(data: bytes) -> None:
    """Whatever stands there, the device starts; nothing is believed that is not whole."""
    assert isinstance(ledger.summarise({ledger.LEDGER: data}, (), False), History)


WHOLE = ledger.to_text(Memory(0, "", State.BLOCKED, REASONS["asking"], "", 0, 0, 0, None))
FIELDS = [*WHOLE, "upkeep", "doubt", "doubted_since", "forgotten", "proven", "intercepted_for"]
LARGE = [10**400, float("inf"), float("nan"), -(10**400)]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(LARGE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(about=st.dictionaries(st.sampled_from(FIELDS), ANY_JSON), whole=st.sampled_from([{}, WHOLE]))
@example(about={"attempt": float("inf")}, whole=WHOLE)
@example(about={"since": 10**400}, whole=WHOLE)
@example(about={"detail": []}, whole=WHOLE)
def test_damaged_fields_are_forgotten(about: dict[str, str], whole: dict[str, str]) -> None:
    """A line of another version costs the memory, not the start; what is taken can be written again."""
    found = ledger.from_text({**whole, **about})
    assert found is None or ledger.from_text(ledger.to_text(found)) is not None


@pytest.mark.parametrize("field", ["at", "since", "next_at", "floor_at", "attempt", "streak"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e300", "-1" + "0" * 30])
def test_numbers_that_are_no_times_are_forgotten(field: str, value: str) -> None:
    """NaN, infinity and absurd sizes would stop timers or the status: they are not read."""
    whole = ledger.to_text(Memory(0, "", State.BLOCKED, REASONS["asking"], "", 0, 0, 0, None))
    assert ledger.from_text({**whole, field: value}) is None
