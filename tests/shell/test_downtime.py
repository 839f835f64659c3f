"""The downtimes of one process: what is kept of them, and what asks before it sends."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from margod.config import Config
from margod.config.settings import StateSettings
from margod.engine.gate import LONGEST_OWN
from margod.model import reasons, windows
from margod.model.errors import MargodError
from margod.model.outcome import Step
from margod.model.state import Connection
from margod.protocols import Context
from margod.shell.courier import Courier
from margod.shell.disk import Disk
from margod.shell.downtime import FILE, Downtime
from margod.shell.finder import Finder
from margod.shell.ground import Ground
from margod.shell.sending import Sending
from margod.shell.situation import NOBODY, Situation, blocked_by

NOW = 1_795_000_000.0
ALWAYS = (windows.parse("00:00-24:00"),)


class Clocks:
    """Clocks that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.boot, self.name = NOW, 1_000.0, "boot-1"
        monkeypatch.setattr("margod.service.clock.boot_time", lambda: self.boot)
        monkeypatch.setattr("margod.service.clock.boot_id", lambda: self.name)
        monkeypatch.setattr("margod.shell.downtime.time.monotonic", lambda: self.boot)

    def now(self) -> float:
        return self.wall

    def run(self, seconds: float) -> None:
        self.wall += seconds
        self.boot += seconds

    def reboot(self, wall: float) -> None:
        self.wall, self.boot, self.name = wall, 20.0, "boot-2"


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def left(downtime: Downtime, clocks: Clocks) -> float | None:
    """Return for how long it is downtime, seconds; None if it is none."""
    until = downtime.look().until
    return None if until is None else round(until - clocks.wall, 3)


def test_it_ends_by_itself_once(clocks: Clocks, tmp_path: Path) -> None:
    """The clock that nobody sets ends it, and then its file is to go."""
    downtime = Downtime(clocks.now)
    downtime.start(3_600.0)
    downtime.save(tmp_path)
    clocks.wall += 1e7
    assert left(downtime, clocks) == 3_600.0
    clocks.run(3_599.0)
    assert left(downtime, clocks) == 1.0
    assert not downtime.take_ended()
    clocks.run(1.0)
    assert left(downtime, clocks) is None
    assert [downtime.take_ended(), downtime.take_ended()] == [True, False]
    downtime.save(tmp_path)
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    ("after", "wall", "expected"),
    [
        (600.0, None, 3_000.0),  # another process, the same boot
        (4_000.0, None, None),
        (600.0, NOW + 1e6, 3_000.0),  # and the clock was set meanwhile
        (0.0, NOW + 1_200.0, 2_400.0),
        (0.0, NOW - 1e9, 3_600.0),  # a clock without a battery: never longer than it was to be
    ],
)
def test_over_a_restart(
    clocks: Clocks, tmp_path: Path, after: float, wall: float | None, expected: float | None
) -> None:
    """Within one boot by the boot's clock; after another by the wall clock, and never longer than it was begun for."""
    downtime = Downtime(clocks.now)
    downtime.start(3_600.0)
    downtime.save(tmp_path)
    clocks.run(after)
    if wall is not None and after:
        clocks.wall = wall
    elif wall is not None:
        clocks.reboot(wall)
    again = Downtime(clocks.now)
    again.load(tmp_path)
    assert left(again, clocks) == expected


def test_after_a_reboot_a_clock_that_is_set_right_counts(clocks: Clocks, tmp_path: Path) -> None:
    """Begun in another boot, and the clock comes to be right only later: then the moment is what it was."""
    downtime = Downtime(clocks.now)
    downtime.start(3_600.0)
    downtime.save(tmp_path)
    clocks.reboot(0.0)
    again = Downtime(clocks.now)
    again.load(tmp_path)
    clocks.run(10.0)
    assert left(again, clocks) == 3_590.0
    clocks.wall = NOW + 3_000.0
    again.renew()
    assert left(again, clocks) == 600.0
    clocks.wall = NOW + 3_700.0
    again.renew()
    assert left(again, clocks) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds": "x"},
        {"seconds": float("nan")},
        {"seconds": 59.0},
        {"seconds": LONGEST_OWN + 1},
        {"until": float("inf")},
        {"until": -1.0},
        {"ends": float("nan")},
        {"ends": None},
        {"ends": 10**400},
    ],
)
def test_what_cannot_be_counts_as_none(clocks: Clocks, tmp_path: Path, changes: dict[str, Any]) -> None:
    """A stored value out of its bounds is damage."""
    good = {"seconds": 3_600.0, "until": NOW + 60.0, "boot_id": "boot-1", "ends": 1_060.0}
    (tmp_path / FILE).write_text(json.dumps(good))
    downtime = Downtime(clocks.now)
    downtime.load(tmp_path)
    assert left(downtime, clocks) == 60.0
    (tmp_path / FILE).write_text(json.dumps({**good, **changes}))
    downtime = Downtime(clocks.now)
    downtime.load(tmp_path)
    assert left(downtime, clocks) is None


