"""Ten thousand engines and one WFM that goes and comes back: how many of them does its busiest second see?

One process, virtual time, no network: an engine asks, the WFM answers in the same moment, which is the worst case (what
takes time spreads). A request is counted for its device and for the second in which it leaves, the seconds sliding.
"""

from __future__ import annotations

import gc
import heapq
import os
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from margod.engine import messages as m
from margod.engine.enrolment import Enrolment
from margod.engine.policy import DAY, Policy
from margod.model import reasons
from margod.model.outcome import Kind, Outcome, Step
from margod.model.state import State
from margod.model.wire import Answer, TransportFailure
from margod.protocols import classify
from margod.vault import ledger
from tests.faults.campaign import Run, promise
from tests.faults.storm_plot import SECONDS, Curve, svg

DEVICES: Final = 10_000
SHARE: Final = 0.02
"""Of all devices, the most that one second may see (design, Budgets)."""
EPOCH: Final = 1_800_000_000.0
"""Unix seconds at the beginning; the monotonic clock begins at 0."""
RUNTIME_INTERVAL: Final = 900.0
"""As margod.daemon.RUNTIME_INTERVAL, which this must not import: it takes a second."""
RULES: Final = Policy(upkeep={Step.CONFIRM: DAY})
PLOT: Final = Path(__file__).parents[2] / "docs/storm.svg"

_LOOKING: Final = m.Obstacle(State.DISCOVERING, reasons.NO_WFM_FOUND)
_DUE: Final = m.Due()


@dataclass
class Wfm:
    """The server: dead or alive, perhaps limited to `limit` requests a second, perhaps asking for patience.

    `says` makes the answer of a server that is there and does not serve; None: nobody answers at all.
    """

    alive: bool = True
    limit: int = 0
    says: Callable[[float], Answer] | None = None
    seen: list[tuple[float, int]] = field(default_factory=list)
    """When which device asked a WFM that was there."""
    _served: deque[float] = field(default_factory=deque)
    _known: dict[object, Outcome] = field(default_factory=dict)

    def ask(self, step: Step, device: int, at: float) -> Outcome:
        """Answer a request, or do not."""
        if self.alive:
            self.seen.append((at, device))
        else:
            if self.says is not None:
                return classify.refusal(step, self.says(at))
            return self._once((step, 0), TransportFailure(reasons.CONNECT_REFUSED, "", sent=False))
        if self.limit:
            while self._served and self._served[0] <= at - 1.0:
                self._served.popleft()
            if len(self._served) >= self.limit:
                return self._once((step, 429), Answer(429, {"retry-after": "30"}, b"", EPOCH + at))
            self._served.append(at)
        records = {} if step is Step.CONFIRM else {step.value: b"1"}
        return Outcome(Kind.ACCEPTED, reasons.ENROLLED, records=records)

    def _once(self, name: tuple[Step, int], result: Answer | TransportFailure) -> Outcome:
        if name not in self._known:
            self._known[name] = classify.refusal(name[0], result)
        return self._known[name]


@dataclass(slots=True)
class Device:
    """One engine and what its flash holds."""

    engine: Enrolment
    placed: bool = True
    enrolled: bool = False
    reported: bool = False
    log: list[tuple[m.Command, float]] = field(default_factory=list)
    """The last intent and the answer after it."""
    runtime: m.Memory | None = None
    runtime_at: float = -RUNTIME_INTERVAL
    changed: bool = False
    """Its state is another one than runtime.json says."""
    waits_until: float | None = None


