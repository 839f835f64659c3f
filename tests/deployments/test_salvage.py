"""An outbox that was damaged: put away, begun anew, with as much of it as SQLite reads; a newer one: untouched."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from margod.deployments import salvage
from margod.deployments.items import is_there
from margod.deployments.outbox import Outbox
from margod.deployments.salvage import open_outbox
from margod.model import reasons
from margod.model.errors import OutboxUnusable
from margod.protocols.signed.deployment_status import read_status, write_status


def body(name: str) -> bytes:
    """Return a report as it is kept; the name fills most of a page."""
    text = f'{{"components":[{{"name":"{name}","state":"installed","error":{{"message":"{name * 300}"}}}}]}}'
    return write_status(read_status("d", text.encode()))


def filled(directory: Path, count: int) -> list[int]:
    """Put so many reports and close the outbox; return their numbers."""
    outbox, _ = open_outbox(directory)
    numbers = [
        outbox.put("d", "installed", final=True, body=body(f"{at + 3000:04}"), at=1.0, binding="b")
        for at in range(count)
    ]
    outbox.close()
    return numbers


def test_made_and_found_again(tmp_path: Path) -> None:
    """Nothing is there before the first is opened; then it is, with what was put."""
    assert not is_there(tmp_path)
    numbers = filled(tmp_path, 3)
    assert is_there(tmp_path)
    outbox, saved = open_outbox(tmp_path)
    assert saved is None
    assert [item.number for item in outbox.listed()] == numbers
    outbox.close()


@pytest.mark.parametrize("what", ["one page", "the head", "the end", "the index", "nothing but noise", "the log"])
def test_damage(tmp_path: Path, what: str) -> None:
    """A new one is begun with what can be read; the damaged one is kept for whoever looks; numbers go on."""
    numbers = filled(tmp_path, 60)
    file = tmp_path / "outbox.db"
    data = bytearray(file.read_bytes())
    lost = {"one page": 6, "the head": 60, "the end": 40, "nothing but noise": 60, "the index": 0, "the log": 0}[what]
    match what:
        case "one page":
            at = data.index(b"3030" * 9)
            data[at - at % 4096 : at - at % 4096 + 4096] = b"\xa5" * 4096
        case "the head":
            data[:4096] = bytes(4096)
        case "the end":
            del data[-4 * 4096 :]
        case "nothing but noise":
            data[:] = b"\xa5" * len(data)
        case "the index":
            database = sqlite3.connect(file)
            (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'waiting'").fetchone()
            database.close()
            data[(page - 1) * 4096 : page * 4096] = b"\xa5" * 4096
        case "the log":
            file.with_name("outbox.db-wal").write_bytes(b"\xa5" * 9000)
    file.write_bytes(data)
    outbox, saved = open_outbox(tmp_path)
    found = [item.number for item in outbox.listed()]
    assert set(found) <= set(numbers)
    assert len(numbers) - len(found) <= lost
    if what == "the log":
        assert saved is None, "a log that is none holds nothing"
    else:
        assert saved == len(found)
        assert next(path.name for path in (tmp_path / "quarantine").iterdir()).startswith("outbox.db")
    if found:
        assert outbox.upcoming(1, 0)[0].body == body(f"{found[0] + 2999:04}")
        assert outbox.put("d", "installed", final=True, body=body("x"), at=1.0) > max(found)
    outbox.close()
    outbox, saved = open_outbox(tmp_path)
    assert saved is None
    assert len(outbox) == len(found) + bool(found)
    outbox.close()


@pytest.mark.parametrize("at", range(1, 12))
def test_a_crash_in_the_middle_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Whenever it ends, the next opening has what could be read, once."""
    numbers = filled(tmp_path, 60)
    file = tmp_path / "outbox.db"
    data = bytearray(file.read_bytes())
    place = data.index(b"3030" * 9)
    data[place - place % 4096 : place - place % 4096 + 4096] = b"\xa5" * 4096
    file.write_bytes(data)
    calls = 0

    def step(name: str) -> None:
        real = getattr(salvage, name)

        def counted(*arguments: object) -> object:
            nonlocal calls
            calls += 1
            if calls == at:
                raise KeyboardInterrupt
            return real(*arguments)

        monkeypatch.setattr(salvage, name, counted)

    for name in ("move", "sync_directory", "remove_tree"):
        step(name)
    try:
        open_outbox(tmp_path)[0].close()
        assert 1 < calls < at, "there are no more steps than these, and the last of them were killed before"
    except KeyboardInterrupt:
        assert calls == at
    monkeypatch.undo()
    outbox, _ = open_outbox(tmp_path)
    assert {item.number for item in outbox.listed()} >= set(numbers[:20]) | set(numbers[40:])
    outbox.close()


