"""`margod downtime`, against a daemon that a test steers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from margod.cli.words import describe, downtime
from margod.client import DowntimeDocument
from margod.model.errors import MargodError
from margod.model.reasons import STATE_NOT_WRITABLE
from tests.cli.test_words import status
from tests.support.local_api import SteeredController, run_margod

pytestmark = pytest.mark.usefixtures("server")


def found(
    *, active: bool = False, until: str | None = None, by_hand: str | None = None, next_at: str | None = None
) -> DowntimeDocument:
    """Return that part of a status document."""
    return {"active": active, "until": until, "operator_until": by_hand, "next_at": next_at}


@pytest.mark.parametrize(("text", "seconds"), [("1m", 60), ("4h", 14_400), ("30d", 2_592_000), ("90.5s", 90)])
async def test_start(controller: SteeredController, directory: Path, text: str, seconds: int) -> None:
    """The daemon is told in whole seconds, and its words are shown."""
    code, out, err = await run_margod("downtime", "start", text, "--runtime-dir", str(directory))
    assert (code, out, err) == (0, "Begun.\n", "")
    assert controller.downtimes == [seconds]


@pytest.mark.parametrize("text", ["59s", "31d", "4", "1h30m", "now"])
async def test_no_length(controller: SteeredController, directory: Path, text: str) -> None:
    """What is no length of time within the bounds is a usage error."""
    code, _, err = await run_margod("downtime", "start", text, "--runtime-dir", str(directory))
    assert (code, controller.downtimes) == (2, [])
    assert "downtime start" in err
    said = f"argument TIME: {text!r} is not a length of time from 1m to 30d, such as 30m, 4h or 2d"
    assert said in " ".join(err.split())


async def test_stop(controller: SteeredController, directory: Path) -> None:
    """It is ended; a daemon that refuses is quoted."""
    code, out, _ = await run_margod("downtime", "stop", "--runtime-dir", str(directory))
    assert (code, out, controller.downtimes) == (0, "The downtime is over.\n", [0.0])
    controller.failure = MargodError(STATE_NOT_WRITABLE)
    code, out, err = await run_margod("downtime", "stop", "--runtime-dir", str(directory))
    assert (code, out) == (1, "")
    assert STATE_NOT_WRITABLE.says in err


async def test_show(controller: SteeredController, directory: Path) -> None:
    """In words, and as that part of the status document."""
    code, out, _ = await run_margod("downtime", "show", "--runtime-dir", str(directory))
    assert (code, out) == (0, "none, and none is planned\n")
    controller.document["downtime"] = found(active=True, until="2026-11-21T22:00:00Z")
    code, out, _ = await run_margod("downtime", "show", "--runtime-dir", str(directory))
    assert (code, out) == (0, "until 2026-11-21 22:00:00 UTC; schedule.downtime says so\n")
    code, out, _ = await run_margod("downtime", "show", "--json", "--runtime-dir", str(directory))
    assert json.loads(out) == controller.document["downtime"]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (found(), ""),
        (found(next_at="2026-11-28T00:00:00Z"), "none; the next begins at 2026-11-28 00:00:00 UTC"),
        (found(active=True), "until further notice; schedule.downtime says so"),
        (
            found(active=True, until="2026-11-21T22:00:00Z", by_hand="2026-11-21T20:00:00Z"),
            "until 2026-11-21 22:00:00 UTC; `margod downtime stop` ends it",
        ),
    ],
)
def test_words(document: DowntimeDocument, words: str) -> None:
    """Whether, until when, and what ends it."""
    assert downtime(document) == words


def test_in_the_status() -> None:
    """It has a row while it lasts, and what comes next comes after it; an older daemon that knows of none is shown."""
    text = describe(status(downtime=found(active=True, until="2026-11-21T22:00:00Z")), colour=False)
    assert "\nDowntime     until 2026-11-21 22:00:00 UTC; schedule.downtime says so\n" in text
    assert "\nNext         after the downtime, from 2026-11-21 22:00:00 UTC on\n" in text
    older = status()
    del older["downtime"]  # type: ignore[misc]  # as an older daemon answers
    assert "Downtime" not in describe(older, colour=False)
