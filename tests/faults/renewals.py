"""A month of bearer tokens: the whole daemon in virtual time, a WFM whose tokens hold for any time, and all its moods.

Other programs call through the door day and night, several at once. Nothing is left over in memory, nothing of a token
is written to the flash, and the token endpoint is asked no more often than somebody called.
"""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from margod.model.wire import SignedRequest
from tests.faults.campaign import Run, promise
from tests.faults.endurance import (
    BEGAN,
    DAY,
    GROWTH,
    ORDINARY,
    Meter,
    Plant,
    _descriptors,
    _traced,
    ask,
    living,
    stood_in,
    until,
)
from tests.support.local_api import exchange, get
from tests.support.transport import Said, Trouble
from tests.support.virtual import Clock, run, virtual_time

LIVES: Final[tuple[object, ...]] = (1, 60, 300, 3600, 86_400, 0, -1, 1e12, "300", None, [])
"""What is said of how long a token holds."""
MOODS: Final[tuple[Trouble | int | None, ...]] = (None, None, None, "refused", "cut", "silent", 503, 429, 500, 302, 400)
TOGETHER: Final = 5
"""Calls at one moment."""


class Grants(Plant):
    """A plant whose WFM speaks `token`."""

    def __init__(self, place: Path, clock: Clock, seed: int) -> None:
        self.mood: Trouble | int | None = None
        """What the token endpoint does at present."""
        self.tokens, self.revoked = 0, 0
        self.counted: Counter[str] = Counter()
        super().__init__(place, clock, seed)

    def configure(self, extra: str = "") -> None:
        """Write the configuration."""
        super().configure(extra)
        text = self.file.read_text().replace("timeout: 10s}", "timeout: 10s, protocol: token}")
        self.file.write_text(f"{text}door: {{allow: GET /anything}}\n")

    def serve(self, request: SignedRequest) -> Said | Trouble:
        """Answer; a token is counted, so that an old one is known."""
        if isinstance(self.trouble, str):
            return self.trouble
        path = request.url.removeprefix("https://wfm.example")
        self.asked[path] += 1
        if path == "/onboarding/":
            self.onboarded += 1
            known = {"clientId": "client-1", "clientSecret": "s3cret", "tokenEndpointUrl": "https://wfm.example/token"}
            return Said(201, (), json.dumps(known).encode(), after=0.1)
        if path == "/token":
            return self._token(request)
        given = request.headers.get("Authorization", "").removeprefix("Bearer t-")
        if not given.isdigit() or int(given) <= self.revoked:
            self.counted["refused calls"] += 1
            return Said(401, (), b'{"error": "invalid_token"}', after=0.1)
        return Said(200 if request.method == "GET" else 201, (), b'{"url": ""}', after=0.1)

    def _token(self, request: SignedRequest) -> Said | Trouble:
        promise(parse_qs(request.body.decode())["client_secret"] == ["s3cret"], "another secret was sent")
        if isinstance(self.mood, str):
            return self.mood
        if self.mood is not None:
            wait = (("Retry-After", str(self.rng.choice((0, 5, 600)))),) if self.rng.random() < 0.3 else ()
            return Said(self.mood, wait, b'{"error": "invalid_client"}', after=self.rng.uniform(0.0, 2.0))
        self.tokens += 1
        life = self.rng.choice(LIVES)
        document = {"access_token": f"t-{self.tokens}", "token_type": "Bearer", "expires_in": life}
        return Said(200, (), json.dumps(document).encode(), after=self.rng.uniform(0.0, 2.0))


def renewals(run_: Run) -> None:
    """A month; two days in the short part."""
    days = run_.of(30, 2)
    with virtual_time(BEGAN) as clock:
        plant = Grants(run_.place, clock, run_.seed)
        with stood_in(plant.serve):
            grown, tasks, meter = run(clock, _month(plant, days, run_))
    run_.count("days", days)
    run_.count("bearer tokens", plant.tokens)
    run_.count("calls that were refused with a token", plant.counted["refused calls"])
    run_.count("requests at the token endpoint", plant.asked["/token"])
    run_.count("bytes grown", max(0, grown))
    run_.count("commits", meter.renames["gen"])
    promise(plant.onboarded == 1, f"{plant.onboarded} onboarding requests")
    promise(grown <= GROWTH, f"{grown} bytes more after {days} days")
    promise(tasks <= 0, f"{tasks} tasks or descriptors more after {days} days")
    reports = plant.asked["/device/client-1/capabilities"]  # each is kept: this machine may become another meanwhile
    promise(
        meter.renames["gen"] < max(1, reports), f"{meter.renames['gen']} commits: a bearer token is not for the flash"
    )
    most = run_.figures["moments with calls"] * 3 + days * 48  # of one moment one token, another for a 401; and upkeep
    promise(plant.asked["/token"] <= most, f"{plant.asked['/token']} requests at the token endpoint, more than {most}")


async def _month(plant: Grants, days: int, run_: Run) -> tuple[int, int, Meter]:
    meter, first = Meter(), 0
    async with living(plant) as daemon:
        await until(plant, lambda status: status["state"] == "enrolled")
        await asyncio.sleep(60.0)
        with meter.installed():
            for number in range(days):
                if number == min(ORDINARY, days // 2):
                    await _calm(plant)
                    first = len(asyncio.all_tasks()) + _descriptors()
                    tracemalloc.start()
                end = plant.clock.mono + DAY
                while plant.clock.mono < end:
                    await _moment(plant, run_)
            await _calm(plant)
        grown = _traced()
        tracemalloc.stop()
        more = len(asyncio.all_tasks()) + _descriptors() - first
        bearing = daemon._actions.bearing
        promise(not bearing._waiting and not bearing._tasks, "somebody waits for a token for ever")
        status = await ask(plant, "/v1/status")
        promise(status["state"] == "enrolled", f"{status['state']}: {status['reason']} at the end")
        promise(await _called(plant) == 200, "the last call")
    return grown, more, meter


async def _moment(plant: Grants, run_: Run) -> None:
    """Let some time pass, something happen, and programs call."""
    rng = plant.rng
    await asyncio.sleep(rng.choice((0.5, 5.0, 240.0, 1800.0, 7200.0)))
    plant.mood = rng.choice(MOODS)
    plant.trouble = "refused" if rng.random() < 0.05 else None
    if rng.random() < 0.1:
        plant.revoked = plant.tokens
    if rng.random() < 0.1:
        await ask(plant, "/v1/retry", "POST")
    answers = await asyncio.gather(*(_called(plant) for _ in range(rng.randrange(1, TOGETHER))))
    run_.count("moments with calls")
    run_.count("calls", len(answers))
    run_.count("calls that came through", answers.count(200))


async def _called(plant: Grants) -> int:
    answer = await exchange(plant.runtime / "agent/agent.sock", get("/v1/wfm/anything"), timeout=600)
    return int(answer.split(b" ", 2)[1])


async def _calm(plant: Grants) -> None:
    """Wait until nothing is under way and every wait is over."""
    plant.mood, plant.trouble = None, None
    await asyncio.sleep(2 * DAY)
    await _called(plant)
    await asyncio.sleep(60.0)
    gc.collect()