def put_away(directory: Path, data: bytes) -> None:
    """Have a new outbox take the place of a damaged one, whose log SQLite could not fold into it."""
    for name in ("outbox.db", "outbox.db-wal", "outbox.db.new"):
        (directory / name).write_bytes(data)
    salvage._finish(directory, damaged=True)


def quarantined(directory: Path) -> dict[str, bytes]:
    """Return what is in quarantine, by name."""
    return {path.name: path.read_bytes() for path in (directory / "quarantine").iterdir()}


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("taken", ["outbox.db", "outbox.db.1", "outbox.db.1-wal"])
def test_what_is_in_quarantine_is_never_overwritten(
    taken: str, crash: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where somebody has taken one of several out of it; a log lies beside its own database."""
    put_away(tmp_path, b"1")
    put_away(tmp_path, b"2")
    (tmp_path / "quarantine" / taken).unlink()
    before = quarantined(tmp_path)
    assert {*before} == {"outbox.db", "outbox.db-wal", "outbox.db.1", "outbox.db.1-wal"} - {taken}

    def move(source: Path, target: Path) -> None:
        if source.name.endswith("-wal"):
            raise KeyboardInterrupt
        source.rename(target)

    if crash:
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(salvage, "move", move)
            put_away(tmp_path, b"3")
        salvage._finish(tmp_path)
    else:
        put_away(tmp_path, b"3")
    after = quarantined(tmp_path)
    new = {name: after[name] for name in after.keys() - before.keys()}
    assert after == {**before, **new}
    assert new == {min(new): b"3", f"{min(new)}-wal": b"3"}


def test_a_quarantine_that_is_full(tmp_path: Path) -> None:
    """A disk that fails daily does not fill it up; the damaged outbox stays where it is, and that is said."""
    for _ in range(salvage._COPIES):
        put_away(tmp_path, b"1")
    (tmp_path / "outbox.db").write_bytes(b"\xa5" * 9000)
    with pytest.raises(OutboxUnusable, match=r"is full of outbox\.db"):
        open_outbox(tmp_path)
    assert len(quarantined(tmp_path)) == 2 * salvage._COPIES
    (tmp_path / "quarantine" / "outbox.db.7").unlink()
    open_outbox(tmp_path)[0].close()


def test_a_newer_one(tmp_path: Path) -> None:
    """Tables of a later margod are left as they are, to the byte."""
    filled(tmp_path, 2)
    database = sqlite3.connect(tmp_path / "outbox.db")
    database.execute("PRAGMA user_version = 2")
    database.close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OutboxUnusable) as refused:
        open_outbox(tmp_path)
    assert refused.value.reason is reasons.OUTBOX_NEWER
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_newer_one_that_was_killed(tmp_path: Path) -> None:
    """Its version may stand in its log only."""
    filled(tmp_path, 2)
    other = Outbox(tmp_path / "outbox.db")
    assert other._db is not None
    other._db.execute("PRAGMA user_version = 2")
    with pytest.raises(OutboxUnusable) as refused:
        open_outbox(tmp_path)
    assert refused.value.reason is reasons.OUTBOX_NEWER
    other.close()
