"""Which access token is tried and kept: the table, and what holds for every order of events."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from margod.protocols import FILED
from margod.protocols.token.access import (
    AHEAD,
    MARKS,
    NEXT,
    Accesses,
    Ask,
    Deed,
    Drop,
    Keep,
    Next,
    Rest,
    Source,
    Try,
    changes,
)
from margod.protocols.token.credentials import GIT, GitAccess
from margod.protocols.token.origins import read_place

HERE, THERE = "https://git.test/a.git", "https://other.test/a.git"


def access(token: str, url: str = HERE, expires_at: float | None = None) -> GitAccess:
    """Return an access."""
    return GitAccess(url, token, expires_at)


def vault(stored: GitAccess | None = None, handed: GitAccess | None = None) -> dict[str, bytes]:
    """Return the records of a vault."""
    known = {GIT: stored, NEXT: handed}
    return {name: one.record() for name, one in known.items() if one is not None}


def begun(records: dict[str, bytes], file: str = "", now: float = 0.0) -> Accesses:
    """Return a machine that has begun a poll."""
    machine = Accesses()
    machine.begin(records, file, now)
    return machine


def tried(found: Next) -> tuple[str, Source]:
    """Return what is tried."""
    assert isinstance(found, Try), found
    return found.access.token, found.source


def kept(deeds: list[Deed]) -> tuple[GitAccess, dict[str, bytes | None]]:
    """Return what is kept, and all records of that."""
    (deed,) = [one for one in deeds if isinstance(one, Keep)]
    data = json.loads(deed.records[GIT] or b"")
    return GitAccess(data["url"], data["accessToken"], data.get("expiresAt")), dict(deed.records)


def test_the_stored_one_is_used_alone() -> None:
    """While it works nobody is asked and nothing is kept."""
    machine = begun(vault(access("a")))
    assert tried(machine.next()) == ("a", Source.STORED)
    assert machine.worked() == []


def test_refused_is_asked_for_once() -> None:
    """401, Ask, another one, kept; and where the WFM gives the same again, the poll rests."""
    machine = begun(vault(access("a")))
    machine.next()
    assert machine.refused() == []
    assert isinstance(machine.next(), Ask)
    machine.given(access("b", expires_at=99.0))
    assert tried(machine.next()) == ("b", Source.WFM)
    assert kept(machine.worked()) == (access("b", expires_at=99.0), {GIT: access("b", expires_at=99.0).record()})
    machine.begin(vault(access("b")), "", 1.0)
    machine.next()
    machine.refused()
    machine.next()
    machine.given(access("b"))
    assert isinstance(machine.next(), Rest)


def test_none_yet_asks_in_each_poll() -> None:
    """Without a repository there is one question a poll."""
    machine = begun({})
    for _ in range(3):
        assert isinstance(machine.next(), Ask)
        machine.given(None)
        assert isinstance(machine.next(), Rest)
        machine.begin({}, "", 0.0)


def test_near_its_end_another_is_asked_for_and_the_old_one_goes_on() -> None:
    """A tenth of its life, ten minutes at most; what had ended before it was seen says nothing."""
    for life, margin in ((1000.0, 100.0), (100_000.0, AHEAD)):
        machine = begun(vault(access("a", expires_at=life)))
        machine.begin(vault(access("a", expires_at=life)), "", life - margin - 1)
        assert tried(machine.next()) == ("a", Source.STORED)
        machine.begin(vault(access("a", expires_at=life)), "", life - margin)
        assert isinstance(machine.next(), Ask)
        machine.given(None)
        assert tried(machine.next()) == ("a", Source.STORED)
    assert tried(begun(vault(access("a", expires_at=10.0)), now=20.0).next()) == ("a", Source.STORED)


def test_the_files_token_is_tried_once_for_each_change() -> None:
    """Refused it is dropped until it changes or a person asks; it goes to the stored URL."""
    machine = begun(vault(access("a")), "f")
    found = machine.next()
    assert isinstance(found, Try)
    assert found.access == access("f")
    assert machine.refused() == [Drop(Source.FILE, access("f"))]
    assert tried(machine.next()) == ("a", Source.STORED)
    machine.begin(vault(access("a")), "f", 0.0)
    assert tried(machine.next()) == ("a", Source.STORED)
    machine.retry()
    machine.begin(vault(access("a")), "f", 0.0)
    assert tried(machine.next()) == ("f", Source.FILE)
    assert kept(machine.worked())[0] == access("f")


def test_the_files_token_is_tried_again_where_it_could_not_be_stored() -> None:
    """It works, the commit fails (a full disk): in the next poll it is tried and kept; then it is the stored one."""
    machine = begun(vault(access("a")), "f")
    for _ in range(2):
        assert tried(machine.next()) == ("f", Source.FILE)
        assert kept(machine.worked())[0] == access("f")
        machine.begin(vault(access("a")), "f", 0.0)
    assert tried(machine.next()) == ("f", Source.FILE)
    machine.worked()
    for stored in (access("f"), access("w")):  # once it was the stored one, another one takes its place for good
        machine.begin(vault(stored), "f", 0.0)
        assert tried(machine.next()) == (stored.token, Source.STORED)


def test_the_files_token_does_not_follow_to_another_origin() -> None:
    """When the WFM names another host, what the file holds stays with the old one, over a restart too."""
    machine, of_the_device = Accesses(), {}
    of_the_device = dict(machine.begin(vault(access("a")), "f", 0.0))
    for _ in range(2):
        machine.next()
        machine.refused()
    assert isinstance(machine.next(), Ask)
    machine.given(access("b", THERE))
    machine.next()
    found, records = kept(machine.worked())
    assert found == access("b", THERE)
    after = {name: data for name, data in {**of_the_device, **records}.items() if data is not None}
    for one in (machine, Accesses()):
        for held in ("f", "a"):
            one.begin(after, held, 0.0)
            assert (tried(one.next()), one.elsewhere) == (("b", Source.STORED), "https://git.test"), held
    fresh = Accesses()
    fresh.begin(after, "g", 0.0)
    assert tried(fresh.next()) == ("g", Source.FILE)


def test_the_files_token_belongs_to_a_host_whatever_the_enrolment() -> None:
    """What the vault holds of it before it is sent anywhere is enough; it names no token, and is written once."""
    machine = Accesses()
    record = machine.begin(vault(access("a")), "file-token", 0.0)
    assert (set(record), b"file-token" in (record[FILED] or b"")) == ({FILED}, False)
    known = {FILED: record[FILED] or b""}
    assert machine.begin({**vault(access("a")), **known}, "file-token", 0.0) == {}
    anew = Accesses()
    assert anew.begin({**vault(access("e", THERE)), **known}, "file-token", 0.0) == {}
    assert (tried(anew.next()), anew.elsewhere) == (("e", Source.STORED), "https://git.test")
    back = Accesses()
    back.begin({**vault(access("a")), **known}, "file-token", 0.0)
    assert (tried(back.next()), back.elsewhere) == (("file-token", Source.FILE), "")


def test_many_hosts_do_not_have_the_files_token_forgotten() -> None:
    """Of the tokens that are known, the one that is in the file gives way last, and their number is bounded."""
    records: dict[str, bytes] = vault(access("t0"))
    for turn in range(MARKS + 9):
        machine = Accesses()
        records |= {name: data for name, data in machine.begin(records, "f", 0.0).items() if data is not None}
        while not isinstance(machine.next(), Ask):
            machine.refused()
        machine.given(access(f"t{turn + 1}", f"https://git{turn}.test/a.git"))
        machine.next()
        records |= {name: data for name, data in kept(machine.worked())[1].items() if data is not None}
    assert len(json.loads(records[FILED])) == MARKS
    machine = Accesses()
    machine.begin(records, "f", 0.0)
    assert machine.elsewhere == "https://git.test"


def test_what_was_handed_over_since_is_not_touched() -> None:
    """The commit that judges one takes it from the vault, and no other that has come during its fetch."""
    for result in ("worked", "refused"):
        machine = begun(vault(access("a"), access("h")))
        machine.next()
        (deed,) = getattr(machine, result)()
        assert changes(deed, vault(access("a"), access("h")))[NEXT] is None
        for since in (access("i"), access("h", THERE)):
            assert NEXT not in changes(deed, vault(access("a"), since)), result


def test_what_is_handed_over_comes_first_and_leaves_the_vault_in_one_commit() -> None:
    """Kept: both records in one; refused: its own alone, the stored one is not touched."""
    machine = begun(vault(access("a"), access("h")))
    assert tried(machine.next()) == ("h", Source.HANDED)
    assert kept(machine.worked())[1] == {GIT: access("h").record(), NEXT: None}
    machine = begun(vault(access("a"), access("h")))
    machine.next()
    assert machine.refused() == [Drop(Source.HANDED, access("h"), {NEXT: None})]
    assert tried(machine.next()) == ("a", Source.STORED)


def test_what_sees_no_repository_waits_for_what_others_see() -> None:
    """404 may be the repository's or the token's: it is dropped only where another token finds it at that URL."""
    machine = begun(vault(access("a"), access("h")))
    machine.next()
    machine.absent()
    machine.next()
    assert machine.worked() == [Drop(Source.HANDED, access("h"), {NEXT: None})]
    machine = begun(vault(access("a"), access("h")))
    for _ in range(2):
        machine.next()
        machine.absent()
    assert isinstance(machine.next(), Ask)
    machine.given(None)
    assert isinstance(machine.next(), Rest)
    machine.begin(vault(access("a"), access("h")), "", 0.0)
    assert tried(machine.next()) == ("h", Source.HANDED)


def test_a_network_that_fails_ends_the_poll_and_loses_nothing() -> None:
    """What the WFM gave is tried again, without another question."""
    machine = begun({})
    machine.next()
    machine.given(access("w"))
    machine.next()
    machine.failed()
    assert isinstance(machine.next(), Rest)
    machine.begin({}, "", 0.0)
    assert tried(machine.next()) == ("w", Source.WFM)


TOKENS = st.sampled_from([f"t{n}" for n in range(4)])
ACCESSES = st.builds(GitAccess, st.sampled_from([HERE, THERE]), TOKENS, st.none() | st.sampled_from([50.0, 5000.0]))
RESULTS = st.sampled_from(["worked", "refused", "absent", "failed"])
POLLS = st.tuples(
    st.none() | ACCESSES,
    st.just("") | TOKENS,
    st.none() | ACCESSES,
    st.lists(RESULTS, min_size=6, max_size=6),
    st.booleans(),
)


@settings(max_examples=400)
@given(st.none() | ACCESSES, st.lists(POLLS, max_size=8))
def test_for_every_order_of_events(first: GitAccess | None, polls: list[tuple[object, ...]]) -> None:
    """The stored one gives way to nothing but one that was just proven; no poll is endless; what was read from the
    file for one origin never goes to another; whatever else is tried goes to the URL that it came with."""
    records, machine, read_for = vault(first), Accesses(), dict[str, str]()
    named = {(first.url, first.token)} if first else set()
    for at, (handed, file, offered, results, restarts) in enumerate(polls):
        assert isinstance(file, str)
        assert isinstance(results, list)
        if isinstance(handed, GitAccess):
            records[NEXT] = handed.record()
            named.add((handed.url, handed.token))
        if restarts:
            machine = Accesses()
        if restarts and at % 2:
            records = {name: data for name, data in records.items() if name == FILED}  # a move, or a reset
        records |= {name: data for name, data in machine.begin(records, file, at * 10.0).items() if data is not None}
        asked, steps = 0, list(results)
        while not isinstance(found := machine.next(), Rest):
            if isinstance(found, Ask):
                asked += 1
                assert asked == 1
                machine.given(offered if isinstance(offered, GitAccess) else None)
                if isinstance(offered, GitAccess):
                    named.add((offered.url, offered.token))
                continue
            assert steps, "no poll is endless"
            if found.source is Source.FILE:
                origin = read_place(found.access.url).origin
                assert read_for.setdefault(found.access.token, origin) == origin
                named.add((found.access.url, found.access.token))
            assert (found.access.url, found.access.token) in named
            before, result = records.get(GIT), steps.pop(0)
            deeds = getattr(machine, result)() or []
            for deed in deeds:
                for name, data in deed.records.items():
                    if data is None:
                        assert name == NEXT, "nothing takes the stored one away"
                        records.pop(name, None)
                    elif name == FILED:
                        records[name] = data
                    else:
                        assert result == "worked"
                        assert json.loads(data)["accessToken"] == found.access.token
                        records[name] = data
            if result == "worked":
                break
            assert records.get(GIT) == before