class Fleet:
    """All devices. `run` lets time pass; `cut` and `power` are the plant's main switch."""

    def __init__(self, number: int, seed: int, wfm: Wfm) -> None:
        """Begin at 0 with devices that have not been switched on."""
        self.rng = random.Random(seed)
        self.wfm, self.now = wfm, 0.0
        self.on = True
        self.attempts = 0
        self.devices = [Device(self._engine()) for _ in range(number)]
        self._due: list[tuple[float, int]] = []

    def start(self, within: float = 0.0, *, placed: bool = True) -> None:
        """Switch every device on, at some moment `within` seconds; `placed`: it knows where its WFM is."""
        for number, device in enumerate(self.devices):
            device.placed = placed
            heapq.heappush(self._due, (self.now + self.rng.uniform(0.0, within), ~number))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            at, number = heapq.heappop(self._due)
            if number < 0:
                self.now = at
                self.tell(~number, self._examined(self.devices[~number]))
            elif self.devices[number].engine.due == at:
                self.now = at
                self.tell(number, _DUE)
        self.now = end

    def until_enrolled(self, most: float) -> float | None:
        """Let time pass until every device is enrolled; return how long it took, None if it was more than `most`."""
        began = self.now
        while self.now - began < most:
            if self.enrolled == len(self.devices):
                return self.now - began
            self.run(10.0)
        return None

    @property
    def enrolled(self) -> int:
        """How many devices are enrolled."""
        return sum(device.reported for device in self.devices)

    def wake(self, cause: m.Cause = m.Cause.NETWORK) -> None:
        """Tell every device at once that something is worth another attempt."""
        for number in range(len(self.devices)):
            self.tell(number, m.Woken(cause))

    def sighted(self) -> None:
        """Every device sees the WFM's announcement: what a look finds is another place, and that wakes as well."""
        for number, device in enumerate(self.devices):
            device.placed = True
            self.tell(number, m.Reread())
            self.tell(number, m.Woken(m.Cause.NETWORK))

    def cut(self) -> None:
        """Take the power away from all at once: what is not on the flash is gone."""
        self._due.clear()

    def power(self) -> None:
        """Give it back: all boot in the same moment."""
        for number, device in enumerate(self.devices):
            device.engine, device.waits_until, device.runtime_at = self._engine(), None, self.now - RUNTIME_INTERVAL
            self.tell(number, self._examined(device))

    def tell(self, number: int, event: m.Event) -> None:
        """Give an engine an event and carry out what it asks for."""
        device, now = self.devices[number], m.Now(self.now, EPOCH + self.now)
        todo = device.engine.handle(event, now)
        while todo:
            following: list[m.Command] = []
            for command in todo:
                if isinstance(command, m.Note):
                    device.changed = device.changed or command.event == "state"
                    continue
                answer = self._perform(number, device, command)
                if answer is not None:
                    following += device.engine.handle(answer, now)
            todo = following
        if device.changed and self.now - device.runtime_at >= RUNTIME_INTERVAL:
            device.runtime, device.runtime_at, device.changed = device.engine.memory(now), self.now, False
        due = device.engine.due
        if due is not None and due != device.waits_until:
            heapq.heappush(self._due, (due, number))
        device.waits_until = due

    def _perform(self, number: int, device: Device, command: m.Command) -> m.Event | None:
        match command:
            case m.Send():
                self.attempts += 1
                return m.Done(command.step, self.wfm.ask(command.step, number, self.now))
            case m.RecordIntent():
                device.log = [(command, EPOCH + self.now)]
                return m.Recorded()
            case m.RecordAnswer():
                device.log = [*device.log[:1], (command, 0.0)]
                return None
            case m.Keep():
                if command.step is Step.ENROL:
                    device.enrolled = True
                else:
                    device.reported = True
                return m.Kept()
            case m.Examine():
                return self._examined(device)
        raise AssertionError(f"nobody foresaw {command}")

    def _examined(self, device: Device) -> m.Examined:
        facts = m.Facts(
            obstacle=None if device.placed else _LOOKING,
            binding="here" if device.placed else "nowhere",
            trusted=True,
            enrols=True,
            enrolled=device.enrolled,
            reported="1" if device.reported else "",
            report="1",
            can_reissue=True,
            forms={Step.ENROL: ("spec",), Step.REPORT: ("spec",)},
        )
        entries = [
            ledger.intent(command, facts.key, at) if isinstance(command, m.RecordIntent) else ledger.answer(command)
            for command, at in device.log
            if isinstance(command, m.RecordIntent | m.RecordAnswer)
        ]
        history = ledger.summarise({}, entries, reissued=False)
        recalled, logged = device.runtime, history.memory
        if recalled is not None and (logged is None or recalled.at >= logged.at):
            history = m.History(history.unanswered, False, history.settled, history.form, history.tried, recalled)
        return m.Examined(facts, history)

    def _engine(self) -> Enrolment:
        return Enrolment(RULES, random.Random(self.rng.getrandbits(64)), m.Now(self.now, EPOCH + self.now))


def busiest(seen: Iterable[tuple[float, int]]) -> int:
    """Return how many devices the busiest second saw: any second, not only whole ones."""
    window: deque[tuple[float, int]] = deque()
    inside: dict[int, int] = {}
    most = 0
    for at, device in seen:
        window.append((at, device))
        inside[device] = inside.get(device, 0) + 1
        while window[0][0] <= at - 1.0:
            _, gone = window.popleft()
            inside[gone] -= 1
            if not inside[gone]:
                del inside[gone]
        most = max(most, len(inside))
    return most


@dataclass(frozen=True)
class Storm:
    """One scenario and what came of it."""

    name: str
    most: int
    """Devices that the busiest second saw."""
    took: float | None
    """Seconds from the last turn of the story until all were enrolled; None: not within a day."""
    requests: int
    """Attempts of all devices, those that found nobody too."""
    counts: list[int]
    """Devices in each of the first seconds after the WFM's return."""


