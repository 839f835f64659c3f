"""Foreign bytes: a seeded part of the campaign, and a proof that a parser that crashes, hangs or grows is noticed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.faults import fuzz
from tests.faults.campaign import Broken, carry_out
from tests.faults.fuzz import TARGETS
from tests.faults.fuzz_targets import Target


@pytest.mark.parametrize("name", fuzz.SHARES)
def test_foreign_bytes(name: str) -> None:
    """Some hundreds of inputs for each parser: declared errors only, in bounded time, nothing stays behind."""
    fed = fuzz.feed(name, seed=4, number={"yaml": 150, "local": 150}.get(name, 700), again=120)
    assert fed.ways >= 3
    assert fed.grown <= fuzz.GROWTH


def test_every_parser_is_fed() -> None:
    """Each target has a share and a stored corpus, and the long campaign feeds more than a million inputs."""
    assert set(TARGETS) == set(fuzz.SHARES) == {path.name for path in fuzz.CORPUS.iterdir()}
    assert sum(fuzz.SHARES.values()) > 1_000_000


def _standing_in(monkeypatch: pytest.MonkeyPatch, target: Target) -> None:
    @contextlib.contextmanager
    def made() -> Iterator[Target]:
        yield target

    monkeypatch.setitem(TARGETS, "date", made)


def _crashes(data: bytes) -> object:
    if b"9" not in data:
        raise IndexError("string index out of range")
    return "fine"


def _hangs(data: bytes) -> object:
    while b"9" not in data:
        pass
    return "fine"


@pytest.mark.parametrize(("target", "error"), [(_crashes, IndexError), (_hangs, TimeoutError)])
def test_what_is_wrong_is_noticed(
    monkeypatch: pytest.MonkeyPatch, target: Callable[[bytes], object], error: type[Exception]
) -> None:
    """A parser with a crash or a hang in it ends the campaign, with the input in a note."""
    monkeypatch.setattr(fuzz, "PATIENCE", 0.2)
    _standing_in(monkeypatch, target)
    with pytest.raises(error) as caught:
        fuzz.feed("date", seed=4, number=500, again=0)
    assert "input: b" in caught.value.__notes__[0]


def test_growth_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that keeps what it is fed breaks the promise."""
    kept: list[bytes] = []
    _standing_in(monkeypatch, lambda data: kept.append(data + bytes(8_000)))
    monkeypatch.setattr(fuzz, "SHARES", {"date": 400})
    with pytest.raises(Broken, match="stayed behind"):
        carry_out(fuzz.fuzz, seed=4, scale=0.5)
