"""To which device a vault belongs: the decision, and what its record gives away."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from margod.identity.hardware import Verdict, bind, judge, renewed

SALT = bytes(range(16))
KINDS = ("serial number", "eMMC", "network card")
VALUES = st.frozensets(st.sampled_from("abcdef"), min_size=1, max_size=3)
SEEN = st.dictionaries(st.sampled_from(KINDS), VALUES)


def seen(serial: str = "", emmc: str = "", network: str = "") -> dict[str, frozenset[str]]:
    """Return what is seen; network cards separated by spaces."""
    given = dict(zip(KINDS, (serial, emmc, network), strict=True))
    return {kind: frozenset(text.split()) for kind, text in given.items() if text}


def verdict(then: dict[str, frozenset[str]], now: dict[str, frozenset[str]]) -> Verdict:
    """Return what is said of a vault that was made there and is found here."""
    return judge(bind(then, SALT), now).verdict


def test_the_table() -> None:
    """The cases that people meet, by name."""
    board = seen("S1", "E1", "m1")
    assert verdict(board, board) is Verdict.SAME
    assert verdict(board, seen("S1", "E1", "m2")) is Verdict.SAME, "a replaced network card"
    assert verdict(board, seen("S2", "E1", "m1")) is Verdict.SAME, "a board whose serial number was written anew"
    assert verdict(board, seen("S2", "E1", "m2")) is Verdict.OTHER, "the eMMC alone on another board"
    assert verdict(board, seen("S2", "E2", "m2")) is Verdict.OTHER, "a clone"
    assert verdict(board, seen("S1", "E2", "m2")) is Verdict.OTHER, "a batch of boards with one serial number"
    assert verdict(seen("S1", "", "m1"), seen("S1", "", "m2")) is Verdict.OTHER, "one of two is not enough"
    assert verdict(seen("S1", "", "m1 m2"), seen("S1", "", "m2 m3")) is Verdict.SAME, "one of two cards"
    assert verdict(seen("", "", "m1"), seen("", "", "m1")) is Verdict.SAME, "a VM with a card alone"
    assert verdict(seen("", "", "m1"), seen("", "", "m2")) is Verdict.OTHER
    assert verdict(board, seen("S1")) is Verdict.SAME, "a user who may see the serial number alone"
    assert verdict(board, seen("S2")) is Verdict.OTHER
    assert verdict(board, seen()) is Verdict.SAME, "a container that sees nothing: it cannot be told"
    assert verdict(seen(), board) is Verdict.UNBOUND
    assert judge(None, board).verdict is Verdict.UNBOUND


@given(SEEN, SEEN)
def test_the_rule(then: dict[str, frozenset[str]], now: dict[str, frozenset[str]]) -> None:
    """Two kinds that agree, or all of those known on both sides; written out another way than the code does."""
    both = [kind for kind in KINDS if kind in then and kind in now]
    agreeing = sum(bool(then[kind] & now[kind]) for kind in both)
    wanted = Verdict.SAME if agreeing >= min(2, len(both)) else Verdict.OTHER
    assert verdict(then, now) is (wanted if then else Verdict.UNBOUND)


@given(SEEN, SEEN)
def test_renewing(then: dict[str, frozenset[str]], now: dict[str, frozenset[str]]) -> None:
    """A record is never renewed on another device; renewed, it is this device's still and has nothing more to renew."""
    record = bind(then, SALT)
    again = renewed(record, now, b"\1" * 16)
    if again is None:
        known = all(then.get(kind) == values for kind, values in now.items())
        assert verdict(then, now) is Verdict.OTHER or known
        return
    assert verdict(then, now) is not Verdict.OTHER
    assert judge(again, now).verdict is Verdict.SAME
    assert renewed(again, now, SALT) is None
    unseen = {kind: values for kind, values in then.items() if kind not in now}
    assert judge(again, {**unseen, **now}).differ == (), "what is not seen now is not forgotten"


def test_a_renewed_card_counts() -> None:
    """After a repair the new card and the eMMC are the device, and a second repair finds them."""
    repaired = renewed(bind(seen("S1", "E1", "m1"), SALT), seen("S1", "E1", "m2"), SALT)
    assert judge(repaired, seen("S2", "E1", "m2")).verdict is Verdict.SAME
    assert judge(repaired, seen("S2", "E1", "m1")).verdict is Verdict.OTHER


@given(st.binary(max_size=200))
def test_a_damaged_record_takes_nothing_away(record: bytes) -> None:
    """What cannot be read binds to nothing: no identity is dropped for it."""
    assert judge(record, seen("S1")).verdict is Verdict.UNBOUND


def test_nothing_is_given_away() -> None:
    """The record holds no value, and the same device under another salt shares not one hash."""
    one, other = (bind(seen("SERIAL-1", "", "02:00:00:00:00:01"), bytes([n]) * 16).decode() for n in (1, 2))
    assert "SERIAL-1" not in one
    assert "02:00" not in one
    hashes = [{h for each in json.loads(text)["kinds"].values() for h in each} for text in (one, other)]
    assert len(hashes[0]) == 2
    assert not hashes[0] & hashes[1]