def down(seconds: float) -> Callable[[Fleet], None]:
    """All are switched on in one moment while the WFM is dead; it returns after so many seconds."""

    def story(fleet: Fleet) -> None:
        fleet.wfm.alive = False
        fleet.start()
        fleet.run(seconds)
        fleet.wfm.alive = True

    return story


def limited(fleet: Fleet) -> None:
    """As after an hour, but the WFM serves 50 a second and tells the others 429, Retry-After: 30."""
    fleet.wfm.limit = 50
    down(3600.0)(fleet)


def patience(
    seconds: float, form: str = "seconds", halfway: Callable[[Fleet], None] | None = None
) -> Callable[[Fleet], None]:
    """A WFM under maintenance tells all of them when it is back: one Retry-After, the same moment for everybody."""

    def story(fleet: Fleet) -> None:
        back = fleet.now + 300.0 + seconds

        def says(at: float) -> Answer:
            left = max(0.0, back - at)
            value = f"{int(left) + 1}" if form == "seconds" else formatdate(EPOCH + back, usegmt=True)
            return Answer(503, {"retry-after": value, "date": formatdate(EPOCH + at, usegmt=True)}, b"", EPOCH + at)

        fleet.wfm.alive = False
        fleet.start()
        fleet.run(300.0)
        fleet.wfm.says = says
        fleet.run(seconds / 2)
        if halfway is not None:
            halfway(fleet)
        fleet.run(back - fleet.now)
        fleet.wfm.alive = True

    return story


def off_for_a_minute(fleet: Fleet) -> None:
    """Take the power away and give it back."""
    fleet.cut()
    fleet.run(60.0)
    fleet.power()


def announced(fleet: Fleet) -> None:
    """The WFM is back after an hour and announces itself to all in the same moment."""
    down(3600.0)(fleet)
    fleet.wake()


def announced_often(fleet: Fleet) -> None:
    """Somebody announces something new every second: ten minutes before the WFM is back, ten minutes after."""
    fleet.wfm.alive = False
    fleet.start()
    fleet.run(3000.0)
    for second in range(1200):
        fleet.wfm.alive = second >= 600
        fleet.wake()
        fleet.run(1.0)


def discovered(fleet: Fleet) -> None:
    """Ten thousand devices have been looking for a WFM for an hour when one announces itself."""
    fleet.start(placed=False)
    fleet.run(3600.0)
    fleet.sighted()


def power_cut(seconds: float) -> Callable[[Fleet], None]:
    """In the middle of an outage the plant loses power for so long; the WFM is back by then, and all boot at once."""

    def story(fleet: Fleet) -> None:
        fleet.wfm.alive = False
        fleet.start()
        fleet.run(3600.0)
        fleet.cut()
        fleet.run(seconds)
        fleet.wfm.alive = True
        fleet.power()

    return story


def enrol(fleet: Fleet) -> None:
    """Have all of them enrolled, as a plant does it: over some hours."""
    fleet.start(within=4 * 3600.0)
    fleet.run(5 * 3600.0)
    promise(fleet.enrolled == len(fleet.devices), f"{fleet.enrolled} are enrolled")
    fleet.wfm.seen.clear()


def day(fleet: Fleet) -> None:
    """Three days of a plant in which nothing happens."""
    enrol(fleet)
    fleet.run(3 * DAY)


def enrolled_cut(seconds: float) -> Callable[[Fleet], None]:
    """All enrolled, then no power for so long."""

    def story(fleet: Fleet) -> None:
        enrol(fleet)
        fleet.run(DAY)
        fleet.cut()
        fleet.run(seconds)
        fleet.wfm.seen.clear()
        fleet.power()
        fleet.run(600.0)

    return story


def enrolled_down(seconds: float) -> Callable[[Fleet], None]:
    """All enrolled, then no WFM for so long, and an announcement at its return."""

    def story(fleet: Fleet) -> None:
        enrol(fleet)
        fleet.run(1.3 * DAY)
        fleet.wfm.seen.clear()
        fleet.wfm.alive = False
        fleet.run(seconds)
        fleet.wfm.alive = True
        fleet.wake()
        fleet.run(1200.0)

    return story