def test_one_far_ahead_in_this_boot_is_cut_to_its_length(clocks: Clocks, tmp_path: Path) -> None:
    """However the end was written, it is never later than its length from now."""
    stored = {"seconds": 3_600.0, "until": NOW, "boot_id": "boot-1", "ends": 1e15}
    (tmp_path / FILE).write_text(json.dumps(stored))
    downtime = Downtime(clocks.now)
    downtime.load(tmp_path)
    assert left(downtime, clocks) == 3_600.0


def test_the_words(clocks: Clocks) -> None:
    """What a person reads: until when, and what ends it."""
    downtime = Downtime(clocks.now)
    assert downtime.says() == ""
    downtime.start(3_600.0)
    assert downtime.says().endswith("Z: `margod downtime stop` ends it.")
    assert downtime.stop()
    assert not downtime.stop()
    downtime.configure(ALWAYS)
    assert downtime.says() == "It is downtime until further notice: schedule.downtime says so ('00:00-24:00')."
    assert downtime.document() == {"active": True, "until": None, "operator_until": None, "next_at": None}
    downtime.configure((windows.parse("2200-01-01 to 2200-01-02 UTC"),))
    assert downtime.document()["next_at"] == "2200-01-01T00:00:00Z"


def ground_in(tmp_path: Path) -> Ground:
    """Return a ground that was never looked at."""
    return Ground(Config(state=StateSettings(directory=tmp_path / "state")), time.time)


def closed_ground(tmp_path: Path) -> Ground:
    """Return a ground on which it is downtime."""
    ground = ground_in(tmp_path)
    ground.keeper.downtime.configure(ALWAYS)
    return ground


async def test_browsing_ends_and_goes_on_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for a WFM by multicast is a request too: it stops in a downtime and begins again behind it."""
    begun = 0

    async def run(self: Finder, service_type: str) -> None:
        nonlocal begun
        begun += 1
        await asyncio.Event().wait()

    monkeypatch.setattr(Finder, "_run", run)
    ground = cast("Ground", SimpleNamespace(config=Config(), keeper=ground_in(tmp_path).keeper, sightings=()))
    situation = Situation(blocked_by(reasons.NO_WFM_FOUND, ""))

    async def found() -> None:
        return

    disk = Disk()
    finder = Finder(ground, disk, found)
    seen = []
    for silent in (False, True, False):
        ground.keeper.downtime.configure(ALWAYS if silent else ())
        finder.consider(situation, Connection.IDLE)
        await asyncio.sleep(0)
        seen.append((finder.browsing, begun))
    await finder.close()
    disk.close(5.0)
    assert seen == [(True, 1), (False, 1), (True, 2)]


async def test_nobody_asks_in_it(tmp_path: Path) -> None:
    """A step, a courier's call, a DELETE, a look for a root CA, the WFM's time: each is refused before a connection."""
    ground, disk = closed_ground(tmp_path), Disk()
    exchange = Sending(ground, disk)
    situation = Situation(blocked_by(reasons.NO_WFM_FOUND, ""))
    exchange.situation = situation
    assert exchange.silent
    assert not await exchange.find_time(situation)
    assert not await exchange.adopt(situation)
    with pytest.raises(MargodError) as refused:
        await exchange._unregister()
    assert refused.value.reason is reasons.DOWNTIME
    outcome = exchange._not_to_be_sent(situation, Step.ENROL)
    assert outcome is not None
    assert (outcome.reason, outcome.sent) == (reasons.DOWNTIME, False)
    courier = Courier(exchange, disk, "test")
    result = await courier.call(ground.generation.request(Step.FETCH_TRUST, "spec", Context(b"", {}, NOBODY)))
    assert getattr(result, "reason", None) is reasons.DOWNTIME
    disk.close(5.0)


def test_another_time_zone(clocks: Clocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device's zone is set while margod runs: the C library is told, and the engines look again, once."""
    file, told = tmp_path / "localtime", 0

    def tzset() -> None:
        nonlocal told
        told += 1

    monkeypatch.setattr("margod.shell.downtime.LOCALTIME", file)
    monkeypatch.setattr("margod.shell.downtime.time.tzset", tzset)
    downtime = Downtime(clocks.now)
    assert not downtime.zone_changed()
    file.write_bytes(b"one")
    assert not downtime.zone_changed()
    other = tmp_path / "other"
    other.write_bytes(b"two")
    other.replace(file)
    gate = downtime.gate
    assert (downtime.zone_changed(), downtime.zone_changed(), told) == (True, False, 1)
    assert (downtime.take_zone(), downtime.take_zone()) == (True, False)
    assert downtime.gate is not gate
