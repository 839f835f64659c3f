"""The outbox: in order, parked and taken up again, nothing final left out, bounded, durable."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from margod.deployments import outbox as outboxes
from margod.deployments.outbox import Outbox
from margod.model.errors import OutboxDamaged, OutboxFull, OutboxUnusable


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the outbox is."""
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(file: Path) -> Iterator[Outbox]:
    """An empty one."""
    found = Outbox(file)
    yield found
    found.close()


def put(outbox: Outbox, *states: str, deployment: str = "d", at: float = 0.0) -> list[int]:
    """Put reports of these states."""
    final = ("installed", "failed", "removed")
    return [outbox.put(deployment, state, final=state in final, body=state.encode(), at=at) for state in states]


def waiting(outbox: Outbox) -> list[str]:
    """Return the states that would be sent, in order, and send them."""
    found = []
    while items := outbox.upcoming(1, 0):
        found.append(f"{items[0].deployment_id}:{items[0].state}")
        outbox.sent([items[0].number])
    return found


def test_in_order_and_over_a_restart(file: Path, outbox: Outbox) -> None:
    """What was put comes out in that order, body untouched, also in another process."""
    put(outbox, "pending", "installing", "installed")
    outbox.close()
    again = Outbox(file)
    (item,) = again.upcoming(1, 0)
    assert (item.body, item.final, item.at) == (b"pending", False, 0.0)
    assert waiting(again) == ["d:pending", "d:installing", "d:installed"]
    assert len(again) == 0
    again.close()


def test_readable_by_the_owner_only(file: Path, outbox: Outbox) -> None:
    """The file and what SQLite keeps beside it."""
    put(outbox, "pending")
    assert {path.stat().st_mode & 0o777 for path in file.parent.glob("outbox.db*")} == {0o600}


def test_parked_and_taken_up_again(outbox: Outbox) -> None:
    """A parked report stands in nobody's way, keeps its reason, and comes back in its old place or is dropped."""
    first, second, third = put(outbox, "pending", "installing", "installed")
    outbox.park(first, "report-refused", "HTTP 422: no")
    outbox.park(second, "report-refused", "HTTP 400")
    assert (outbox.listed()[0].parked, outbox.listed()[0].detail) == ("report-refused", "HTTP 422: no")
    assert [item.number for item in outbox.upcoming(9, 99)] == [third]
    assert (outbox.tally().waiting, outbox.tally().parked) == (1, 2)
    assert (outbox.drop(second), outbox.drop(second)) == (1, 0)
    assert [outbox.retry(), outbox.retry()] == [(1, 0), (0, 0)]
    assert waiting(outbox) == ["d:pending", "d:installed"]


def test_superseded(outbox: Outbox) -> None:
    """Of a run only the newest stays, finals always, other deployments untouched; what is parked overtakes nothing."""
    put(outbox, "pending", "installing", "installed", "removing", at=10.0)
    put(outbox, "pending", deployment="other", at=10.0)
    put(outbox, "pending", "installing")
    (parked,) = put(outbox, "removing")
    outbox.park(parked, "report-refused", "")
    assert outbox.supersede() == 4
    assert waiting(outbox) == ["d:installed", "other:pending", "d:installing"]
    assert len(outbox) == 1


