"""The archive of former enrolments: what goes in comes out, nothing else is touched, and its number is bounded."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from margod.shell import archive

NAMES = ("identity.key", "identity.crt", "identity.json", "anchors.pem", "enrolment.json", "report.json", "ledger.json")
WHY = st.sampled_from([archive.MOVED, archive.RESET, archive.ROTATED, archive.FORGOTTEN])


def enrolment(url: str, number: int = 0, *, enrolled: bool = True) -> dict[str, bytes]:
    """Return the records of a device that is enrolled (or only known) at `url`."""
    records = {name: f"{name} {number}".encode() for name in NAMES if enrolled or name != "enrolment.json"}
    return {**records, "wfm.json": json.dumps({"url": url}).encode()}


def apply(records: dict[str, bytes], changes: archive.Changes) -> dict[str, bytes]:
    """Return what the vault makes of changes."""
    return {name: data for name, data in {**records, **changes}.items() if data is not None}


@settings(deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-e][a-z.]{0,5}", fullmatch=True), st.binary(max_size=50)), WHY)
def test_what_was_put_aside_comes_back_as_it_was(extra: dict[str, bytes], why: str) -> None:
    """Every record of an enrolment, also one that is not known here, survives the archive byte by byte."""
    before = {**extra, **enrolment("https://a"), "chosen.json": b"{}", "token-file.json": b"{}"}
    held = apply(before, {**archive.put(before, why, 7.0), **archive.cleared(before, identity=True)})
    assert {name for name in held if archive.belongs(name)} == set()
    assert held["chosen.json"] == held["token-file.json"] == b"{}", "what belongs to the device stays"
    held |= enrolment("https://b", 1)
    former = archive.find(held, "https://a", why)
    assert former is not None
    assert (former.at, former.place, former.enrolled) == (7.0, "https://a", True)
    assert apply(held, archive.restore(held, former)) == before


def test_clearing_leaves_the_key() -> None:
    """The same key goes on at another WFM, unless it is to have its own."""
    left = apply(enrolment("https://a"), archive.cleared(enrolment("https://a"), identity=False))
    assert set(left) == archive.IDENTITY


@settings(deadline=None)
@given(st.lists(st.tuples(WHY, st.booleans()), min_size=archive.LIMIT + 1, max_size=archive.LIMIT + 9))
def test_the_number_is_bounded_and_the_least_worth_go_first(turns: list[tuple[str, bool]]) -> None:
    """Never more than LIMIT; the one just put in stays; an enrolment goes only when nothing less is left."""
    records: dict[str, bytes] = {}
    for number, (why, enrolled) in enumerate(turns):
        present = {**records, **enrolment(f"https://{number}", enrolled=enrolled)}
        changes = archive.put(present, why, float(number))
        gone = [former for former in archive.formers(records) if changes.get(former.name, b"") is None]
        records = {name: data for name, data in apply(present, changes).items() if not archive.belongs(name)}
        kept = [former for former in archive.formers(records) if former.place != f"https://{number}"]
        assert archive.find(records, f"https://{number}", why) is not None
        for lost in gone:
            assert all((lost.enrolled, lost.why == "moved") <= (each.enrolled, each.why == "moved") for each in kept)
    assert len(archive.formers(records)) == archive.LIMIT


def test_a_record_that_cannot_be_read_is_passed_over() -> None:
    """Nothing raises for what is no archive, and the others are found."""
    records = {**enrolment("https://a"), "former-1.json": b"\xff", "former-2.json": b'{"why":"moved","at":1e999}'}
    records["former-3.json"] = b'{"why":"moved","at":1,"place":"p","records":{"x":"%%"}}'
    records |= {"former-4.json": b'{"why":"moved","at":NaN,"place":"p","records":{}}'}
    records = apply(records, archive.put(records, archive.RESET, 1.0))
    assert [former.why for former in archive.formers(records)] == ["reset"]


def test_the_last_one_of_a_place_is_found() -> None:
    """Of two former enrolments of one place the later counts, each kind for itself."""
    records: dict[str, bytes] = {}
    for at, number in ((1.0, 1), (2.0, 2)):
        records = apply(records, archive.put({**records, **enrolment("https://a", number)}, archive.MOVED, at))
    found = archive.find(records, "https://a")
    assert found is not None
    assert found.records["enrolment.json"] == b"enrolment.json 2"
    assert archive.find(records, "https://a", archive.RESET) is None


def test_root_cas_too_large_to_keep_are_left_out() -> None:
    """An enrolment with a bundle that would not fit into one record is kept all the same."""
    before = {**enrolment("https://a"), "anchors.pem": b"x" * (1 << 20)}
    former = archive.find(archive.put(before, archive.MOVED, 1.0), "https://a")  # type: ignore[arg-type]
    assert former is not None
    assert former.enrolled
    assert "anchors.pem" not in former.records
