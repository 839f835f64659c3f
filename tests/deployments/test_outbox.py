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
from margod.deployments.outbox import Outbox, OutboxFull
from margod.model.errors import StateNotWritable


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
    while item := outbox.next():
        found.append(f"{item.deployment_id}:{item.state}")
        outbox.sent(item.number)
    return found


def test_in_order_and_over_a_restart(file: Path, outbox: Outbox) -> None:
    """What was put comes out in that order, body untouched, also in another process."""
    put(outbox, "pending", "installing", "installed")
    outbox.close()
    again = Outbox(file)
    item = again.next()
    assert item is not None
    assert (item.body, item.final, item.tries) == (b"pending", False, 0)
    again.tried(item.number)
    assert again.items()[0].tries == 1
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
    assert (outbox.items()[0].parked, outbox.items()[0].detail) == ("report-refused", "HTTP 422: no")
    item = outbox.next()
    assert item is not None
    assert item.number == third
    assert outbox.drop(third) == 0, "what waits is not dropped"
    assert (outbox.drop(second), outbox.drop(second)) == (1, 0)
    assert (outbox.retry(), outbox.retry()) == (1, 0)
    assert waiting(outbox) == ["d:pending", "d:installed"]


def test_superseded(outbox: Outbox) -> None:
    """Of a run only the newest stays, finals always, other deployments untouched, young ones untouched."""
    put(outbox, "pending", "installing", "installed", "removing", at=10.0)
    put(outbox, "pending", deployment="other", at=10.0)
    put(outbox, "pending", "installing", at=50.0)
    assert outbox.supersede(20.0) == 3
    assert waiting(outbox) == ["d:installed", "other:pending", "d:pending", "d:installing"]


def test_bounded(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than the limit is refused, and there is room again after one was sent."""
    monkeypatch.setattr(outboxes, "LIMIT", 3)
    numbers = put(outbox, "pending", "installing", "installed")
    with pytest.raises(OutboxFull):
        put(outbox, "removing")
    outbox.sent(numbers[0])
    put(outbox, "removing")


def test_numbers_are_never_used_again(outbox: Outbox) -> None:
    """A number in a log or on a command line means one report for ever."""
    (number,) = put(outbox, "pending")
    outbox.sent(number)
    assert put(outbox, "pending")[0] > number


def test_a_disk_that_refuses(file: Path, outbox: Outbox) -> None:
    """A locked or broken database is an error of the state directory, with what was there before untouched."""
    put(outbox, "pending")
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    outbox._db.execute("PRAGMA busy_timeout=0")
    with pytest.raises(StateNotWritable, match="outbox"):
        put(outbox, "installing")
    other.execute("ROLLBACK")
    other.close()
    assert waiting(outbox) == ["d:pending"]


def test_no_database(file: Path) -> None:
    """A file that is none is an error that says so."""
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(StateNotWritable, match="not a database"):
        Outbox(file)


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
    assert {item.number for item in outbox.items()} >= set(said)
    outbox.close()