def test_bounded(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than the limit is refused, and there is room again after one was sent."""
    monkeypatch.setattr(outboxes, "LIMIT", 3)
    numbers = [of_user(outbox, uid) for uid in (1, 2, 3)]
    with pytest.raises(OutboxFull):
        of_user(outbox, 4)
    outbox.sent(numbers[:1])
    of_user(outbox, 4)


def of_user(outbox: Outbox, uid: int, size: int = 2) -> int:
    """Put a report of a user."""
    return outbox.put("d", "pending", final=False, body=b"x" * size, at=0.0, uid=uid)


def fill(outbox: Outbox, uid: int, size: int = 2) -> int:
    """Put reports of a user until they are refused to it; return how many these were."""
    for count in range(1000):
        try:
            of_user(outbox, uid, size)
        except OutboxFull as full:
            assert f"uid {uid} " in full.message
            return count
    raise AssertionError


@pytest.mark.parametrize(("limit", "size"), [("LIMIT", 1), ("SIZE_LIMIT", 10)])
def test_one_user_does_not_fill_it_for_others(
    file: Path, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, limit: str, size: int
) -> None:
    """Nobody holds more than is left for all others, parked ones and those of before a restart included."""
    monkeypatch.setattr(outboxes, limit, 100 * size)
    assert fill(outbox, 1, size) == 50
    for item in outbox.listed()[:20]:
        outbox.park(item.number, "report-refused", "")
    outbox.close()
    outbox = Outbox(file)
    assert fill(outbox, 1, size) == 0
    assert fill(outbox, 2, size) == 25
    assert fill(outbox, 3, size) == 13, "whoever comes next finds room"
    outbox.sent([item.number for item in outbox.listed() if item.uid == 1 and not item.parked])
    assert fill(outbox, 1, size) == 11, "and has room again for what was sent"
    assert {item.uid for item in outbox.upcoming(100, 1 << 20)} == {1, 2, 3}
    outbox.close()


def test_numbers_are_never_used_again(outbox: Outbox) -> None:
    """A number in a log or on a command line means one report for ever."""
    (number,) = put(outbox, "pending")
    outbox.sent([number])
    assert put(outbox, "pending")[0] > number


def test_a_disk_that_refuses(file: Path, outbox: Outbox) -> None:
    """A locked or broken database is an error of the state directory, with what was there before untouched."""
    put(outbox, "pending")
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert outbox._db is not None
    outbox._db.execute("PRAGMA busy_timeout=0")
    with pytest.raises(OutboxUnusable, match="locked"):
        put(outbox, "installing")
    other.execute("ROLLBACK")
    other.close()
    assert waiting(outbox) == ["d:pending"]


def test_no_database(file: Path) -> None:
    """A file that is none is an error that says so."""
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(OutboxDamaged, match="not a database"):
        Outbox(file)


def test_bounded_in_bytes(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many bytes are held and no more, and those that go make room."""
    monkeypatch.setattr(outboxes, "SIZE_LIMIT", 16)
    first, _ = of_user(outbox, 1, 8), of_user(outbox, 2, 7)
    with pytest.raises(OutboxFull):
        of_user(outbox, 3, 2)
    outbox.park(first, "report-refused", "")
    assert outbox.drop() == 1
    of_user(outbox, 3, 2)


def test_dropped_by_its_number(outbox: Outbox) -> None:
    """One that waits goes too when a person names it; `--all` is what is parked."""
    first, second, third = put(outbox, "pending", "installing", "installed")
    outbox.park(second, "report-refused", "")
    assert (outbox.drop(), outbox.drop()) == (1, 0)
    assert (outbox.drop(first), outbox.drop(first), outbox.drop(99)) == (1, 0, 0)
    assert [item.number for item in outbox.listed()] == [third]
    assert (outbox.tally().waiting, outbox.tally().parked) == (1, 0)


def test_of_one_enrolment(outbox: Outbox) -> None:
    """What waits for any enrolment becomes the present one's; another's is parked, and comes back with it."""
    put(outbox, "pending")
    assert outbox.claim("here") == 0
    outbox.put("d", "installed", final=True, body=b"{}", at=0.0, binding="here")
    assert outbox.claim("there") == 2
    assert {item.parked for item in outbox.listed()} == {"report-of-other-enrolment"}
    assert outbox.upcoming(9, 99) == []
    assert outbox.claim("here") == 0
    assert waiting(outbox) == ["d:pending", "d:installed"]
    outbox.put("d", "removed", final=True, body=b"{}", at=0.0, binding="here")
    outbox.claim("there")
    assert outbox.retry(None, "there") == (1, 0), "a person may have it sent there all the same"
    assert outbox.claim("there") == 0
    assert waiting(outbox) == ["d:removed"]


def test_overtaken(outbox: Outbox) -> None:
    """Once a later report of the deployment was accepted, an older one that was parked does not take its place."""
    first, second, third = put(outbox, "pending", "installing", "installed")
    (other,) = put(outbox, "pending", deployment="other")
    for number in (first, second, other):
        outbox.park(number, "report-refused", "HTTP 422")
    assert outbox.retry(second) == (1, 0)
    outbox.sent([third])
    assert [(item.number, item.parked) for item in outbox.listed() if item.overtaken] == [
        (first, "report-refused"),
        (second, "report-overtaken"),
    ]
    assert outbox.retry() == (1, 2)
    assert waiting(outbox) == ["other:pending"]
    assert outbox.drop() == 2


def test_a_page_at_a_time(outbox: Outbox) -> None:
    """The list comes in pages without bodies, what is sent by number and by bytes; one at least."""
    numbers = put(outbox, *["pending"] * 5)
    assert [item.number for item in outbox.listed(numbers[1], 2)] == numbers[2:4]
    assert outbox.listed()[0].body == b""
    assert len(outbox.upcoming(9, 14)) == 2
    assert len(outbox.upcoming(2, 99)) == 2
    assert len(outbox.upcoming(9, 1)) == 1


CHILD = """
import sys
from pathlib import Path
from margod.deployments.outbox import Outbox
outbox = Outbox(Path(sys.argv[1]))
while True:
    print(outbox.put("d", "pending", final=False, body=b"x" * 100, at=0.0), flush=True)
"""


def test_what_was_acknowledged_survives_sigkill(file: Path) -> None:
    """Every number that the process has said is there after it was killed in the middle of the next."""
    with subprocess.Popen([sys.executable, "-c", CHILD, str(file)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = [int(child.stdout.readline()) for _ in range(50)]
        os.kill(child.pid, signal.SIGKILL)
        said += [int(line) for line in child.stdout if line.endswith("\n")]
    outbox = Outbox(file)
    assert {item.number for item in outbox.listed()} >= set(said)
    outbox.close()