WEEK: Final = 7 * DAY
STORIES: Final[dict[str, Callable[[Fleet], None]]] = {
    "back after 2 min": down(120.0),
    "back after 1 h": down(3600.0),
    "back after 1 week": down(WEEK),
    "back after 1 h, serves 50 a second": limited,
    "one Retry-After for all, 2 min": patience(120.0),
    "one Retry-After for all, 1 h": patience(3600.0),
    "one Retry-After date for all, 1 h": patience(3600.0, form="date"),
    "one Retry-After, announced meanwhile": patience(3600.0, halfway=Fleet.wake),
    "one Retry-After, power cut meanwhile": patience(3600.0, halfway=off_for_a_minute),
    "back after 1 h, announced to all": announced,
    "announced every second": announced_often,
    "looked for since 1 h, then announced": discovered,
    "power cut of 1 min in an outage": power_cut(60.0),
    "power cut of 1 h in an outage": power_cut(3600.0),
    "enrolled: 3 days": day,
    "enrolled: power cut of 1 h": enrolled_cut(3600.0),
    "enrolled: power cut of 3 days": enrolled_cut(3 * DAY),
    "enrolled: back after 1 h, announced": enrolled_down(3600.0),
    "enrolled: back after 1 week, announced": enrolled_down(WEEK),
}
SHOWN: Final = (
    "back after 2 min",
    "back after 1 h",
    "back after 1 h, announced to all",
    "one Retry-After, power cut meanwhile",
    "one Retry-After for all, 1 h",
    "looked for since 1 h, then announced",
    "power cut of 1 h in an outage",
    "enrolled: power cut of 3 days",
)
"""What is plotted: the ten minutes from the WFM's return on."""
LONG: Final = frozenset({"back after 1 week", "enrolled: back after 1 week, announced", "announced every second"})
"""What takes minutes of real time: in the long campaign only, and played in parts.

The devices of these stories meet nowhere but in the WFM's busiest second, which is counted over all parts: a WFM that
limits nobody answers one device whatever the others ask.
"""
PART: Final = 500
"""Devices in one part."""


@dataclass(frozen=True)
class Part:
    """What came of some of a scenario's devices."""

    seen: list[tuple[float, int]]
    took: float | None
    requests: int
    ended: float
    """The moment of the story's last turn."""


def part(name: str, devices: int, seed: int, first: int = 0) -> Part:
    """Carry out one scenario with so many devices, numbered from `first` on."""
    wfm = Wfm()
    with _without_collector():
        fleet = Fleet(devices, seed + first, wfm)
        STORIES[name](fleet)
        ended = fleet.now
        took = fleet.until_enrolled(DAY)
    return Part([(at, first + device) for at, device in wfm.seen], took, fleet.attempts, ended)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Leave memory to the reference counts, which is a fifth faster: an engine makes no cycles."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def together(name: str, parts: Iterable[Part]) -> Storm:
    """Return what the WFM saw of all parts at once."""
    parts = list(parts)
    seen = sorted(each for one in parts for each in one.seen)
    back = seen[0][0] if seen else parts[0].ended
    counts = [0] * SECONDS
    for second in [at for at, _ in {(int(at - back), device) for at, device in seen}]:
        if second < SECONDS:
            counts[second] += 1
    times = [one.took for one in parts if one.took is not None]
    took = max(times) if len(times) == len(parts) else None
    return Storm(name, busiest(seen), took, sum(one.requests for one in parts), counts)


def weather(name: str, devices: int, seed: int) -> Storm:
    """Carry out one scenario as a whole."""
    return together(name, [part(name, devices, seed)])


def storm(run: Run) -> None:
    """Carry out the scenarios, the long ones and the plot in the long campaign only."""
    names = [name for name in STORIES if run.scale >= 1.0 or name not in LONG]
    devices = run.of(DEVICES, 400)
    if run.scale < 1.0:
        storms = [weather(name, devices, run.seed) for name in names]
    else:
        storms = _all_at_once(names, devices, run.seed)
    found = {each.name: each for each in storms}
    for name in names:
        each = found[name]
        run.count(f"{name}: devices in the busiest second, of {devices:,}", each.most)
        run.count("requests", each.requests)
    if run.scale >= 1.0:
        PLOT.write_text(svg([Curve(name, found[name].counts) for name in SHOWN], round(SHARE * DEVICES)))
    for each in storms:
        promise(each.took is not None, f"{each.name}: not all are enrolled a day later")
        most = allowed(devices)
        promise(each.most <= most, f"{each.name}: {each.most} of {devices} in one second")


def _all_at_once(names: Iterable[str], devices: int, seed: int) -> list[Storm]:
    """Carry out the scenarios on all cores, the long ones first and in parts."""
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        begun = {
            name: [
                pool.submit(part, name, min(size, devices - first), seed, first) for first in range(0, devices, size)
            ]
            for name in sorted(names, key=lambda name: name not in LONG)
            for size in [PART if name in LONG else devices]
        }
        return [together(name, (one.result() for one in parts)) for name, parts in begun.items()]


def allowed(devices: int) -> float:
    """Return how many devices one second may see: 2 %, and what chance adds where there are fewer than the design's.

    A rate that is 1.5 % of 10,000 is 15 of 1,000, and its busiest second is four standard deviations above.
    """
    rate = 0.75 * SHARE * devices
    return max(SHARE * devices, rate + 5.0 * rate**0.5) if devices < DEVICES else SHARE * devices
